//! An instance while it is awake: its mailbox, its cached state, its one invocation in flight.

use dormouse_protocol::{Address, Partition};
use smallvec::SmallVec;

use crate::breakage::{Breakage, breaks};
use crate::cell::Cell;
use crate::mailbox::{Entry, Mailbox};

/// What an activation is doing. At most one thing at a time, so at most one invocation is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing to do, or about to be scheduled.
    Idle,
    /// Waits for a place among the invocations in flight, or for the states of its type to be known.
    Queued,
    /// Waits until its spilled messages are readable.
    AwaitingMail,
    LoadingMail,
    LoadingState,
    Running,
    /// The last invocation failed: the address is blocked until it is tried again.
    Blocked,
}

/// Messages of this address that are only in the store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spill {
    pub(crate) is_spilled: bool,
    /// All arrivals up to here are in memory or finished.
    pub(crate) loaded: u64,
    /// The last one put, and the commit that holds it.
    pub(crate) last: u64,
    pub(crate) commit: u64,
    /// `last` when the present scan was asked for, if all up to it was readable then: the scan ends
    /// there.
    pub(crate) asked: Option<u64>,
}

/// Its fields are laid out by hand: what every message needs comes first, side by side.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Activation {
    pub(crate) address: Address,
    pub(crate) hash: u64,
    pub(crate) generation: u32,
    pub(crate) partition: Partition,
    pub(crate) phase: Phase,
    pub(crate) flags: Flags,
    pub(crate) mailbox: Mailbox,
    /// The messages of the invocation in flight.
    pub(crate) batch: SmallVec<[Entry; 1]>,
    pub(crate) cells: SmallVec<[Cell; 1]>,
    pub(crate) last_used_ms: u64,
    /// The last commit with a write of this activation.
    pub(crate) last_write: u64,
    /// Bytes accounted for this activation.
    pub(crate) weight: usize,
    /// Messages to be tried one by one after a failed batch.
    pub(crate) single: usize,
    /// Calls that failed since the last message was done with; and when the first of them began.
    pub(crate) failures: u32,
    pub(crate) handshake_rounds: u32,
    pub(crate) tried_ms: u64,
    pub(crate) spill: Spill,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags {
    /// Listed among the open commit's inputs.
    pub(crate) has_input: bool,
    /// Listed among the open commit's written states.
    pub(crate) is_dirty: bool,
    /// Used since the sweep came by.
    pub(crate) is_referenced: bool,
    /// Its invocation is one of those that learn the type's states.
    pub(crate) is_handshake: bool,
    /// Woken by recovery, counts against its bound.
    pub(crate) is_recovering: bool,
}

/// Bytes accounted for an activation without its mailbox and state: the struct and its index entry.
pub const ACTIVATION_BYTES: usize = size_of::<Activation>() + 32;

impl Activation {
    pub(crate) fn new(address: Address, partition: Partition, hash: u64) -> Self {
        let mut activation = Self {
            address,
            partition,
            hash,
            generation: 0,
            phase: Phase::Idle,
            cells: SmallVec::new(),
            mailbox: Mailbox::default(),
            batch: SmallVec::new(),
            spill: Spill::default(),
            flags: Flags::default(),
            single: 0,
            failures: 0,
            tried_ms: 0,
            handshake_rounds: 0,
            last_used_ms: 0,
            last_write: 0,
            weight: 0,
        };
        activation.weight = activation.bare_weight();
        activation
    }

    /// Bytes accounted for one without messages and state.
    pub(crate) fn bare_weight(&self) -> usize {
        ACTIVATION_BYTES + self.address.id.len()
    }

    /// Whether dropping it loses nothing: no message, no unwritten state, nothing under way, and
    /// everything written can be read back.
    pub(crate) fn is_evictable(&self, visible: u64) -> bool {
        self.phase == Phase::Idle
            && self.mailbox.is_empty()
            && self.batch.is_empty()
            && !self.spill.is_spilled
            && !self.flags.has_input
            && !self.flags.is_dirty
            && (self.last_write <= visible || breaks(Breakage::SleepEarly))
    }

    /// Whether it is blocked, and everything that it holds can be read back.
    pub(crate) fn is_sheddable(&self, visible: u64) -> bool {
        self.phase == Phase::Blocked
            && self.weight > self.bare_weight()
            && self.batch.is_empty()
            && !self.flags.has_input
            && !self.flags.is_dirty
            && self.last_write <= visible
            && self.mailbox.iter().all(|entry| entry.is_persisted)
    }

    /// Whether all messages that are only in the store are being read: new ones may wait behind them in
    /// the mailbox, which is empty until then.
    pub(crate) fn is_reading_all(&self) -> bool {
        self.phase == Phase::LoadingMail && self.spill.asked == Some(self.spill.last)
    }
}
