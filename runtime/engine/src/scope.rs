//! What one commit makes atomic: the open commit that collects effects, and the sealed ones that wait
//! for the store, with what each may release.

use std::collections::VecDeque;
use std::sync::Arc;

use dormouse_protocol::Partition;

use crate::action::Action;
use crate::channel::Frame;
use crate::commit::{OpBuffer, Trim};
use crate::event::InvocationId;

/// How partitions share commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoping {
    /// One commit holds everything of the shard.
    Shard,
    /// Each partition commits alone.
    Partition,
}

/// The commit that is being filled.
#[derive(Debug, Default)]
pub(crate) struct OpenCommit {
    pub(crate) ops: OpBuffer,
    pub(crate) parts: Vec<Partition>,
    /// Activations that were given messages.
    pub(crate) inputs: Vec<u32>,
    /// Activations with changed state.
    pub(crate) dirty: Vec<u32>,
    /// Marks that rose: (receiver, sender).
    pub(crate) marks: Vec<(Partition, Partition)>,
    /// Channels that were given messages: (sender, receiver).
    pub(crate) sends: Vec<(Partition, Partition)>,
    /// Egress queues that were given records.
    pub(crate) egress: Vec<(Partition, Arc<str>)>,
    /// Partitions whose delayed messages have fired.
    pub(crate) fired: Vec<Partition>,
    pub(crate) trims: Vec<Trim>,
    /// May leave when the commit is durable.
    pub(crate) releases: Vec<Action>,
}

/// A commit that the store has been given.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) number: u64,
    /// Channels and the highest number that this commit holds: (sender, receiver, number).
    pub(crate) sends: Vec<(Partition, Partition, u64)>,
    pub(crate) confirms: Vec<Frame>,
    pub(crate) releases: Vec<Action>,
}

/// Who waits to read what it has left to the store.
#[derive(Debug)]
pub(crate) enum Awaiting {
    Mail(InvocationId),
    Egress(Partition, Arc<str>),
    Timers(Partition),
    Recovery(Partition),
}

#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) open: OpenCommit,
    /// The open commit's number.
    pub(crate) number: u64,
    /// Reads see everything up to this commit.
    pub(crate) visible: u64,
    pub(crate) durable: u64,
    pub(crate) in_flight: VecDeque<Sealed>,
    /// What waits for a commit to become readable.
    pub(crate) awaiting: VecDeque<(u64, Awaiting)>,
}

impl Scope {
    pub(crate) fn new() -> Self {
        Self {
            open: OpenCommit::default(),
            number: 1,
            visible: 0,
            durable: 0,
            in_flight: VecDeque::new(),
            awaiting: VecDeque::new(),
        }
    }

    pub(crate) fn release_when_durable(&mut self, action: Action) {
        self.open.releases.push(action);
    }
}

impl OpenCommit {
    /// Whether something leaves when it is appended or durable.
    pub(crate) fn has_releases(&self) -> bool {
        !(self.releases.is_empty() && self.sends.is_empty() && self.marks.is_empty())
    }

    /// Whether there is anything to hand to the store.
    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty()
            && self.parts.is_empty()
            && self.inputs.is_empty()
            && self.dirty.is_empty()
            && self.trims.is_empty()
            && self.releases.is_empty()
    }
}
