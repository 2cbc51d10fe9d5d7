//! The open commit becomes one atomic batch: unfinished inputs as pending, changed state, marks, heads,
//! and each touched partition's number and time.

use dormouse_protocol::Partition;

use crate::action::Action;
use crate::breakage::{Breakage, breaks};
use crate::channel::{Frame, FrameBody};
use crate::commit::{Commit, OpBuffer, PartMeta, Trim};
use crate::keys;
use crate::mailbox::Entry;
use crate::record::put_state_head;
use crate::scope::{Scoping, Sealed};
use crate::shard::Shard;

/// Activations that are looked at before the first of them is worked on.
const FETCHED_TOGETHER: usize = 16;

/// Memory of one commit's operations that is kept for the next one, in bytes.
const OPS_KEPT_BYTES: usize = 512 << 10;

impl Shard {
    /// Hands to the store what was collected since the last call, as far as it has free places.
    pub fn seal(&mut self) {
        for index in 0..self.scopes.len() {
            let scope = &self.scopes[index];
            let has_place = scope.in_flight.len() < self.config.limits.commits_in_flight_max;
            let is_due = !scope.open.is_empty() || scope.open.has_due_trims(self.now_ms);
            if has_place && is_due {
                self.seal_scope(index);
            }
        }
    }

    /// Takes back the memory of a commit that the store has taken: memory that goes to the system and comes
    /// back with each commit is cleared each time.
    pub fn reuse(&mut self, scope: u32, ops: OpBuffer) {
        let open = &mut self.scopes[scope as usize].open;
        if open.ops.is_empty() {
            open.ops = ops.emptied(OPS_KEPT_BYTES);
        }
    }

    fn seal_scope(&mut self, index: usize) {
        self.put_inputs(index);
        self.put_states(index);
        let confirms = self.put_marks(index);
        let sends = self.put_heads(index);
        if self.config.scoping == Scoping::Partition && !breaks(Breakage::UnfencedReply) {
            // Also for a commit that writes nothing: whether a reply may leave is for the store to say.
            self.touch(Partition(index as u16));
        }
        let parts = self.close_parts(index);
        let scope = &mut self.scopes[index];
        let open = std::mem::take(&mut scope.open);
        let number = scope.number;
        scope.number += 1;
        if let Some(last) = scope.in_flight.back() {
            let last = last.number;
            assert_eq!(last + 1, number, "scope {index}: commit {number} is sealed after {last}");
        }
        scope.in_flight.push_back(Sealed { number, sends, confirms, releases: open.releases });
        self.stats.commits += 1;
        self.stats.commit_ops += open.ops.len() as u64;
        self.stats.commit_bytes += open.ops.as_bytes().len() as u64;
        let commit = Commit { number, parts, ops: open.ops, trims: open.trims };
        self.actions.push(Action::Append { scope: index as u32, commit });
    }

    /// At the first of some activations, fetches all of these.
    fn fetch_next(&self, slots: &[u32], at: usize) {
        if at.is_multiple_of(FETCHED_TOGETHER) {
            let next = slots[at..].iter().take(FETCHED_TOGETHER);
            next.for_each(|slot| self.activations.fetch(*slot));
        }
    }

    /// Inputs that came since the last seal and are not finished are written, once in their lives.
    /// Questions have time.
    fn put_inputs(&mut self, index: usize) {
        let slots = std::mem::take(&mut self.scopes[index].open.inputs);
        for (at, slot) in slots.iter().copied().enumerate() {
            self.fetch_next(&slots, at);
            let activation = self.activations.get(slot);
            activation.flags.has_input = false;
            let partition = activation.partition;
            let unwritten = |entry: &&mut Entry| !entry.is_persisted && entry.question.is_none();
            let entries = activation.batch.iter_mut().chain(activation.mailbox.iter_mut());
            let unwritten: Vec<_> = entries
                .filter(unwritten)
                .map(|entry| {
                    entry.is_persisted = true;
                    (entry.arrival, entry.message.clone())
                })
                .collect();
            for (arrival, message) in unwritten {
                if breaks(Breakage::DropPending) {
                    continue;
                }
                self.put_pending(partition, &message.target, arrival, &message);
            }
        }
    }

    fn put_states(&mut self, index: usize) {
        let number = self.scopes[index].number;
        let slots = std::mem::take(&mut self.scopes[index].open.dirty);
        for (at, slot) in slots.iter().copied().enumerate() {
            self.fetch_next(&slots, at);
            let activation = self.activations.get(slot);
            activation.flags.is_dirty = false;
            activation.last_write = number;
            let partition = activation.partition;
            let specs = self.types.get(activation.address.function_type).specs.clone();
            keys::state_prefix(&mut self.key, partition, &activation.address);
            let prefix = self.key.len();
            let mut cells = std::mem::take(&mut activation.cells);
            for (cell, spec) in cells.iter_mut().zip(specs.iter()) {
                if !std::mem::take(&mut cell.is_dirty) {
                    continue;
                }
                self.key.truncate(prefix);
                self.key.extend_from_slice(spec.name.as_bytes());
                match cell.value.as_slice() {
                    None => self.delete(partition),
                    Some(value) => {
                        self.value.clear();
                        put_state_head(&mut self.value, cell.expires_at_ms, &spec.typename);
                        self.touch(partition);
                        // Straight from the cell: a long one is not copied twice.
                        self.scopes[index].open.ops.put_joined(&self.key, &self.value, value);
                    }
                }
            }
            self.activations.get(slot).cells = cells;
        }
    }

    fn put_marks(&mut self, index: usize) -> Vec<Frame> {
        let marks = std::mem::take(&mut self.scopes[index].open.marks);
        let mut confirms = Vec::with_capacity(marks.len());
        for (receiver, sender) in marks {
            let mark = &mut self.part(receiver).marks[usize::from(sender.0)];
            let mark = mark.as_mut().expect("a listed mark exists");
            mark.is_touched = false;
            let (epoch, taken) = (mark.epoch, mark.taken);
            keys::mark(&mut self.key, receiver, sender);
            if !breaks(Breakage::ForgetMark) {
                self.put_numbers(receiver, &[epoch, taken]);
            }
            let body = FrameBody::Confirm { epoch, taken };
            confirms.push(Frame { from: receiver, to: sender, body });
        }
        confirms
    }

    fn put_heads(&mut self, index: usize) -> Vec<(Partition, Partition, u64)> {
        for (partition, outbox) in std::mem::take(&mut self.scopes[index].open.egress) {
            let queue =
                self.part(partition).egress.get_mut(&outbox).expect("a listed queue exists");
            queue.is_touched = false;
            let before = std::mem::replace(&mut queue.sealed_next, queue.next);
            let head = [queue.next, queue.first_unconfirmed()];
            assert!(
                before <= head[0] && head[1] <= head[0],
                "partition {partition}: {outbox} is at number {}, was at {before}, and waits for {}",
                head[0],
                head[1]
            );
            keys::egress_head(&mut self.key, partition, &outbox);
            self.put_numbers(partition, &head);
        }
        for partition in std::mem::take(&mut self.scopes[index].open.cursors) {
            let (time_ms, gone_max) = (self.time_ms(partition), self.gone_max());
            let timers = &mut self.part(partition).timers;
            timers.is_touched = false;
            timers.move_cursor(time_ms, gone_max);
            let (due_ms, arrival) = timers.cursor;
            keys::fired(&mut self.key, partition);
            self.put_numbers(partition, &[due_ms, arrival]);
        }
        let mut listed = std::mem::take(&mut self.scopes[index].open.sends);
        self.list_trimmed(index, &mut listed);
        let mut sends = Vec::with_capacity(listed.len());
        for (sender, receiver) in listed {
            let channel = &mut self.part(sender).channels[usize::from(receiver.0)];
            let channel = channel.as_mut().expect("a listed channel exists");
            channel.is_touched = false;
            let before = std::mem::replace(&mut channel.sealed_next, channel.next);
            let head = [channel.epoch, channel.next, channel.trimmed];
            assert!(
                before <= channel.next && channel.trimmed < channel.next,
                "partition {sender}: its messages to {receiver} are at number {}, were at {before}, and \
                 {} is confirmed",
                channel.next,
                channel.trimmed
            );
            keys::outbox_head(&mut self.key, sender, receiver);
            self.put_numbers(sender, &head);
            sends.push((sender, receiver, head[1] - 1));
        }
        sends
    }

    /// Where confirmed entries are deleted, the head says up to which: the next owner may hear of an
    /// older mark, and must not look for them.
    fn list_trimmed(&mut self, index: usize, listed: &mut Vec<(Partition, Partition)>) {
        if self.config.is_prefix || breaks(Breakage::ForgetTrim) {
            return;
        }
        for at in 0..self.scopes[index].open.trims.len() {
            let Trim { from, to, .. } = self.scopes[index].open.trims[at];
            let channel = self.part(from).channels[usize::from(to.0)].as_mut();
            let channel = channel.expect("a trimmed channel exists");
            if !std::mem::replace(&mut channel.is_touched, true) {
                listed.push((from, to));
            }
        }
    }

    fn close_parts(&mut self, index: usize) -> Vec<PartMeta> {
        let partitions = std::mem::take(&mut self.scopes[index].open.parts);
        let mut parts = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let time_ms = self.time_ms(partition);
            let part = self.part(partition);
            part.is_touched = false;
            part.seq += 1;
            let (fence, seq, arrival) = (part.fence, part.seq, part.arrival);
            let before = std::mem::replace(&mut part.sealed, (time_ms, arrival));
            assert!(
                (before.0 <= time_ms || breaks(Breakage::ReviveExpired)) && before.1 <= arrival,
                "partition {partition}: commit {seq} is of time {time_ms} and arrival {arrival}, the one \
                 before of {} and {}",
                before.0,
                before.1
            );
            parts.push(PartMeta { partition, fence, seq, time_ms, arrival });
        }
        parts
    }
}
