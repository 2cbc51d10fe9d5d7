//! Which functions a process serves: all that are linked into it, or a chosen list.

use std::sync::Arc;

use dormouse_protocol::{FunctionType, ParseTypeNameError, StateSpec};
use dormouse_sdk::module::FunctionTarget;
use dormouse_sdk::{FunctionDescriptor, StateKind, registered_functions};
use rustc_hash::FxHashMap;

/// Functions to be served.
#[derive(Clone, Debug)]
pub struct Functions {
    by_type: FxHashMap<FunctionType, Served>,
    by_namespace: FxHashMap<String, Served>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) function: &'static FunctionDescriptor,
    pub(crate) specs: Arc<[StateSpec]>,
}

/// Why functions cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No function is registered in this process.
    #[error("no function is linked into this process: register one with `dormouse_sdk::function!`")]
    NoFunctions,
    /// Two functions have one name.
    #[error("function `{0}` is registered twice")]
    Duplicate(&'static str),
    /// A chosen function is not there.
    #[error("function `{name}` is not linked into this process; linked are {linked}")]
    Unknown {
        /// The name that was chosen.
        name: String,
        /// The names that could be.
        linked: String,
    },
    /// A function with a state that only in-process functions can have.
    #[error(
        "function `{function}` cannot be served: its state `{state}` is a {what}, and only functions \
         that are linked into the runtime's own process can have tables and buffers"
    )]
    InProcessOnly {
        /// The function's name.
        function: &'static str,
        /// The state's name.
        state: &'static str,
        /// Table or buffer.
        what: &'static str,
    },
    /// A function's name is no type name.
    #[error(transparent)]
    Name(#[from] ParseTypeNameError),
    /// The listener failed.
    #[error("cannot serve functions: {0}")]
    Io(#[from] std::io::Error),
}

impl Functions {
    /// All functions that are linked into this process.
    pub fn linked() -> Result<Self, ServeError> {
        let linked = registered_functions();
        if linked.is_empty() {
            return Err(ServeError::NoFunctions);
        }
        Self::of(linked)
    }

    /// The linked functions with these names.
    pub fn only(names: &[&str]) -> Result<Self, ServeError> {
        let linked = registered_functions();
        for name in names {
            if !linked.iter().any(|function| function.name == *name) {
                let linked: Vec<_> = linked.iter().map(|function| function.name).collect();
                return Err(ServeError::Unknown {
                    name: (*name).to_owned(),
                    linked: if linked.is_empty() { "none".to_owned() } else { linked.join(", ") },
                });
            }
        }
        Self::of(linked.into_iter().filter(|function| names.contains(&function.name)).collect())
    }

    fn of(functions: Vec<&'static FunctionDescriptor>) -> Result<Self, ServeError> {
        let (mut by_type, mut by_namespace) = (FxHashMap::default(), FxHashMap::default());
        for function in functions {
            refuse_entries(function)?;
            let served = Served { function, specs: function.specs().into() };
            let replaced = match function.target()? {
                FunctionTarget::Namespace(namespace) => by_namespace.insert(namespace, served),
                FunctionTarget::Exact(_) => {
                    by_type.insert(FunctionType::parse(function.name)?, served)
                }
            };
            if replaced.is_some() {
                return Err(ServeError::Duplicate(function.name));
            }
        }
        Ok(Self { by_type, by_namespace })
    }

    pub(crate) fn find(&self, function_type: FunctionType) -> Option<&Served> {
        let exact = self.by_type.get(&function_type);
        exact.or_else(|| self.by_namespace.get(function_type.namespace()))
    }

    /// The names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let served = self.by_type.values().chain(self.by_namespace.values());
        let mut names: Vec<_> = served.map(|served| served.function.name).collect();
        names.sort_unstable();
        names
    }
}

fn refuse_entries(function: &FunctionDescriptor) -> Result<(), ServeError> {
    for state in function.states {
        let what = match state.kind {
            StateKind::Value => continue,
            StateKind::Table { .. } => "table",
            StateKind::Buffer => "buffer",
        };
        let (function, state) = (function.name, state.name);
        return Err(ServeError::InProcessOnly { function, state, what });
    }
    Ok(())
}
