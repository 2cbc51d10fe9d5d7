//! Type names (`<namespace>/<name>`) and function types: interned, so that the hot path compares
//! and copies one pointer.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{OnceLock, RwLock};

use rustc_hash::FxHashMap;

/// Distinct function types up to which one process takes new ones from outside (each is interned for the
/// process's life).
pub const FUNCTION_TYPES_MAX: usize = 65_536;

/// A `<namespace>/<name>` pair as it stands in manifests: kinds, ids, targets, state types.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeName {
    /// What comes before the last `/`.
    pub namespace: String,
    /// What comes after it; never empty when it was parsed.
    pub name: String,
}

/// Why a string is no type name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid type name `{text}`: must be of the form <namespace>/<name>")]
pub struct ParseTypeNameError {
    /// The text that was given.
    pub text: String,
}

impl TypeName {
    /// Parses as StateFun's runtime does (exactly one `/`, a trailing one ignored), but splits at the
    /// last `/` where there are more, as the SDKs do: a safe superset. The name must not be empty.
    pub fn parse(text: &str) -> Result<Self, ParseTypeNameError> {
        match Self::split(text) {
            Some((namespace, name)) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            None => Err(ParseTypeNameError { text: text.to_owned() }),
        }
    }

    /// Namespace and name of what [`TypeName::parse`] takes, without a copy.
    #[must_use]
    pub fn split(text: &str) -> Option<(&str, &str)> {
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        trimmed.rsplit_once('/').filter(|(_, name)| !name.is_empty())
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The type of a function: a `Copy` handle to an interned namespace and name. Equality is identity.
#[derive(Clone, Copy)]
pub struct FunctionType(&'static Entry);

struct Entry {
    index: u32,
    namespace: Box<str>,
    name: Box<str>,
    full: Box<str>,
}

#[derive(Default)]
struct Interner {
    by_name: FxHashMap<(&'static str, &'static str), FunctionType>,
    by_index: Vec<FunctionType>,
}

fn interner() -> &'static RwLock<Interner> {
    static INTERNER: OnceLock<RwLock<Interner>> = OnceLock::new();
    INTERNER.get_or_init(RwLock::default)
}

impl FunctionType {
    /// The type of this namespace and name, interning it when it is new: for names that are our own or come
    /// from our store. Those from outside are for [`FunctionType::try_new`].
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self::intern(namespace, name, usize::MAX).expect("nobody stores four billion types")
    }

    /// The same for a name from outside; `None` when the process already knows too many types.
    #[must_use]
    pub fn try_new(namespace: &str, name: &str) -> Option<Self> {
        Self::intern(namespace, name, FUNCTION_TYPES_MAX)
    }

    fn intern(namespace: &str, name: &str, types_max: usize) -> Option<Self> {
        if let Some(found) = Self::known(namespace, name) {
            return Some(found);
        }
        let mut interner = interner().write().unwrap_or_else(|poison| poison.into_inner());
        if let Some(found) = interner.by_name.get(&(namespace, name)) {
            return Some(*found);
        }
        if interner.by_index.len() >= types_max {
            return None;
        }
        let entry: &'static Entry = Box::leak(Box::new(Entry {
            index: u32::try_from(interner.by_index.len()).ok()?,
            namespace: namespace.into(),
            name: name.into(),
            full: format!("{namespace}/{name}").into(),
        }));
        let function_type = Self(entry);
        interner.by_index.push(function_type);
        interner.by_name.insert((&entry.namespace, &entry.name), function_type);
        Some(function_type)
    }

    /// The type, if something has named it before.
    #[must_use]
    pub fn known(namespace: &str, name: &str) -> Option<Self> {
        let interner = interner().read().unwrap_or_else(|poison| poison.into_inner());
        interner.by_name.get(&(namespace, name)).copied()
    }

    /// Parses `<namespace>/<name>`.
    pub fn parse(text: &str) -> Result<Self, ParseTypeNameError> {
        let parsed = TypeName::parse(text)?;
        Self::try_new(&parsed.namespace, &parsed.name)
            .ok_or_else(|| ParseTypeNameError { text: format!("{text} (too many distinct types)") })
    }

    /// A dense number, stable within this process only.
    #[must_use]
    #[inline]
    pub fn index(self) -> usize {
        self.0.index as usize
    }

    /// The namespace: what comes before the `/`.
    #[must_use]
    #[inline]
    pub fn namespace(self) -> &'static str {
        &self.0.namespace
    }

    /// The name: what comes after the `/`.
    #[must_use]
    #[inline]
    pub fn name(self) -> &'static str {
        &self.0.name
    }

    /// `<namespace>/<name>`.
    #[must_use]
    #[inline]
    pub fn as_str(self) -> &'static str {
        &self.0.full
    }
}

impl PartialEq for FunctionType {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for FunctionType {}

impl Hash for FunctionType {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.0.index);
    }
}

impl PartialOrd for FunctionType {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FunctionType {
    /// By text, so that an order is the same in every process.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.namespace(), self.name()).cmp(&(other.namespace(), other.name()))
    }
}

impl fmt::Debug for FunctionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for FunctionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_one_type() {
        let a = FunctionType::new("example", "greeter");
        assert_eq!(a, FunctionType::parse("example/greeter").unwrap());
        assert_ne!(a, FunctionType::new("example", "person"));
        assert_eq!(a.as_str(), "example/greeter");
    }

    #[test]
    fn type_names_parse_like_statefun_and_its_sdks() {
        let parse = |text: &str| TypeName::parse(text).map(|t| (t.namespace, t.name)).ok();
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(parse("a/b"), pair("a", "b"));
        assert_eq!(parse("a/b/"), pair("a", "b"));
        assert_eq!(parse("/b"), pair("", "b"));
        assert_eq!(parse("a/b/c"), pair("a/b", "c"));
        assert_eq!(parse("a"), None);
        assert_eq!(parse("a/"), None);
        assert_eq!(parse("a//"), None);
        assert_eq!(parse(""), None);
    }
}
