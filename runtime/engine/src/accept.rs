//! Messages in: to a mailbox in memory, or straight to the store where memory is not for them. Never
//! refused; an input that is not finished when its commit is sealed is written there as pending.

use std::sync::Arc;

use dormouse_protocol::partition::{partition_of_hash, placement_hash};
use dormouse_protocol::{Address, Message, Partition};

use crate::action::Action;
use crate::activation::{Activation, Entry, Phase, Spill};
use crate::breakage::{Breakage, breaks};
use crate::event::SubmitToken;
use crate::keys;
use crate::partition_state::Recovery;
use crate::record::put_message;
use crate::shard::Shard;

impl Shard {
    pub(crate) fn submit(&mut self, message: Message, token: Option<SubmitToken>) {
        let hash = placement_hash(&message.target);
        let partition = partition_of_hash(hash, self.config.partitions);
        if let Some(token) = token {
            self.scope(partition).release_when_durable(Action::Accepted(token));
        }
        self.enqueue(partition, hash, Arc::new(message));
    }

    /// A message for an address of `partition`, which this shard owns.
    pub(crate) fn enqueue(&mut self, partition: Partition, hash: u64, message: Arc<Message>) {
        self.stats.messages_accepted += 1;
        let part = self.part(partition);
        part.arrival += 1;
        let arrival = part.arrival;
        let Some(slot) = self.wake(partition, hash, &message.target) else {
            self.stats.unserved += 1;
            self.put_pending(partition, &message.target, arrival, &message);
            return;
        };
        let now_ms = self.now_ms;
        let limits = &self.config.limits;
        let is_full = self.activations.memory >= limits.memory_bytes_max
            || self.stats.mailbox_bytes >= limits.mailboxes_bytes_max as u64;
        let activation = self.activations.get(slot);
        activation.last_used_ms = now_ms;
        activation.flags.is_referenced = true;
        let is_busy = activation.phase != Phase::Idle;
        let has_mail = !activation.mailbox.is_empty();
        let overflows = activation.mailbox.len() >= limits.mailbox_len_max
            || (has_mail && activation.mailbox_bytes >= limits.mailbox_bytes_max)
            || (is_full && is_busy);
        let is_behind = activation.spill.is_spilled && !breaks(Breakage::PendingAfterNew);
        if is_behind || overflows {
            self.spill(slot, arrival, &message);
        } else {
            self.hold(slot, Entry { arrival, is_persisted: false, message });
        }
        if !is_busy {
            self.schedule(slot);
        }
    }

    /// The slot of an address, woken if it sleeps; `None` when nobody serves its type.
    pub(crate) fn wake(
        &mut self,
        partition: Partition,
        hash: u64,
        address: &Address,
    ) -> Option<u32> {
        if let Some(slot) = self.activations.find(hash, address) {
            return Some(slot);
        }
        if !self.types.get(address.function_type).is_served {
            return None;
        }
        let mut activation = Activation::new(address.clone(), partition, hash);
        activation.last_used_ms = self.now_ms;
        if self.may_have_pending(partition, address) {
            activation.spill = Spill { is_spilled: true, ..Spill::default() };
        }
        let slot = self.activations.insert(activation);
        self.activations.next_id(slot);
        Some(slot)
    }

    /// Whether pending messages of the address may be stored that recovery has not come to.
    fn may_have_pending(&mut self, partition: Partition, address: &Address) -> bool {
        let index = usize::from(partition.0);
        let part = self.parts[index].as_deref().expect("the partition is owned");
        match &part.recovery {
            Recovery::Done => false,
            Recovery::Scanning { cursor, .. } => {
                keys::pending_prefix(&mut self.key, partition, address);
                self.key.as_slice() >= cursor.as_slice()
            }
        }
    }

    /// Keeps a message in memory; the commit that is open when it came writes it unless it is finished
    /// by then.
    fn hold(&mut self, slot: u32, entry: Entry) {
        let weight = entry.message.weight();
        self.stats.mailbox_messages += 1;
        self.stats.mailbox_bytes += weight as u64;
        let activation = self.activations.get(slot);
        activation.push(entry);
        let is_new = !activation.flags.has_input;
        activation.flags.has_input = true;
        let partition = activation.partition;
        self.activations.reweigh(slot, weight, 0);
        if is_new {
            self.scope(partition).open.inputs.push(slot);
        }
    }

    /// Leaves a message to the store, from where it is read back in its turn.
    fn spill(&mut self, slot: u32, arrival: u64, message: &Message) {
        self.stats.spilled_messages += 1;
        self.stats.spilled_bytes += message.weight() as u64;
        let partition = self.activations.get(slot).partition;
        let commit = self.scope(partition).number;
        let spill = &mut self.activations.get(slot).spill;
        if !spill.is_spilled {
            *spill = Spill { is_spilled: true, loaded: arrival - 1, ..*spill };
        }
        spill.last = arrival;
        spill.commit = commit;
        self.put_pending(partition, &message.target, arrival, message);
    }

    pub(crate) fn put_pending(
        &mut self,
        partition: Partition,
        address: &Address,
        arrival: u64,
        message: &Message,
    ) {
        keys::pending(&mut self.key, partition, address, arrival);
        self.value.clear();
        put_message(&mut self.value, message, false);
        self.put_scratch(partition);
    }
}
