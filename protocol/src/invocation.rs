//! One call of a function: a batch of messages for one address with the state it needs, and its
//! answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use smallvec::SmallVec;

use crate::{Address, Effects, EntryReader, Message};

/// Values of states, in the order of their specs. Mostly one: it costs no list.
pub type StateValues = SmallVec<[Option<Bytes>; 1]>;

/// Messages of one invocation. Mostly one: it costs no list.
pub type Batch = SmallVec<[Arc<Message>; 1]>;

/// A batch of messages for `target`, in order, with the present values of the registered states.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The instance that is invoked.
    pub target: Address,
    /// The states known of this function type, in the order of `state`.
    pub specs: Arc<[StateSpec]>,
    /// One entry per spec: the value's bytes, or `None` where it is unset, deleted or expired.
    pub state: StateValues,
    /// At least one; applied in order against the one copy of the state.
    pub messages: Batch,
    /// Where the function reads entries of its tables and buffers. The caller sets it for a function
    /// that runs in the same process and has such states.
    pub entries: Option<EntryReader>,
}

/// A registered state of a function type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSpec {
    /// Unique within the function type.
    pub name: CompactString,
    /// The type of its values.
    pub typename: CompactString,
    /// When its values expire.
    pub expiration: Expiration,
    /// A table or buffer: its values are entries, which are read one by one and expire one by one. What
    /// is given with each invocation says how they are kept, and never expires.
    pub has_entries: bool,
}

/// When a state value expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiration {
    /// Values stay until they are deleted.
    #[default]
    Never,
    /// This long after the last write, in milliseconds.
    AfterWrite(u64),
    /// This long after the last invocation that could have read it, in milliseconds.
    AfterInvoke(u64),
}

impl StateSpec {
    /// When the value expires that is given with each invocation.
    #[must_use]
    pub fn value_expiration(&self) -> Expiration {
        if self.has_entries { Expiration::Never } else { self.expiration }
    }
}

/// What a function answers.
#[derive(Clone, Debug)]
pub enum Response {
    /// It ran; these are its effects. Boxed: an answer goes through many hands.
    Effects(Box<Effects>),
    /// It did not run: it needs these states as well, and is called again with them.
    Incomplete(Vec<StateSpec>),
}

/// Why a function could not be run. It blocks its own address only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvokeError {
    /// Names the endpoint or function, what was expected and what came.
    pub message: String,
    /// The function asked to be left alone for so long (HTTP `Retry-After`).
    pub retry_after: Option<Duration>,
}

impl InvokeError {
    /// A failure without a wish when to be called again.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry_after: None }
    }
}
