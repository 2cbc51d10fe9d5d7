//! An instance while it is awake: its mailbox, its cached state, its one invocation in flight.

use dormouse_protocol::{Address, Partition};
use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::breakage::{Breakage, breaks};
use crate::cell::Cell;
use crate::event::InvocationId;
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
    pub(crate) failures: u32,
    pub(crate) handshake_rounds: u32,
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
        let weight = ACTIVATION_BYTES + address.id.len();
        Self {
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
            handshake_rounds: 0,
            last_used_ms: 0,
            last_write: 0,
            weight,
        }
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

    /// Whether all messages that are only in the store are being read: new ones may wait behind them in
    /// the mailbox, which is empty until then.
    pub(crate) fn is_reading_all(&self) -> bool {
        self.phase == Phase::LoadingMail && self.spill.asked == Some(self.spill.last)
    }
}

/// All awake instances of a shard, found by address, named by slot. Memory goes back as they sleep: a
/// slot costs one pointer.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    slots: Vec<Option<Box<Activation>>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    generation: u32,
    /// Where the sweep goes on.
    hand: usize,
    /// Bytes accounted for all of them.
    pub(crate) memory: usize,
}

/// The hash of an address: its placement hash (low bits are the same within a shard, so they are
/// turned away) mixed with the type.
fn index_hash(placement_hash: u64, function_index: usize) -> u64 {
    (placement_hash ^ (function_index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).rotate_left(32)
}

impl Activations {
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn find(&self, hash: u64, address: &Address) -> Option<u32> {
        let hash = index_hash(hash, address.function_type.index());
        let same = |slot: &u32| self.at(*slot).address == *address;
        self.index.find(hash, same).copied()
    }

    fn at(&self, slot: u32) -> &Activation {
        self.slots[slot as usize].as_deref().expect("an indexed slot is in use")
    }

    pub(crate) fn get(&mut self, slot: u32) -> &mut Activation {
        self.slots[slot as usize].as_deref_mut().expect("a slot in hand is in use")
    }

    /// The activation that `id` names, unless it has moved on.
    pub(crate) fn current(&mut self, id: InvocationId) -> Option<&mut Activation> {
        let activation = self.slots.get_mut(id.slot as usize)?.as_deref_mut()?;
        (activation.generation == id.generation).then_some(activation)
    }

    /// The generation that a slot is at, whichever was asked for.
    pub(crate) fn latest(&self, id: InvocationId) -> InvocationId {
        let activation = self.slots.get(id.slot as usize).and_then(Option::as_deref);
        let generation = activation.map_or(id.generation, |activation| activation.generation);
        InvocationId { generation, ..id }
    }

    /// A generation that no earlier question or invocation of the slot had.
    pub(crate) fn next_id(&mut self, slot: u32) -> InvocationId {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        self.get(slot).generation = generation;
        InvocationId { slot, generation }
    }

    pub(crate) fn insert(&mut self, activation: Activation) -> u32 {
        self.memory += activation.weight;
        let hash = index_hash(activation.hash, activation.address.function_type.index());
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 awake instances")
        });
        self.slots[slot as usize] = Some(Box::new(activation));
        let slots = &self.slots;
        self.index.insert_unique(hash, slot, |slot| {
            let other = slots[*slot as usize].as_deref().expect("an indexed slot is in use");
            index_hash(other.hash, other.address.function_type.index())
        });
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        let activation = self.slots[slot as usize].take().expect("a slot in hand is in use");
        self.memory -= activation.weight;
        let hash = index_hash(activation.hash, activation.address.function_type.index());
        let found = self.index.find_entry(hash, |other| *other == slot);
        found.expect("a slot in use is indexed").remove();
        self.free.push(slot);
        if self.index.is_empty() {
            self.slots = Vec::new();
            self.free = Vec::new();
            self.index = HashTable::new();
        }
    }

    /// Adds what changed in an activation's size to the account.
    pub(crate) fn reweigh(&mut self, slot: u32, added: usize, removed: usize) {
        self.memory = self.memory + added - removed;
        let activation = self.get(slot);
        activation.weight = activation.weight + added - removed;
    }

    /// The next slot that the sweep looks at, in use or not; `None` when there are no slots.
    pub(crate) fn sweep_next(&mut self) -> Option<(u32, Option<&mut Activation>)> {
        if self.slots.is_empty() {
            return None;
        }
        self.hand = (self.hand + 1) % self.slots.len();
        Some((self.hand as u32, self.slots[self.hand].as_deref_mut()))
    }

    /// Those of a partition, in the order of their slots.
    pub(crate) fn slots_of(&self, partition: Partition) -> Vec<u32> {
        let slots = self.slots.iter().zip(0..);
        let of_partition = |(slot, _): &(&Option<Box<Activation>>, u32)| {
            slot.as_ref().is_some_and(|activation| activation.partition == partition)
        };
        slots.filter(of_partition).map(|(_, slot)| slot).collect()
    }

    pub(crate) fn slots_len(&self) -> usize {
        self.slots.len()
    }
}
