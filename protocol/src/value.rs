//! A value with the name of its type. The runtime never decodes one: it passes the bytes through.

use bytes::Bytes;
use compact_str::CompactString;

/// A typed value. `has_value` tells an explicit empty value from a missing one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypedValue {
    /// `<namespace>/<name>`, opaque to the runtime.
    pub typename: CompactString,
    /// Whether there is a value; an empty one is one.
    pub has_value: bool,
    /// The serialised value.
    pub value: Bytes,
    /// Headers of the record this came from, in order; kept and passed through. Mostly empty.
    pub metadata: Option<Box<Vec<Metadata>>>,
}

/// One header of a record. `value` is `None` for a null header; duplicates and order are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The header's name.
    pub key: String,
    /// The header's value.
    pub value: Option<Bytes>,
}

impl TypedValue {
    /// A present value without metadata.
    pub fn new(typename: impl Into<CompactString>, value: impl Into<Bytes>) -> Self {
        Self { typename: typename.into(), has_value: true, value: value.into(), metadata: None }
    }

    /// Bytes this value holds in memory, for accounting.
    #[must_use]
    #[inline]
    pub fn weight(&self) -> usize {
        self.typename.len() + self.value.len() + self.metadata.as_ref().map_or(0, |all| weigh(all))
    }
}

fn weigh(metadata: &[Metadata]) -> usize {
    metadata.iter().map(|m| 64 + m.key.len() + m.value.as_ref().map_or(0, Bytes::len)).sum()
}
