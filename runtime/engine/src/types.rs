//! What a shard knows of each function type: whether anybody serves it, and its registered states.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;

use dormouse_protocol::{FailurePolicy, FunctionType, StateSpec};

use crate::event::InvocationId;

/// Doublings of the number of handshakes under way: beyond any bound of invocations in flight.
const GATE_DOUBLINGS_MAX: u32 = 24;

/// What the application says of a function type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declared {
    /// Nobody serves it: its messages wait in the store.
    Unserved,
    /// Served; with its states, or `None` when only calling it tells.
    Served { specs: Option<Vec<StateSpec>> },
}

/// Answers for each function type once, when a shard meets it. Must be a pure function of the type.
pub trait Catalog: Debug {
    fn declare(&mut self, function_type: FunctionType) -> Declared;

    /// What becomes of messages whose function keeps failing.
    fn failure_policy(&mut self, _: FunctionType) -> FailurePolicy {
        FailurePolicy::default()
    }
}

#[derive(Debug)]
pub(crate) struct TypeState {
    pub(crate) is_served: bool,
    pub(crate) failure: FailurePolicy,
    pub(crate) specs: Arc<[StateSpec]>,
    /// An invocation has told which states there are.
    pub(crate) is_known: bool,
    /// Invocations under way that will tell.
    pub(crate) handshakes: usize,
    /// Has its one entry among the shard's handshake gates.
    pub(crate) has_gate: bool,
    /// How often handshakes took too long: each time twice as many may be under way.
    pub(crate) gates_opened: u32,
    /// Activations that wait to be told.
    pub(crate) waiting: VecDeque<InvocationId>,
    /// Invocations under way, and activations that wait for a place among them.
    pub(crate) in_flight: usize,
    pub(crate) ready: VecDeque<InvocationId>,
}

#[derive(Debug)]
pub(crate) struct Types {
    catalog: Box<dyn Catalog>,
    by_index: Vec<Option<TypeState>>,
}

impl Types {
    pub(crate) fn new(catalog: Box<dyn Catalog>) -> Self {
        Self { catalog, by_index: Vec::new() }
    }

    #[inline]
    pub(crate) fn get(&mut self, function_type: FunctionType) -> &mut TypeState {
        let index = function_type.index();
        if index >= self.by_index.len() {
            self.by_index.resize_with(index + 1, || None);
        }
        let catalog = &mut self.catalog;
        self.by_index[index].get_or_insert_with(|| {
            let mut known = match catalog.declare(function_type) {
                Declared::Unserved => TypeState::new(false, Vec::new(), true),
                Declared::Served { specs: Some(specs) } => TypeState::new(true, specs, true),
                Declared::Served { specs: None } => TypeState::new(true, Vec::new(), false),
            };
            known.failure = catalog.failure_policy(function_type);
            known
        })
    }
}

impl TypeState {
    fn new(is_served: bool, specs: Vec<StateSpec>, is_known: bool) -> Self {
        let specs = specs.into();
        Self {
            is_served,
            failure: FailurePolicy::default(),
            specs,
            is_known,
            handshakes: 0,
            has_gate: false,
            gates_opened: 0,
            waiting: VecDeque::new(),
            in_flight: 0,
            ready: VecDeque::new(),
        }
    }

    /// How many handshakes may be under way: `first` of them, doubled each time they took too long.
    pub(crate) fn handshakes_max(&self, first: usize) -> usize {
        first.saturating_mul(1 << self.gates_opened.min(GATE_DOUBLINGS_MAX))
    }

    /// Adds the states that are new. The number added, or why they contradict what is known.
    pub(crate) fn register(&mut self, asked: Vec<StateSpec>) -> Result<usize, String> {
        let mut specs = self.specs.to_vec();
        for spec in asked {
            match specs.iter().find(|known| known.name == spec.name) {
                None => specs.push(spec),
                Some(known) if known.typename == spec.typename => {}
                Some(known) => {
                    return Err(format!(
                        "state [{}]: Previous type was: {}, new type is: {}",
                        spec.name, known.typename, spec.typename
                    ));
                }
            }
        }
        let added = specs.len() - self.specs.len();
        if added > 0 {
            self.specs = specs.into();
        }
        Ok(added)
    }
}
