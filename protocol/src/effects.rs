//! What one invocation asks for. Applied in the order of the fields, each list in its own order:
//! messages, delayed messages and cancellations, egress records, then state.

use bytes::Bytes;
use compact_str::CompactString;

use crate::{Address, TypeName, TypedValue};

/// The effects of one invocation (of a whole batch).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    pub messages: Vec<(Address, TypedValue)>,
    pub delayed: Vec<Delayed>,
    pub egress: Vec<EgressRecord>,
    pub state: Vec<StateMutation>,
}

/// A delayed message or the cancellation of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delayed {
    Send {
        delay_ms: u64,
        target: Address,
        value: TypedValue,
        /// Scoped to the sender's id; a token in use is replaced. Never empty.
        token: Option<CompactString>,
    },
    /// Of the message that holds this token, if there is one. Never empty.
    Cancel { token: CompactString },
}

/// A record for an egress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressRecord {
    pub egress: TypeName,
    pub value: TypedValue,
}

/// A change of one state: the index into the invocation's `specs`, and the new value (`None` deletes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateMutation {
    pub spec: u16,
    pub value: Option<Bytes>,
}

impl Effects {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.delayed.is_empty()
            && self.egress.is_empty()
            && self.state.is_empty()
    }
}
