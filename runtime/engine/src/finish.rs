//! An invocation has ended: its effects go into the open commit together with the using up of its
//! inputs, unless it failed.

use std::sync::Arc;

use dormouse_protocol::partition::{HTTP_NAMESPACE, REPLY_NAME, partition_of_hash, placement_hash};
use dormouse_protocol::{
    Address, Delayed, Effects, Expiration, InvokeError, Message, Partition, StateMutations,
    StateSpec, TypedValue,
};
use smallvec::SmallVec;

use crate::action::Action;
use crate::activation::Phase;
use crate::breakage::{Breakage, breaks};
use crate::event::{Completed, InvocationId};
use crate::keys;
use crate::shard::Shard;

/// Targets that are looked up before the first of them gets its message: the processor then waits for the
/// memory of all of them at once.
const LOOKED_UP_TOGETHER: usize = 16;

/// Where a message goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) hash: u64,
    pub(crate) partition: Partition,
    /// The slot of the instance, if it is awake here.
    pub(crate) found: Option<u32>,
}

impl Shard {
    pub(crate) fn done(&mut self, id: InvocationId, result: Result<Completed, InvokeError>) {
        let id = if breaks(Breakage::StaleGeneration) { self.activations.latest(id) } else { id };
        let Some(activation) = self.activations.current(id) else {
            return;
        };
        if activation.phase != Phase::Running {
            return;
        }
        let function_type = activation.address.function_type;
        self.leave_place(function_type);
        match result {
            Ok(Completed::Effects { effects, outboxes }) => {
                self.end_handshake(id.slot, true);
                self.apply(id.slot, *effects, &outboxes);
            }
            Ok(Completed::Incomplete(specs)) => self.incomplete(id.slot, specs),
            Err(error) => {
                self.end_handshake(id.slot, false);
                self.fail(id.slot, &error);
            }
        }
        if !self.ready.is_empty() {
            self.start_ready();
        }
    }

    fn end_handshake(&mut self, slot: u32, has_told: bool) {
        let activation = self.activations.get(slot);
        if !std::mem::take(&mut activation.flags.is_handshake) {
            return;
        }
        let function_type = activation.address.function_type;
        let known = self.types.get(function_type);
        known.handshakes = known.handshakes.saturating_sub(1);
        known.is_known |= has_told;
        let resumed = if known.is_known { known.waiting.len() } else { 1 };
        self.resume_waiting(function_type, resumed);
    }

    /// The function wants states that it was not given: the same messages go out again with them.
    fn incomplete(&mut self, slot: u32, specs: Vec<StateSpec>) {
        let activation = self.activations.get(slot);
        let function_type = activation.address.function_type;
        activation.handshake_rounds += 1;
        let rounds = activation.handshake_rounds;
        let registered = self.types.get(function_type).register(specs);
        // Only now: those that waited for this are called with the states that were named.
        self.end_handshake(slot, true);
        let error = match registered {
            Err(contradiction) => contradiction,
            Ok(_) => {
                let activation = self.activations.get(slot);
                activation.phase = Phase::Idle;
                let has_new = activation.cells.len() < self.types.get(function_type).specs.len();
                if has_new || rounds <= self.config.limits.handshake_rounds_max {
                    self.schedule(slot);
                    return;
                }
                format!("{function_type} asks for states again and again without naming a new one")
            }
        };
        self.fail(slot, &InvokeError::new(error));
    }

    fn apply(&mut self, slot: u32, effects: Effects, outboxes: &[Arc<str>]) {
        let activation = self.activations.get(slot);
        let (partition, sender) = (activation.partition, activation.address.clone());
        self.send_all(partition, &sender, effects.messages);
        for delayed in effects.delayed {
            match delayed {
                Delayed::Send { delay_ms, target, value, token } => {
                    let message = Message { target, caller: Some(sender.clone()), value };
                    self.send_delayed(partition, delay_ms, message, token);
                }
                Delayed::Cancel { token } => self.cancel(partition, &sender.id, &token),
            }
        }
        assert_eq!(effects.egress.len(), outboxes.len(), "each egress record has its queue");
        for (record, outbox) in effects.egress.into_iter().zip(outboxes) {
            self.send_egress(partition, outbox, &sender, record.value);
        }
        if !effects.state.is_empty() {
            self.write_state(slot, partition, effects.state);
        }
        if let Some(entries) = effects.entries {
            self.write_entries(slot, partition, *entries);
        }
        self.stats.messages_finished += self.activations.get(slot).batch.len() as u64;
        self.use_up(slot, partition);
        self.activations.get(slot).phase = Phase::Idle;
        self.schedule(slot);
    }

    fn write_state(&mut self, slot: u32, partition: Partition, mutations: StateMutations) {
        let time_ms = self.time_ms(partition);
        let activation = self.activations.get(slot);
        let specs = &self.types.get(activation.address.function_type).specs;
        let (mut added, mut removed) = (0, 0);
        for mutation in mutations {
            let index = usize::from(mutation.spec);
            let cell = &mut activation.cells[index];
            removed += cell.value.len();
            added += mutation.value.as_ref().map_or(0, bytes::Bytes::len);
            cell.expires_at_ms = match (specs[index].value_expiration(), &mutation.value) {
                (Expiration::Never, _) | (_, None) => 0,
                (Expiration::AfterWrite(ttl) | Expiration::AfterInvoke(ttl), Some(_)) => {
                    time_ms.saturating_add(ttl)
                }
            };
            cell.value = mutation.value.into();
            cell.is_dirty = true;
        }
        self.activations.reweigh(slot, added, removed);
        self.mark_dirty(slot);
        self.scope(partition).open.dirty_bytes += added;
    }

    /// The batch is finished, by the same commit that holds its effects or says that it is given up.
    pub(crate) fn use_up(&mut self, slot: u32, partition: Partition) {
        let activation = self.activations.get(slot);
        activation.handshake_rounds = 0;
        activation.single = activation.single.saturating_sub(activation.batch.len());
        if activation.failures > 0 {
            activation.failures = 0;
            self.stats.blocked -= 1;
        }
        let mut batch = std::mem::take(&mut activation.batch);
        let is_persisted = batch.iter().any(|entry| entry.is_persisted);
        if is_persisted && !breaks(Breakage::SleepBeforeUsedUp) {
            // Asleep before that can be read, it could be woken by its finished messages.
            let commit = self.scope(partition).number;
            self.activations.get(slot).last_write = commit;
        }
        let mut weight = 0;
        for entry in &batch {
            weight += entry.message.weight();
            if let Some(number) = entry.question {
                self.settle_question(number);
            }
            if entry.is_persisted && !breaks(Breakage::KeepPending) {
                keys::pending(&mut self.key, partition, &entry.message.target, entry.arrival);
                self.delete(partition);
            }
        }
        self.leave_mailbox(partition, batch.len() as u64, weight as u64);
        batch.clear();
        self.activations.get(slot).batch = batch;
        self.activations.reweigh(slot, 0, weight);
    }

    fn send_all(
        &mut self,
        partition: Partition,
        sender: &Address,
        messages: Vec<(Address, TypedValue)>,
    ) {
        self.stats.messages_sent += messages.len() as u64;
        if messages.len() < LOOKED_UP_TOGETHER / 4 {
            for (target, value) in messages {
                self.send(partition, Message { target, caller: Some(sender.clone()), value });
            }
            return;
        }
        let mut messages = messages.into_iter();
        let mut targets = SmallVec::<[Target; LOOKED_UP_TOGETHER]>::new();
        while messages.len() > 0 {
            let next = messages.as_slice().iter().take(LOOKED_UP_TOGETHER);
            self.look_up_all(partition, next.map(|(target, _)| target), &mut targets);
            for (at, (target, value)) in targets.drain(..).zip(messages.by_ref()) {
                let message = Message { target, caller: Some(sender.clone()), value };
                self.send_to(at, partition, message);
            }
        }
    }

    /// Looks up some addresses that an instance of `sender` sends to, step by step for all of them: one look
    /// waits for memory that the next one depends on.
    fn look_up_all<'a>(
        &self,
        sender: Partition,
        addresses: impl Iterator<Item = &'a Address> + Clone,
        targets: &mut SmallVec<[Target; LOOKED_UP_TOGETHER]>,
    ) {
        targets.extend(addresses.clone().map(|address| self.place(address)));
        for (target, address) in targets.iter_mut().zip(addresses.clone()) {
            // Nobody of another shard is awake here.
            if self.parts[usize::from(target.partition.0)].is_some() {
                target.found = self.activations.guess(target.hash, address);
            } else {
                self.fetch_channel(sender, target.partition);
            }
        }
        targets.iter().filter_map(|target| target.found).for_each(|it| self.activations.fetch(it));
        for (target, address) in targets.iter_mut().zip(addresses) {
            let (guess, hash) = (target.found, target.hash);
            target.found = self.activations.find_guessed(guess, hash, address);
        }
    }

    pub(crate) fn look_up(&self, address: &Address) -> Target {
        let at = self.place(address);
        Target { found: self.activations.find(at.hash, address), ..at }
    }

    fn place(&self, address: &Address) -> Target {
        let hash = placement_hash(address);
        Target { hash, partition: partition_of_hash(hash, self.config.partitions), found: None }
    }

    /// A message from an instance of `partition`: within the scope at once, elsewhere by its channel.
    pub(crate) fn send(&mut self, partition: Partition, message: Message) {
        self.send_to(self.place(&message.target), partition, message);
    }

    fn send_to(&mut self, at: Target, partition: Partition, message: Message) {
        if is_reply_address(&message.target) {
            self.stats.replies += 1;
            let reply = Action::Reply { id: message.target.id, value: message.value };
            if breaks(Breakage::SkipEmptyCommit) && self.scope(partition).open.ops.is_empty() {
                self.actions.push(reply);
                return;
            }
            self.scope(partition).release_when_durable(reply);
            return;
        }
        let receiver = at.partition;
        if self.shares_scope(partition, receiver) && self.part(partition).is_drained(receiver) {
            // One that slept may have been woken by a message before this one.
            let found = at.found.or_else(|| self.activations.find(at.hash, &message.target));
            self.enqueue_at(Target { found, ..at }, Arc::new(message), None);
        } else {
            self.send_numbered(partition, receiver, &Arc::new(message));
        }
    }

    fn shares_scope(&self, a: Partition, b: Partition) -> bool {
        let is_owned = self.parts[usize::from(b.0)].is_some();
        is_owned && self.scope_index(a) == self.scope_index(b)
    }
}

/// Whether messages to this address go back to a waiting HTTP request.
pub(crate) fn is_reply_address(address: &Address) -> bool {
    let function_type = address.function_type;
    function_type.name() == REPLY_NAME && function_type.namespace() == HTTP_NAMESPACE
}
