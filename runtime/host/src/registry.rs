//! What is linked into this binary: binders of component kinds and in-process functions. Collected
//! once, sorted by name; a name that occurs twice refuses to start, since which one wins would
//! depend on the linker.

use std::sync::Arc;

use dormouse_protocol::FunctionType;
use dormouse_sdk::function::FunctionProvider;
use dormouse_sdk::module::Binder;

/// Everything that was found at link time.
#[derive(Debug, Default)]
pub struct Linked {
    /// Sorted by kind.
    pub binders: Vec<Binder>,
    /// Sorted by name.
    pub functions: Vec<LinkedFunction>,
}

/// A function linked into the binary.
#[derive(Clone, Debug)]
pub struct LinkedFunction {
    pub function_type: FunctionType,
    pub provider: Arc<dyn FunctionProvider>,
}

/// Two linked crates claim the same name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{name}` is linked into this binary twice; remove one of the two crates")]
pub struct LinkedTwice {
    pub what: &'static str,
    pub name: String,
}

/// Collects what is linked.
pub fn linked() -> Result<Linked, LinkedTwice> {
    let mut binders: Vec<Binder> = inventory::iter::<Binder>().copied().collect();
    binders.sort_by_key(|binder| binder.kind);
    refuse_twice("kind", binders.iter().map(|binder| binder.kind))?;
    Ok(Linked { binders, functions: Vec::new() })
}

fn refuse_twice<'n>(
    what: &'static str,
    sorted: impl Iterator<Item = &'n str>,
) -> Result<(), LinkedTwice> {
    let mut last = None;
    for name in sorted {
        if last == Some(name) {
            return Err(LinkedTwice { what, name: name.to_owned() });
        }
        last = Some(name);
    }
    Ok(())
}

impl Linked {
    /// The binder of a kind.
    #[must_use]
    pub fn binder(&self, kind: &str) -> Option<&Binder> {
        self.binders.iter().find(|binder| binder.kind == kind)
    }

    /// All kinds, sorted.
    #[must_use]
    pub fn kinds(&self) -> Vec<&'static str> {
        self.binders.iter().map(|binder| binder.kind).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_linked_twice_is_refused() {
        let error = refuse_twice("kind", ["a/b", "a/c", "a/c"].into_iter()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "kind `a/c` is linked into this binary twice; remove one of the two crates"
        );
        assert_eq!(refuse_twice("kind", ["a/b", "a/c"].into_iter()), Ok(()));
    }
}
