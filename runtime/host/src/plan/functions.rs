//! Which provider serves a function type: an exact one, in-process or bound by a manifest, before a
//! namespace's wildcard.

use std::sync::Arc;

use dormouse_protocol::partition::RESERVED_NAMESPACE_PREFIX;
use dormouse_protocol::{FailurePolicy, FunctionType, TypeName};
use dormouse_sdk::function::FunctionProvider;
use dormouse_sdk::manifest::Span;
use dormouse_sdk::module::FunctionTarget;
use rustc_hash::FxHashMap;

use crate::plan::name_of;
use crate::registry::LinkedFunction;

/// The table of function types.
#[derive(Debug, Default)]
pub struct Functions {
    exact: FxHashMap<FunctionType, Entry>,
    namespaces: FxHashMap<String, Entry>,
}

/// One line of what is served, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// `<namespace>/<name>` or `<namespace>/*`.
    pub target: String,
    /// Where: a URL template, or "in-process".
    pub served_at: String,
    /// Where a manifest says so; `None` for a linked function.
    pub span: Option<Span>,
    /// What becomes of messages that it fails on.
    pub failure: FailurePolicy,
}

#[derive(Debug)]
struct Entry {
    provider: Arc<dyn FunctionProvider>,
    served: Served,
}

/// How linked functions are called wherever one says where a function is served.
pub const IN_PROCESS: &str = "in-process";

impl Functions {
    /// Who serves this type, if anybody does.
    #[must_use]
    pub fn provider(&self, function_type: FunctionType) -> Option<&Arc<dyn FunctionProvider>> {
        self.entry(function_type).map(|entry| &entry.provider)
    }

    /// What becomes of messages that functions of this type fail on.
    #[must_use]
    pub fn failure(&self, function_type: FunctionType) -> FailurePolicy {
        self.entry(function_type).map(|entry| entry.served.failure).unwrap_or_default()
    }

    fn entry(&self, function_type: FunctionType) -> Option<&Entry> {
        let exact = self.exact.get(&function_type);
        exact.or_else(|| self.namespaces.get(function_type.namespace()))
    }

    /// Where a type is served, for people: a URL template or [`IN_PROCESS`].
    #[must_use]
    pub fn served_at(&self, function_type: &str) -> Option<&str> {
        let function_type = FunctionType::parse(function_type).ok()?;
        let exact = self.exact.get(&function_type);
        let entry = exact.or_else(|| self.namespaces.get(function_type.namespace()))?;
        Some(&entry.served.served_at)
    }

    /// The same for a name that may never have been interned, so that a stranger's names cost nothing.
    #[must_use]
    pub fn serves(&self, namespace: &str, name: &str) -> bool {
        let known = FunctionType::known(namespace, name);
        known.is_some_and(|known| self.exact.contains_key(&known))
            || self.namespaces.contains_key(namespace)
    }

    /// What the application serves, sorted by name. Dormouse's own types are not shown.
    #[must_use]
    pub fn served(&self) -> Vec<&Served> {
        let entries = self.exact.values().chain(self.namespaces.values());
        let is_shown = |served: &&Served| !served.target.starts_with(RESERVED_NAMESPACE_PREFIX);
        let mut served: Vec<&Served> =
            entries.map(|entry| &entry.served).filter(is_shown).collect();
        served.sort_by(|a, b| a.target.cmp(&b.target));
        served
    }

    /// Linked functions that stand before an endpoint's wildcard, with the wildcard.
    #[must_use]
    pub fn preferred(&self) -> Vec<(&Served, &Served)> {
        let linked = self.exact.iter().filter(|(_, e)| e.served.span.is_none());
        let mut pairs: Vec<_> = linked
            .filter_map(|(function_type, entry)| {
                let wildcard = self.namespaces.get(function_type.namespace())?;
                wildcard.served.span.as_ref()?;
                Some((&entry.served, &wildcard.served))
            })
            .collect();
        pairs.sort_by(|a, b| a.0.target.cmp(&b.0.target));
        pairs
    }

    pub(super) fn add_linked(&mut self, function: &LinkedFunction) {
        let served = Served {
            target: name_of(&function.target),
            served_at: IN_PROCESS.to_owned(),
            span: None,
            failure: FailurePolicy::default(),
        };
        let entry = Entry { provider: Arc::clone(&function.provider), served };
        match &function.target {
            FunctionTarget::Exact(name) => {
                let function_type = FunctionType::new(&name.namespace, &name.name);
                self.exact.insert(function_type, entry);
            }
            FunctionTarget::Namespace(namespace) => {
                self.namespaces.insert(namespace.clone(), entry);
            }
        }
    }

    /// What becomes of messages that linked functions fail on.
    pub(super) fn set_failure(&mut self, target: &FunctionTarget, failure: FailurePolicy) {
        let namespace = match target {
            FunctionTarget::Exact(name) => return self.set_failure_of(name, failure),
            FunctionTarget::Namespace(namespace) => namespace,
        };
        let exact = self.exact.iter_mut();
        let exact = exact.filter(|(function_type, _)| function_type.namespace() == namespace);
        let linked = exact.map(|(_, entry)| entry).chain(self.namespaces.get_mut(namespace));
        for entry in linked.filter(|entry| entry.served.span.is_none()) {
            entry.served.failure = failure;
        }
    }

    /// The same for one name, which a linked function may serve along with its namespace.
    fn set_failure_of(&mut self, name: &TypeName, failure: FailurePolicy) {
        let Some(function_type) = FunctionType::try_new(&name.namespace, &name.name) else {
            return;
        };
        let of_namespace = self.namespaces.get(&name.namespace);
        let of_namespace = of_namespace.filter(|entry| entry.served.span.is_none());
        if !self.exact.contains_key(&function_type)
            && let Some(entry) = of_namespace
        {
            let served = Served { target: name.to_string(), ..entry.served.clone() };
            let provider = Arc::clone(&entry.provider);
            self.exact.insert(function_type, Entry { provider, served });
        }
        let exact = self.exact.get_mut(&function_type);
        if let Some(entry) = exact.filter(|entry| entry.served.span.is_none()) {
            entry.served.failure = failure;
        }
    }

    /// Refuses a target that is served already or reserved; the reason continues "function `x` ...".
    pub(super) fn add(
        &mut self,
        target: &FunctionTarget,
        provider: Arc<dyn FunctionProvider>,
        served: Served,
    ) -> Result<(), String> {
        let (FunctionTarget::Exact(TypeName { namespace, .. })
        | FunctionTarget::Namespace(namespace)) = target;
        if namespace.starts_with(RESERVED_NAMESPACE_PREFIX) {
            return Err("stands in the namespace `dormouse.*`, which is reserved".to_owned());
        }
        let entry = Entry { provider, served };
        let earlier = match target {
            FunctionTarget::Exact(name) => {
                let function_type = FunctionType::try_new(&name.namespace, &name.name)
                    .ok_or("is one type too many: a process knows 65,536 at most")?;
                insert_new(&mut self.exact, function_type, entry)
            }
            FunctionTarget::Namespace(namespace) => {
                insert_new(&mut self.namespaces, namespace.clone(), entry)
            }
        };
        earlier.map_or(Ok(()), |served| Err(refusal(served)))
    }
}

/// Inserts, unless the key is taken: then answers by whom.
fn insert_new<K: std::hash::Hash + Eq>(
    entries: &mut FxHashMap<K, Entry>,
    key: K,
    entry: Entry,
) -> Option<&Served> {
    match entries.entry(key) {
        std::collections::hash_map::Entry::Occupied(taken) => Some(&taken.into_mut().served),
        std::collections::hash_map::Entry::Vacant(free) => {
            free.insert(entry);
            None
        }
    }
}

fn refusal(earlier: &Served) -> String {
    match &earlier.span {
        Some(span) => {
            format!("is already served at {span} ({}); remove one of the two", earlier.served_at)
        }
        None => {
            "is already served in-process: it is linked into this binary; remove the endpoint, \
                 or the function"
                .to_owned()
        }
    }
}
