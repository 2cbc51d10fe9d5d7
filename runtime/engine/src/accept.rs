//! Messages in: to a mailbox in memory, or straight to the store where memory is not for them. Never
//! refused; an input that is not finished when its commit is sealed is written there as pending.

use std::num::NonZeroU32;
use std::sync::Arc;

use dormouse_protocol::{Address, Message, Partition};

use crate::action::Action;
use crate::activation::{Activation, Phase, Spill};
use crate::breakage::{Breakage, breaks};
use crate::event::SubmitToken;
use crate::finish::Target;
use crate::keys;
use crate::mailbox::Entry;
use crate::record::put_message;
use crate::shard::Shard;

impl Shard {
    pub(crate) fn submit(&mut self, message: Message, token: Option<SubmitToken>) {
        let at = self.look_up(&message.target);
        match token {
            Some(token) if self.is_question(&message) => self.take_question(at, message, token),
            _ => {
                let accepted = token.map(Action::Accepted);
                self.scope(at.partition).open.releases.extend(accepted);
                self.enqueue_at(at, Arc::new(message), None);
            }
        }
    }

    /// A message for an address of `partition`, which this shard owns.
    pub(crate) fn enqueue(&mut self, partition: Partition, hash: u64, message: Arc<Message>) {
        let found = self.activations.find(hash, &message.target);
        self.enqueue_at(Target { hash, partition, found }, message, None);
    }

    /// The same, for an address that was looked up already. One that is held in memory is written by the
    /// open commit, or, as a question of this number, later; answers the slot that holds it.
    pub(crate) fn enqueue_at(
        &mut self,
        at: Target,
        message: Arc<Message>,
        question: Option<NonZeroU32>,
    ) -> Option<u32> {
        let Target { hash, partition, found } = at;
        self.stats.messages_accepted += 1;
        let part = self.part(partition);
        part.arrival += 1;
        let arrival = part.arrival;
        let slot = match found {
            Some(slot) => slot,
            None if !self.is_served(&message.target) => {
                self.stats.unserved += 1;
                self.put_pending(partition, &message.target, arrival, &message);
                return None;
            }
            None if !self.may_wake() => {
                self.put_aside(partition, arrival, &message);
                return None;
            }
            None => self.wake(partition, hash, &message.target),
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
            || (has_mail && activation.mailbox.bytes() >= limits.mailbox_bytes_max)
            || (is_full && is_busy);
        let is_behind = activation.spill.is_spilled
            && !activation.is_reading_all()
            && !breaks(Breakage::PendingAfterNew);
        let is_held = !is_behind && !overflows;
        if is_held {
            self.hold(slot, Entry { arrival, is_persisted: false, question, message });
        } else {
            self.spill(slot, arrival, &message);
        }
        if !is_busy {
            self.schedule(slot);
        }
        is_held.then_some(slot)
    }

    pub(crate) fn is_served(&mut self, address: &Address) -> bool {
        self.types.get(address.function_type).is_served
    }

    /// Whether there is memory for one more awake instance. While others wait to be woken by the search
    /// for their messages, a part is left to them.
    fn may_wake(&self) -> bool {
        let max = self.config.limits.memory_bytes_max;
        let mine = if self.searching > 0 { max / 8 * 7 } else { max };
        self.activations.memory < mine
    }

    /// Wakes an address that sleeps.
    pub(crate) fn wake(&mut self, partition: Partition, hash: u64, address: &Address) -> u32 {
        let mut activation = Activation::new(address.clone(), partition, hash);
        activation.last_used_ms = self.now_ms;
        let part = self.parts[usize::from(partition.0)].as_deref();
        let recovery = &part.expect("the partition is owned").recovery;
        if !recovery.is_done() {
            keys::pending_prefix(&mut self.key, partition, address);
            if recovery.covers(&self.key) {
                let commit = recovery.commit;
                activation.spill = Spill { is_spilled: true, commit, ..Spill::default() };
            }
        }
        let slot = self.activations.insert(activation);
        self.activations.next_id(slot);
        slot
    }

    /// Keeps a message in memory; the commit that is open when it came writes it unless it is finished
    /// by then, or a question.
    fn hold(&mut self, slot: u32, entry: Entry) {
        let weight = entry.message.weight();
        let is_written = entry.question.is_none();
        self.stats.mailbox_messages += 1;
        self.stats.mailbox_bytes += weight as u64;
        let activation = self.activations.get(slot);
        activation.mailbox.push(entry);
        self.activations.reweigh(slot, weight, 0);
        if is_written {
            self.list_input(slot);
        }
    }

    /// Lists the activation among those whose messages the open commit writes.
    pub(crate) fn list_input(&mut self, slot: u32) {
        let activation = self.activations.get(slot);
        if !activation.flags.has_input {
            activation.flags.has_input = true;
            let partition = activation.partition;
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

    /// Leaves a message for a sleeping address to the store: the search for pending messages wakes the
    /// address when there is room.
    fn put_aside(&mut self, partition: Partition, arrival: u64, message: &Message) {
        self.stats.spilled_messages += 1;
        self.stats.spilled_bytes += message.weight() as u64;
        self.put_pending(partition, &message.target, arrival, message);
        if breaks(Breakage::ForgetAside) {
            return;
        }
        let commit = self.scope(partition).number;
        keys::pending_prefix(&mut self.key, partition, &message.target);
        let part = self.parts[usize::from(partition.0)].as_deref_mut();
        let recovery = &mut part.expect("the partition is owned").recovery;
        recovery.put_aside(&self.key, commit);
        if recovery.is_done() {
            self.searching += 1;
            self.queue_search(partition);
        }
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
