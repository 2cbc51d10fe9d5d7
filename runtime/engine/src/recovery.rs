//! A partition as a crash left it: marks and heads are read when it is opened; then its outboxes are
//! offered again, its unconfirmed egress records handed over, its near timers read, and the addresses
//! with pending messages found and woken, a bounded number at a time.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::partition::placement_hash;
use dormouse_protocol::{Address, FunctionType, Partition};

use crate::action::{Action, ScanFor, ScanRange};
use crate::activation::Phase;
use crate::channel::{Frame, FrameBody, InMark, OutChannel};
use crate::codec::DecodeError;
use crate::commit::{Fence, Opened};
use crate::keys::{self, Key};
use crate::partition_state::{DUE_END, EgressQueue, PartitionState, Recovery};
use crate::record::get_numbers;
use crate::shard::Shard;

/// The egress queues of a stored partition that have records which nobody has confirmed, with how many
/// there are at most.
pub fn unconfirmed_egress(opened: &Opened) -> Result<Vec<(String, u64)>, DecodeError> {
    let mut queues = Vec::new();
    for (key, value) in &opened.rows {
        if let Key::EgressHead { outbox } = keys::parse(key)?.1 {
            let [next, first] = get_numbers(value)?;
            if first < next {
                queues.push((outbox.to_owned(), next - first));
            }
        }
    }
    Ok(queues)
}

impl PartitionState {
    pub(crate) fn is_recovered(&self) -> bool {
        matches!(self.recovery, Recovery::Done)
    }
}

impl Shard {
    pub(crate) fn open(
        &mut self,
        partition: Partition,
        fence: Fence,
        opened: &Opened,
    ) -> Result<(), DecodeError> {
        assert!(partition.0 < self.config.partitions);
        let mut part = PartitionState::new(fence, self.config.partitions);
        match opened.meta {
            None => {
                part.recovery = Recovery::Done;
                part.timers.loaded_upto = DUE_END;
            }
            Some(meta) => {
                assert_eq!(meta.partition, partition);
                (part.seq, part.time_ms, part.arrival) = (meta.seq, meta.time_ms, meta.arrival);
                part.opened_arrival = meta.arrival;
            }
        }
        for (key, value) in &opened.rows {
            match keys::parse(key)?.1 {
                Key::Mark { sender } => {
                    let [epoch, taken] = get_numbers(value)?;
                    let mark = InMark { epoch, taken, is_touched: false };
                    *slot(&mut part.marks, sender)? = Some(mark);
                }
                Key::OutboxHead { receiver } => {
                    let [epoch, next, trimmed] = get_numbers(value)?;
                    let channel = OutChannel::stored(epoch, next, trimmed);
                    *slot(&mut part.channels, receiver)? = Some(Box::new(channel));
                }
                Key::EgressHead { outbox } => {
                    let [next, first] = get_numbers(value)?;
                    part.egress.insert(Arc::from(outbox), EgressQueue::new(next, first - 1));
                }
                Key::Fired => {
                    let [due_ms, arrival] = get_numbers(value)?;
                    part.timers.fired = (due_ms, arrival);
                    part.timers.loaded_upto = (due_ms, arrival);
                }
                Key::Source { .. } => {}
                _ => {
                    return Err(DecodeError { expected: "a row of the meta space" });
                }
            }
        }
        self.parts[usize::from(partition.0)] = Some(Box::new(part));
        Ok(())
    }

    /// All partitions are open: what a crash left goes on.
    pub(crate) fn start_all(&mut self) {
        for index in 0..self.parts.len() {
            let Some(part) = &self.parts[index] else {
                continue;
            };
            let partition = Partition(index as u16);
            let channels = part.channels.iter().enumerate();
            let receivers: Vec<_> = channels
                .filter(|(_, channel)| channel.as_ref().is_some_and(|channel| !channel.is_open))
                .map(|(receiver, _)| Partition(receiver as u16))
                .collect();
            let outboxes: Vec<_> = part.egress.keys().cloned().collect();
            for receiver in receivers {
                let frame = Frame { from: partition, to: receiver, body: FrameBody::Ask };
                self.actions.push(Action::Frame(frame));
            }
            for outbox in outboxes {
                self.load_egress(partition, &outbox);
            }
            self.load_timers(partition);
            self.scan_pending(partition);
        }
    }

    /// Looks for the next addresses with pending messages, while few are being recovered.
    fn scan_pending(&mut self, partition: Partition) {
        let limits = &self.config.limits;
        let (rows_max, bytes_max) = (limits.scan_rows_max, limits.scan_bytes_max);
        if self.recovering >= limits.recovering_max {
            return;
        }
        let Recovery::Scanning { cursor, is_loading } = &mut self.part(partition).recovery else {
            return;
        };
        if std::mem::replace(is_loading, true) {
            return;
        }
        let prefix = keys::space_prefix(keys::SPACE_PENDING, partition);
        let from = if cursor.is_empty() { prefix.clone() } else { cursor.clone() };
        let to = keys::prefix_end(&prefix).expect("keys begin with a space below 0xff");
        let range = ScanRange { from, to, rows_max, bytes_max };
        self.actions.push(Action::Scan { purpose: ScanFor::Recovery { partition }, range });
    }

    pub(crate) fn recovery_scanned(
        &mut self,
        partition: Partition,
        rows: &[(Bytes, Bytes)],
        more: bool,
    ) -> Result<(), DecodeError> {
        let mut last: Option<Address> = None;
        let mut found = Vec::new();
        for (key, _) in rows {
            let (_, Key::Pending { id, function_type, .. }) = keys::parse(key)? else {
                return Err(DecodeError { expected: "the key of a pending message" });
            };
            let function_type = FunctionType::parse(function_type)
                .map_err(|_| DecodeError { expected: "a function type" })?;
            let address = Address::new(function_type, id);
            if last.as_ref() != Some(&address) {
                found.push(address.clone());
                last = Some(address);
            }
        }
        // Everything before the cursor is found by now. The last address is passed as a whole: it reads
        // its own messages.
        for address in &found {
            self.recover(partition, address);
        }
        self.part(partition).recovery = match last {
            Some(address) if more => {
                keys::pending_prefix(&mut self.key, partition, &address);
                let cursor = keys::prefix_end(&self.key).expect("keys begin below 0xff");
                Recovery::Scanning { cursor, is_loading: false }
            }
            _ => Recovery::Done,
        };
        self.scan_pending(partition);
        Ok(())
    }

    /// Wakes an address that has pending messages.
    fn recover(&mut self, partition: Partition, address: &Address) {
        let hash = placement_hash(address);
        let Some(slot) = self.wake(partition, hash, address) else {
            self.stats.unserved += 1;
            return;
        };
        let activation = self.activations.get(slot);
        if activation.phase == Phase::Idle && activation.spill.is_spilled {
            activation.flags.is_recovering = true;
            self.recovering += 1;
            self.schedule(slot);
        }
    }

    /// The address has caught up, or is blocked: recovery may wake another.
    pub(crate) fn recovered(&mut self, slot: u32) {
        let activation = self.activations.get(slot);
        if !std::mem::take(&mut activation.flags.is_recovering) {
            return;
        }
        self.recovering -= 1;
        if self.recovering + 1 == self.config.limits.recovering_max {
            for index in 0..self.parts.len() {
                if self.parts[index].is_some() {
                    self.scan_pending(Partition(index as u16));
                }
            }
        }
    }
}

fn slot<T>(all: &mut [T], partition: Partition) -> Result<&mut T, DecodeError> {
    all.get_mut(usize::from(partition.0)).ok_or(DecodeError { expected: "a known partition" })
}
