//! What one invocation asks for. Applied in the order of the fields, each list in its own order:
//! messages, delayed messages and cancellations, egress records, then state.

use bytes::Bytes;
use compact_str::CompactString;
use smallvec::SmallVec;

use crate::{Address, EntryEffects, TypeName, TypedValue};

/// Changes of states. Mostly one: it costs no list.
pub type StateMutations = SmallVec<[StateMutation; 1]>;

/// The effects of one invocation (of a whole batch).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Messages to functions.
    pub messages: Vec<(Address, TypedValue)>,
    /// Delayed messages and cancellations, as they were asked for.
    pub delayed: Vec<Delayed>,
    /// Records for egresses.
    pub egress: Vec<EgressRecord>,
    /// Changes of states; the last one of a state wins.
    pub state: StateMutations,
    /// Changes of entries of tables and buffers. Boxed: most functions have none.
    pub entries: Option<Box<EntryEffects>>,
}

/// Longest cancellation token, in bytes: it is part of a key in the store, beside the longest id.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// A delayed message or the cancellation of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delayed {
    /// A message that is delivered later.
    Send {
        /// Milliseconds, counted from the moment in which the effects are applied.
        delay_ms: u64,
        /// Where it goes.
        target: Address,
        /// The message.
        value: TypedValue,
        /// Scoped to the sender's id; a token in use is replaced. Never empty, at most
        /// [`TOKEN_BYTES_MAX`] bytes.
        token: Option<CompactString>,
    },
    /// Of the message that holds this token, if there is one. Never empty.
    Cancel {
        /// What the message was sent with.
        token: CompactString,
    },
}

/// A record for an egress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressRecord {
    /// Id of the egress.
    pub egress: TypeName,
    /// The record.
    pub value: TypedValue,
}

/// A change of one state: the index into the invocation's `specs`, and the new value (`None` deletes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateMutation {
    /// Index into the specs of the invocation.
    pub spec: u16,
    /// The new value; `None` deletes.
    pub value: Option<Bytes>,
}

impl Effects {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.delayed.is_empty()
            && self.egress.is_empty()
            && self.state.is_empty()
            && self.entries.is_none()
    }
}
