//! What one commit makes atomic: the open commit that collects effects, and the sealed ones that wait
//! for the store, with what each may release.

use std::collections::VecDeque;
use std::sync::Arc;

use dormouse_protocol::{EntryRead, Partition};

use crate::action::Action;
use crate::channel::Frame;
use crate::commit::{OpBuffer, Trim};
use crate::event::InvocationId;

/// Trims that wait for a commit with something else in it, and for how long, in milliseconds.
const TRIMS_MAX: usize = 1_024;
const TRIMS_PAUSE_MS: u64 = 100;

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
    /// Activations with changed state; and the bytes of all values that they were given.
    pub(crate) dirty: Vec<u32>,
    pub(crate) dirty_bytes: usize,
    /// Marks that rose: (receiver, sender).
    pub(crate) marks: Vec<(Partition, Partition)>,
    /// Channels that were given messages: (sender, receiver).
    pub(crate) sends: Vec<(Partition, Partition)>,
    /// Egress queues that were given records.
    pub(crate) egress: Vec<(Partition, Arc<str>)>,
    /// Partitions whose delayed messages have fired or were cancelled: their cursors move.
    pub(crate) cursors: Vec<Partition>,
    pub(crate) trims: Vec<Trim>,
    /// When trims that no other effect has taken along are sealed by themselves.
    pub(crate) trims_at_ms: Option<u64>,
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
    Read(InvocationId, EntryRead),
    Cleared(Partition),
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

    /// Begins anew after `before`, whose commits nobody waits for any more.
    pub(crate) fn after(before: &Self) -> Self {
        let last = before.number - 1;
        Self { number: before.number, visible: last, durable: last, ..Self::new() }
    }

    /// Whether a running function waits to read what the open commit writes.
    pub(crate) fn is_awaited(&self) -> bool {
        let last = self.awaiting.back();
        last.is_some_and(|(number, who)| {
            *number == self.number && matches!(who, Awaiting::Read(..))
        })
    }

    /// Whether anything waits to read what the open commit writes.
    pub(crate) fn has_readers(&self) -> bool {
        self.awaiting.back().is_some_and(|(number, _)| *number == self.number)
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

    /// Notes that entries of an outbox are confirmed.
    #[inline]
    pub(crate) fn trim(&mut self, trim: Trim, now_ms: u64) {
        self.trims_at_ms.get_or_insert(now_ms + TRIMS_PAUSE_MS);
        match self.trims.last_mut() {
            Some(last) if (last.from, last.to) == (trim.from, trim.to) => last.upto = trim.upto,
            _ => self.trims.push(trim),
        }
    }

    /// Whether trims have to be sealed though nothing else is there: nobody waits for them, but what
    /// they free should not stay for long.
    pub(crate) fn has_due_trims(&self, now_ms: u64) -> bool {
        self.trims.len() >= TRIMS_MAX || self.trims_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Whether there is anything to hand to the store but trims, which can wait.
    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty()
            && self.parts.is_empty()
            && self.inputs.is_empty()
            && self.dirty.is_empty()
            && self.releases.is_empty()
    }
}
