//! Partitions that change hands while shards live on, in a store where each commits alone: one that the
//! store has refused is forgotten with everything that rests on it; one that others have opened is asked
//! again how far it is.

use dormouse_protocol::Partition;

use crate::action::{Action, GetFor, ScanFor};
use crate::activation::Phase;
use crate::scope::{Scope, Scoping};
use crate::shard::Shard;

impl Shard {
    /// Forgets the partition: what was not acknowledged comes back from its senders, or from the store.
    pub(crate) fn refused(&mut self, partition: Partition) {
        assert_eq!(
            self.config.scoping,
            Scoping::Partition,
            "{partition} was refused alone, though all partitions of the shard commit together"
        );
        let index = usize::from(partition.0);
        let Some(part) = self.parts[index].take() else {
            return;
        };
        if let Some(at_ms) = part.timers.registered_ms {
            self.due.remove(&(at_ms, partition));
        }
        if !part.recovery.is_done() {
            self.searching -= 1;
            self.searches.retain(|other| *other != partition);
        }
        self.cleanings.retain(|other| *other != partition);
        self.questions.forget(partition);
        let unconfirmed: usize = part.egress.values().map(|queue| queue.unconfirmed.len()).sum();
        self.stats.egress_unconfirmed -= unconfirmed as u64;
        self.stats.dead_letters -= part.dead.count;
        self.scopes[index] = Scope::after(&self.scopes[index]);
        let slots = self.activations.slots_of(partition);
        self.actions.retain(|action| !names(action, partition) && !is_of(action, &slots));
        let mut handshakes = Vec::new();
        for slot in slots {
            let activation = self.activations.get(slot);
            if activation.flags.is_handshake {
                handshakes.push(activation.address.function_type);
            }
            self.drop_activation(partition, slot);
        }
        for function_type in handshakes {
            let known = self.types.get(function_type);
            known.handshakes = known.handshakes.saturating_sub(1);
            self.resume_waiting(function_type, 1);
        }
        self.start_ready();
        self.search_more();
    }

    fn drop_activation(&mut self, partition: Partition, slot: u32) {
        self.recovered(slot);
        let activation = self.activations.get(slot);
        let generation = activation.generation;
        let entries = activation.batch.iter().chain(activation.mailbox.iter());
        let bytes: usize = entries.map(|entry| entry.message.weight()).sum();
        let messages = activation.batch.len() + activation.mailbox.len();
        self.stats.blocked -= u64::from(activation.failures > 0);
        match activation.phase {
            Phase::Running => {
                let function_type = activation.address.function_type;
                self.leave_place(function_type);
            }
            Phase::Blocked => {
                self.retries.retain(|(_, other, of)| (*other, *of) != (slot, generation))
            }
            _ => {}
        }
        self.leave_mailbox(partition, messages as u64, bytes as u64);
        self.activations.remove(slot);
    }

    /// Asks the partition's new owner how far it is: what was on its way to the former one may be lost.
    pub(crate) fn moved(&mut self, receiver: Partition) {
        for index in 0..self.parts.len() {
            let sender = Partition(index as u16);
            let part = self.parts[index].as_ref();
            if part.is_some_and(|part| part.channels[usize::from(receiver.0)].is_some()) {
                self.ask(sender, receiver);
            }
        }
    }
}

/// Whether an action concerns a partition.
fn names(action: &Action, partition: Partition) -> bool {
    match action {
        Action::Append { scope, .. } => *scope == u32::from(partition.0),
        Action::Get { purpose: GetFor::Tokens { partition: of, .. }, .. } => *of == partition,
        Action::Scan { purpose, .. } => match purpose {
            ScanFor::Recovery { partition: of }
            | ScanFor::Cleared { partition: of }
            | ScanFor::ClearedEntries { partition: of, .. }
            | ScanFor::Timers { partition: of }
            | ScanFor::Outbox { partition: of, .. }
            | ScanFor::Egress { partition: of, .. } => *of == partition,
            ScanFor::Mail { .. } | ScanFor::Entries { .. } => false,
        },
        Action::Frame(frame) => frame.from == partition,
        Action::Egress(out) => out.partition == partition,
        _ => false,
    }
}

/// Whether an action was asked for by an activation in one of these slots, which are in order.
fn is_of(action: &Action, slots: &[u32]) -> bool {
    match action {
        Action::Invoke { id, .. }
        | Action::Rows { id, .. }
        | Action::Get { purpose: GetFor::State { id, .. } | GetFor::Entry { id, .. }, .. }
        | Action::Scan { purpose: ScanFor::Mail { id } | ScanFor::Entries { id, .. }, .. } => {
            slots.binary_search(&id.slot).is_ok()
        }
        _ => false,
    }
}
