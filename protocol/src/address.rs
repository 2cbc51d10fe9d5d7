//! Where a message goes: a function type and an id.

use std::fmt;

use compact_str::CompactString;

use crate::FunctionType;

/// Longest id, in bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 32 * 1024;

/// One instance: a function type and an id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The type of the function.
    pub function_type: FunctionType,
    /// Which instance of it: at most [`ID_BYTES_MAX`] bytes, may be empty.
    pub id: CompactString,
}

impl Address {
    /// The instance `id` of a function type.
    pub fn new(function_type: FunctionType, id: impl Into<CompactString>) -> Self {
        Self { function_type, id: id.into() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.function_type, self.id)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
