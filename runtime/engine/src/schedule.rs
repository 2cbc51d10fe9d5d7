//! From a message that waits to an invocation: mail and state are read if need be, a place among the
//! invocations in flight is taken, and the batch goes out with the state as it is now.

use bytes::Bytes;
use dormouse_protocol::{Batch, Expiration, FunctionType, Invocation, InvokeError, StateValues};

use crate::action::{Action, GetFor, ScanFor, ScanRange};
use crate::activation::Phase;
use crate::breakage::{Breakage, breaks};
use crate::cell::{Cell, CellValue};
use crate::codec::{DecodeError, Reader};
use crate::event::InvocationId;
use crate::keys::{self, Key};
use crate::mailbox::{Entry, Mailbox};
use crate::record::{get_message, get_state};
use crate::scope::Awaiting;
use crate::shard::Shard;

/// Least of its spilled messages that an address reads back at once, however many others do, in bytes.
pub(crate) const MAIL_SHARE_BYTES_MIN: usize = 8 << 10;

/// How long handshakes that do not answer hold up the other addresses of their type.
const HANDSHAKE_GATE_MS: u64 = 1_000;

impl Shard {
    /// Finds something to do for an idle activation.
    pub(crate) fn schedule(&mut self, slot: u32) {
        let activation = self.activations.get(slot);
        debug_assert_eq!(activation.phase, Phase::Idle);
        if activation.mailbox.is_empty() && activation.batch.is_empty() {
            if activation.spill.is_spilled {
                self.load_mail(slot);
            } else {
                self.recovered(slot);
            }
            return;
        }
        let function_type = activation.address.function_type;
        if self.has_place(function_type) {
            self.start(slot);
            return;
        }
        let activation = self.activations.get(slot);
        activation.phase = Phase::Queued;
        let id = InvocationId { slot, generation: activation.generation };
        let known = self.types.get(function_type);
        known.ready.push_back(id);
        if known.ready.len() == 1 {
            self.ready.push_back(function_type);
        }
    }

    /// Goes on with an activation that has messages and a place.
    fn start(&mut self, slot: u32) {
        let activation = self.activations.get(slot);
        let function_type = activation.address.function_type;
        let id = InvocationId { slot, generation: activation.generation };
        if activation.failures == 0 {
            activation.tried_ms = self.now_ms;
        }
        let known = self.types.get(function_type);
        if activation.cells.len() < known.specs.len() {
            self.load_state(slot);
            return;
        }
        if !known.is_known {
            if known.handshakes >= known.handshakes_max(self.config.limits.handshakes_max) {
                activation.phase = Phase::Queued;
                known.waiting.push_back(id);
                return;
            }
            if !std::mem::replace(&mut known.has_gate, true) {
                let gate = (self.now_ms + HANDSHAKE_GATE_MS, function_type);
                self.handshake_gates.push_back(gate);
            }
            known.handshakes += 1;
            activation.flags.is_handshake = true;
        }
        self.invoke(slot);
    }

    fn load_state(&mut self, slot: u32) {
        let activation = self.activations.get(slot);
        activation.phase = Phase::LoadingState;
        let first = activation.cells.len();
        let (partition, address) = (activation.partition, activation.address.clone());
        let specs = self.types.get(address.function_type).specs.clone();
        keys::state_prefix(&mut self.key, partition, &address);
        let keys = specs[first..]
            .iter()
            .map(|spec| [self.key.as_slice(), spec.name.as_bytes()].concat())
            .collect();
        let id = self.activations.next_id(slot);
        self.actions.push(Action::Get { purpose: GetFor::State { id, first }, keys });
    }

    pub(crate) fn state_loaded(
        &mut self,
        id: InvocationId,
        first: usize,
        values: &[Option<Bytes>],
    ) -> Result<(), DecodeError> {
        let Some(activation) = self.activations.current(id) else {
            return Ok(());
        };
        assert_eq!(activation.phase, Phase::LoadingState);
        assert_eq!(activation.cells.len(), first);
        activation.phase = Phase::Idle;
        let specs = self.types.get(activation.address.function_type).specs.clone();
        let mut weight = 0;
        let mut mismatch = None;
        for (value, spec) in values.iter().zip(&specs[first..]) {
            let mut cell = Cell::default();
            if let Some(bytes) = value {
                let stored = get_state(bytes)?;
                if stored.typename != spec.typename {
                    mismatch = Some(format!(
                        "state [{}] of {}: Previous type was: {}, new type is: {}",
                        spec.name, activation.address, stored.typename, spec.typename
                    ));
                }
                cell.expires_at_ms = stored.expires_at_ms;
                cell.value = CellValue::part_of(bytes, stored.value);
                weight += stored.value.len();
            }
            weight += size_of::<Cell>();
            activation.cells.push(cell);
        }
        if let Some(message) = mismatch {
            activation.cells.truncate(first);
            let error = InvokeError::new(message);
            activation.phase = Phase::Running;
            let function_type = activation.address.function_type;
            self.take_place(function_type);
            self.done(id, Err(error));
            return Ok(());
        }
        self.activations.reweigh(id.slot, weight, 0);
        self.schedule(id.slot);
        Ok(())
    }

    /// Reads spilled messages back, as soon as the commits that hold them are readable.
    fn load_mail(&mut self, slot: u32) {
        let activation = self.activations.get(slot);
        let partition = activation.partition;
        let index = self.scope_index(partition);
        let activation = self.activations.get(slot);
        let scope = &mut self.scopes[index];
        if activation.spill.commit > scope.visible {
            activation.phase = Phase::AwaitingMail;
            let id = InvocationId { slot, generation: activation.generation };
            scope.awaiting.push_back((activation.spill.commit, Awaiting::Mail(id)));
            return;
        }
        self.read_mail(slot);
    }

    fn read_mail(&mut self, slot: u32) {
        let partition = self.activations.get(slot).partition;
        let visible = self.scope(partition).visible;
        let arrived = self.part(partition).arrival;
        let activation = self.activations.get(slot);
        activation.phase = Phase::LoadingMail;
        // What was left to the store in the meantime may not be readable: then this is not all.
        let is_all = activation.spill.commit <= visible;
        activation.spill.asked = if is_all { Some(activation.spill.last) } else { None };
        let loaded = activation.spill.loaded;
        keys::pending_prefix(&mut self.key, partition, &activation.address);
        let prefix = self.key.clone();
        // What comes later may wait in the mailbox: it must not be read as well.
        let to = [prefix.as_slice(), &(arrived + 1).to_be_bytes()].concat();
        let mut from = prefix;
        from.extend_from_slice(&(loaded + 1).to_be_bytes());
        let id = self.activations.next_id(slot);
        // Many addresses may read at once, as when an endpoint comes back: each takes its share.
        let limits = &self.config.limits;
        let share = (limits.mailboxes_bytes_max / (self.in_flight + 1)).max(MAIL_SHARE_BYTES_MIN);
        let range = ScanRange {
            from,
            to,
            rows_max: limits.mailbox_len_max,
            bytes_max: limits.mailbox_bytes_max.min(share),
        };
        self.actions.push(Action::Scan { purpose: ScanFor::Mail { id }, range });
    }

    pub(crate) fn mail_loaded(
        &mut self,
        id: InvocationId,
        rows: &[(Bytes, Bytes)],
        more: bool,
    ) -> Result<(), DecodeError> {
        let Some(activation) = self.activations.current(id) else {
            return Ok(());
        };
        assert_eq!(activation.phase, Phase::LoadingMail);
        activation.phase = Phase::Idle;
        let mut newer = std::mem::take(&mut activation.mailbox);
        let mut weight = 0;
        for (key, value) in rows {
            let (_, Key::Pending { arrival, .. }) = keys::parse(key)? else {
                return Err(DecodeError { expected: "the key of a pending message" });
            };
            assert!(
                arrival > activation.spill.loaded,
                "partition {}: message {arrival} of {} is read after {}",
                activation.partition,
                activation.address,
                activation.spill.loaded
            );
            activation.spill.loaded = arrival;
            let message = get_message(&mut Reader::new(value), Some(&activation.address))?;
            weight += message.weight();
            let message = message.into();
            let entry = Entry { arrival, is_persisted: true, question: None, message };
            activation.mailbox.push(entry);
        }
        self.stats.mailbox_messages += rows.len() as u64;
        self.stats.mailbox_bytes += weight as u64;
        let stats = &mut self.stats;
        stats.spilled_messages = stats.spilled_messages.saturating_sub(rows.len() as u64);
        stats.spilled_bytes = stats.spilled_bytes.saturating_sub(weight as u64);
        if !more && activation.spill.asked.is_some() {
            activation.spill.is_spilled = activation.spill.asked != Some(activation.spill.last);
            while let Some(entry) = newer.pop() {
                activation.spill.loaded = entry.arrival;
                activation.mailbox.push(entry);
            }
            self.activations.reweigh(id.slot, weight, 0);
        } else {
            self.activations.reweigh(id.slot, weight, 0);
            self.give_back(id.slot, &newer);
        }
        self.schedule(id.slot);
        Ok(())
    }

    /// There is more in the store than was read: what came since goes there too, behind it.
    fn give_back(&mut self, slot: u32, newer: &Mailbox) {
        let partition = self.activations.get(slot).partition;
        let number = self.scope(partition).number;
        let mut weight = 0;
        for entry in newer.iter() {
            weight += entry.message.weight();
            if let Some(number) = entry.question {
                self.settle_question(number);
            }
            let spill = &mut self.activations.get(slot).spill;
            spill.last = spill.last.max(entry.arrival);
            let commit = if entry.is_persisted { number - 1 } else { number };
            spill.commit = spill.commit.max(commit);
            if !entry.is_persisted {
                self.put_pending(partition, &entry.message.target, entry.arrival, &entry.message);
            }
        }
        self.leave_mailbox(partition, newer.len() as u64, weight as u64);
        self.stats.spilled_messages += newer.len() as u64;
        self.stats.spilled_bytes += weight as u64;
        self.activations.reweigh(slot, 0, weight);
    }

    /// Sends the next batch; or the same one again, when only its state was incomplete.
    fn invoke(&mut self, slot: u32) {
        self.fill_batch(slot);
        let activation = self.activations.get(slot);
        let (partition, first) = (activation.partition, activation.batch[0].arrival);
        if activation.flags.is_recovering && first > self.part(partition).opened_arrival {
            // What the crash left of it is done: new messages may go on for ever.
            self.recovered(slot);
        }
        let time_ms = self.time_ms(partition);
        let id = self.activations.next_id(slot);
        let activation = self.activations.get(slot);
        let specs = self.types.get(activation.address.function_type).specs.clone();
        let (mut is_dirty, mut expired) = (false, 0);
        let mut state = StateValues::with_capacity(activation.cells.len());
        for (cell, spec) in activation.cells.iter_mut().zip(specs.iter()) {
            if cell.value.is_some() && cell.expires_at_ms != 0 && cell.expires_at_ms <= time_ms {
                // The function sees that it is gone, so it must stay gone, whatever clock comes next.
                expired += cell.value.len();
                let is_noted = !breaks(Breakage::ReviveExpired);
                *cell = Cell { is_dirty: is_noted, ..Cell::default() };
                is_dirty |= is_noted;
            }
            let expiration = spec.value_expiration();
            if let (Expiration::AfterInvoke(ttl_ms), true) = (expiration, cell.value.is_some()) {
                cell.expires_at_ms = time_ms.saturating_add(ttl_ms);
                cell.is_dirty = true;
                is_dirty = true;
            }
            state.push(cell.value.to_bytes());
        }
        activation.phase = Phase::Running;
        let mut messages = Batch::with_capacity(activation.batch.len());
        activation.batch.iter().for_each(|entry| messages.push(entry.message.clone()));
        let target = activation.address.clone();
        self.activations.reweigh(slot, 0, expired);
        if is_dirty {
            self.mark_dirty(slot);
        }
        self.take_place(target.function_type);
        self.stats.invocations += 1;
        let invocation = Invocation { target, specs, state, messages, entries: None };
        let invocation = Box::new(invocation);
        self.actions.push(Action::Invoke { id, invocation });
    }

    fn fill_batch(&mut self, slot: u32) {
        let limits = &self.config.limits;
        let activation = self.activations.get(slot);
        if !activation.batch.is_empty() {
            return;
        }
        let len_max = if activation.single > 0 && !breaks(Breakage::RetryTogether) {
            1
        } else {
            limits.batch_len_max
        };
        let mut bytes = 0;
        while activation.batch.len() < len_max {
            let Some(next) = activation.mailbox.front() else {
                break;
            };
            bytes += next.message.weight();
            if bytes > limits.batch_bytes_max && !activation.batch.is_empty() {
                break;
            }
            let entry = activation.mailbox.pop();
            activation.batch.extend(entry);
        }
        assert!(!activation.batch.is_empty(), "an invocation has at least one message");
    }

    /// Lists the activation among those whose state the open commit writes.
    pub(crate) fn mark_dirty(&mut self, slot: u32) {
        let activation = self.activations.get(slot);
        if !activation.flags.is_dirty {
            activation.flags.is_dirty = true;
            let partition = activation.partition;
            self.scope(partition).open.dirty.push(slot);
        }
    }

    /// A type may take as many places as are free: one that hangs takes half of them, the next half of what
    /// it left, so that there is always one for others.
    fn has_place(&mut self, function_type: FunctionType) -> bool {
        let taken = self.types.get(function_type).in_flight;
        self.in_flight + taken < self.config.limits.in_flight_max
    }

    pub(crate) fn take_place(&mut self, function_type: FunctionType) {
        self.in_flight += 1;
        self.types.get(function_type).in_flight += 1;
    }

    pub(crate) fn leave_place(&mut self, function_type: FunctionType) {
        self.in_flight -= 1;
        self.types.get(function_type).in_flight -= 1;
    }

    /// Starts activations that waited for a place, of one type after the other.
    pub(crate) fn start_ready(&mut self) {
        let mut refused = 0;
        while refused < self.ready.len() {
            let Some(function_type) = self.ready.pop_front() else {
                return;
            };
            let mut next = None;
            if self.has_place(function_type) {
                next = self.types.get(function_type).ready.pop_front();
                refused = 0;
            } else {
                refused += 1;
            }
            if !self.types.get(function_type).ready.is_empty() {
                self.ready.push_back(function_type);
            }
            if let Some(id) = next {
                self.resume(id);
            }
        }
    }

    /// Lets an activation that waited in a queue go on.
    pub(crate) fn resume(&mut self, id: InvocationId) {
        let Some(activation) = self.activations.current(id) else {
            return;
        };
        match activation.phase {
            Phase::Queued => {
                activation.phase = Phase::Idle;
                self.schedule(id.slot);
            }
            Phase::AwaitingMail => self.read_mail(id.slot),
            _ => {}
        }
    }

    /// Handshakes that take long no longer hold up the other addresses of their type: twice as many may
    /// ask as well.
    pub(crate) fn open_handshake_gates(&mut self) {
        while let Some((at_ms, function_type)) = self.handshake_gates.front().copied() {
            if at_ms > self.now_ms {
                return;
            }
            self.handshake_gates.pop_front();
            let known = self.types.get(function_type);
            known.has_gate = false;
            if !known.is_known && known.handshakes > 0 {
                known.handshakes = 0;
                known.gates_opened += 1;
                let count = known.handshakes_max(self.config.limits.handshakes_max);
                self.resume_waiting(function_type, count);
            }
        }
    }

    pub(crate) fn resume_waiting(&mut self, function_type: FunctionType, count: usize) {
        for _ in 0..count {
            let Some(id) = self.types.get(function_type).waiting.pop_front() else {
                return;
            };
            self.resume(id);
        }
    }
}
