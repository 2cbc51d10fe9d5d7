//! What is linked into this binary: binders of component kinds and in-process functions and
//! routers. Collected once, sorted by name; a name that occurs twice refuses to start, since which one wins would
//! depend on the linker.

use std::sync::Arc;

use dormouse_protocol::partition::{HTTP_NAMESPACE, REQUEST_NAME, RESERVED_NAMESPACE_PREFIX};
use dormouse_sdk::function::FunctionProvider;
use dormouse_sdk::module::{Binder, FunctionTarget};
use dormouse_sdk::registry::provider;
use dormouse_sdk::router::{RouterDescriptor, registered_routers};
use dormouse_sdk::{FunctionDescriptor, registered_functions};

/// Everything that was found at link time.
#[derive(Debug, Default)]
pub struct Linked {
    /// Sorted by kind.
    pub binders: Vec<Binder>,
    /// Sorted by name.
    pub functions: Vec<LinkedFunction>,
    /// Sorted by ingress.
    pub routers: Vec<&'static RouterDescriptor>,
}

/// A function linked into the binary.
#[derive(Clone, Debug)]
pub struct LinkedFunction {
    pub target: FunctionTarget,
    pub provider: Arc<dyn FunctionProvider>,
}

/// Why what is linked cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Which one would win depends on the linker.
    #[error("{what} `{name}` is linked into this binary twice; remove one of the two")]
    Twice { what: &'static str, name: String },
    /// Dormouse's own types.
    #[error(
        "function `{name}`: the namespace `dormouse.*` is reserved; give the function another one"
    )]
    Reserved { name: String },
    /// Not a type name, or one type too many.
    #[error("function `{name}`: {problem}")]
    Name { name: String, problem: String },
}

/// Collects what is linked.
pub fn linked() -> Result<Linked, LinkError> {
    let mut binders: Vec<Binder> = inventory::iter::<Binder>().copied().collect();
    binders.sort_by_key(|binder| binder.kind);
    refuse_twice("kind", binders.iter().map(|binder| binder.kind))?;
    let descriptors = registered_functions();
    refuse_twice("function", descriptors.iter().map(|function| function.name))?;
    let functions = descriptors.into_iter().map(linked_function).collect::<Result<_, _>>()?;
    Ok(Linked { binders, functions, routers: registered_routers() })
}

fn linked_function(function: &FunctionDescriptor) -> Result<LinkedFunction, LinkError> {
    let name = function.name.to_owned();
    let target = match function.target() {
        Ok(target) => target,
        Err(error) => return Err(LinkError::Name { name, problem: error.to_string() }),
    };
    let (namespace, exact) = match &target {
        FunctionTarget::Exact(name) => (&name.namespace, Some(name.name.as_str())),
        FunctionTarget::Namespace(namespace) => (namespace, None),
    };
    // The instance behind an idempotency key is a function like any other, of a module of ours.
    let is_request = namespace == HTTP_NAMESPACE && exact == Some(REQUEST_NAME);
    if namespace.starts_with(RESERVED_NAMESPACE_PREFIX) && !is_request {
        return Err(LinkError::Reserved { name });
    }
    Ok(LinkedFunction { target, provider: provider(function) })
}

fn refuse_twice<'n>(
    what: &'static str,
    sorted: impl Iterator<Item = &'n str>,
) -> Result<(), LinkError> {
    let mut last = None;
    for name in sorted {
        if last == Some(name) {
            return Err(LinkError::Twice { what, name: name.to_owned() });
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
            "kind `a/c` is linked into this binary twice; remove one of the two"
        );
        assert_eq!(refuse_twice("kind", ["a/b", "a/c"].into_iter()), Ok(()));
    }
}
