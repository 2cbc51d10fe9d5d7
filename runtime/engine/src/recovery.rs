//! A partition as a crash left it: marks and heads are read when it is opened; then its outboxes are
//! offered again, its unconfirmed egress records handed over, its near timers read, and the addresses
//! with pending messages found and woken, a bounded number at a time. The same search wakes, when there
//! is room, addresses whose messages were put aside for want of memory.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::partition::placement_hash;
use dormouse_protocol::{Address, Partition};

use crate::action::{Action, ScanFor, ScanRange};
use crate::breakage::{Breakage, breaks};
use crate::channel::{InMark, OutChannel};
use crate::codec::DecodeError;
use crate::commit::{Fence, Opened};
use crate::dead::Dead;
use crate::keys::{self, Key};
use crate::partition_state::{DUE_END, EgressQueue, PartitionState, Round, SearchStep};
use crate::record::get_numbers;
use crate::schedule::MAIL_SHARE_BYTES_MIN;
use crate::scope::Awaiting;
use crate::shard::Shard;

/// Rows that a round of the search reads first; then more, as long as they are of many addresses.
const SEARCH_ROWS_FIRST: usize = 16;

/// Rows that are read for each address, at most, before fewer are read at once.
const SEARCH_ROWS_PER_ADDRESS: usize = 4;

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
                part.timers.loaded_upto = DUE_END;
            }
            Some(meta) => {
                assert_eq!(meta.partition, partition, "the store answers for another partition");
                (part.seq, part.time_ms, part.arrival) = (meta.seq, meta.time_ms, meta.arrival);
                part.opened_arrival = meta.arrival;
                part.sealed = (meta.time_ms, meta.arrival);
                let cursor = keys::space_prefix(keys::SPACE_PENDING, partition);
                let end = keys::prefix_end(&cursor).expect("keys begin with a space below 0xff");
                let round = Round { cursor, end, rows: SEARCH_ROWS_FIRST, is_first: true };
                part.recovery.round = Some(round);
                part.recovery.step = SearchStep::Opened;
                self.searching += 1;
            }
        }
        for (key, value) in &opened.rows {
            match keys::parse(key)?.1 {
                Key::Mark { sender } => {
                    let [epoch, taken] = get_numbers(value)?;
                    let mark = InMark { epoch, taken, confirmed: taken, is_touched: false };
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
                    part.timers.cursor = (due_ms, arrival);
                    part.timers.loaded_upto = (due_ms, arrival);
                }
                Key::DeadTally => {
                    let [count, bytes] = get_numbers(value)?;
                    part.dead = Dead { count, bytes, ..Dead::default() };
                    self.stats.dead_letters += count;
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
                self.ask(partition, receiver);
            }
            for outbox in outboxes {
                self.load_egress(partition, &outbox);
            }
            self.load_timers(partition);
            if !breaks(Breakage::ForgetCleared) {
                self.look_for_cleared(partition);
            }
            if self.part(partition).recovery.step == SearchStep::Opened {
                self.queue_search(partition);
            }
        }
        self.search_more();
    }

    /// Lets the search in a partition go on when there is room.
    pub(crate) fn queue_search(&mut self, partition: Partition) {
        self.part(partition).recovery.step = SearchStep::Queued;
        self.searches.push_back(partition);
    }

    /// How many addresses may be woken by the search: few are being recovered at once, and there is
    /// memory for them and for what they will read.
    fn places(&self) -> usize {
        let limits = &self.config.limits;
        let free = limits.memory_bytes_max.saturating_sub(self.activations.memory);
        if free > 0 && self.recovering == 0 {
            return (free / MAIL_SHARE_BYTES_MIN).clamp(1, limits.recovering_max);
        }
        limits.recovering_max.min(free / MAIL_SHARE_BYTES_MIN).saturating_sub(self.recovering)
    }

    /// Goes on searching while there is room for addresses that are found.
    pub(crate) fn search_more(&mut self) {
        while self.places() > 0 {
            let Some(partition) = self.searches.pop_front() else {
                return;
            };
            let commit = self.part(partition).recovery.commit;
            let is_readable = commit <= self.scope(partition).visible;
            if is_readable || self.part(partition).recovery.round.is_some() {
                self.search(partition);
            } else {
                self.part(partition).recovery.step = SearchStep::Awaiting;
                let awaiting = Awaiting::Recovery(partition);
                self.scope(partition).awaiting.push_back((commit, awaiting));
            }
        }
    }

    /// Looks for the next addresses with pending messages. A round goes on to its end, whatever is put
    /// aside meanwhile: so each address that waits is found within one more round.
    pub(crate) fn search(&mut self, partition: Partition) {
        let visible = self.scope(partition).visible;
        let limits = &self.config.limits;
        let rows_max = limits.scan_rows_max.min(self.places().max(1) * SEARCH_ROWS_PER_ADDRESS);
        let bytes_max = limits.scan_bytes_max;
        let recovery = &mut self.part(partition).recovery;
        recovery.step = SearchStep::Loading;
        if recovery.round.is_none() {
            let span = recovery.aside.clone().expect("there is something to look for");
            let end = keys::prefix_end(&span.high).expect("keys begin with a space below 0xff");
            let rows = SEARCH_ROWS_FIRST;
            recovery.round = Some(Round { cursor: span.low, end, rows, is_first: false });
            if recovery.commit <= visible {
                recovery.aside = None;
            }
        }
        let round = recovery.round.as_ref().expect("begun above");
        let (from, to) = (round.cursor.clone(), round.end.clone());
        let range = ScanRange { from, to, rows_max: rows_max.min(round.rows), bytes_max };
        self.actions.push(Action::Scan { purpose: ScanFor::Recovery { partition }, range });
    }

    pub(crate) fn recovery_scanned(
        &mut self,
        partition: Partition,
        rows: &[(Bytes, Bytes)],
        more: bool,
    ) -> Result<(), DecodeError> {
        let mut found: Vec<Address> = Vec::new();
        for (key, _) in rows {
            let (_, Key::Pending { id, function_type, .. }) = keys::parse(key)? else {
                return Err(DecodeError { expected: "the key of a pending message" });
            };
            let function_type = keys::function_type(function_type)
                .ok_or(DecodeError { expected: "a function type" })?;
            let is_other = |last: &Address| last.id != id || last.function_type != function_type;
            if found.last().is_none_or(is_other) {
                found.push(Address::new(function_type, id));
            }
        }
        let stopped = found.iter().position(|address| !self.recover(partition, address));
        // Everything before the cursor is found by now. The last address is passed as a whole: it reads
        // its own messages.
        let next = match (stopped, found.last()) {
            (Some(index), _) => {
                keys::pending_prefix(&mut self.key, partition, &found[index]);
                Some(self.key.clone())
            }
            (None, Some(last)) if more => {
                keys::pending_prefix(&mut self.key, partition, last);
                keys::prefix_end(&self.key)
            }
            _ => None,
        };
        let recovery = &mut self.part(partition).recovery;
        let round = recovery.round.as_mut().expect("a round is under way");
        // Of an address with many rows all but the first are read in vain: then fewer are read at once.
        round.rows = match found.len() {
            count if count * SEARCH_ROWS_PER_ADDRESS < rows.len() => count * 2,
            count if count * 2 >= rows.len() => rows.len() * 2,
            _ => rows.len(),
        };
        round.rows = round.rows.max(1);
        match next {
            Some(cursor) if cursor < round.end => round.cursor = cursor,
            _ => recovery.round = None,
        }
        if recovery.round.is_some() || recovery.aside.is_some() {
            self.queue_search(partition);
        } else {
            recovery.step = SearchStep::Done;
            self.searching -= 1;
        }
        self.search_more();
        Ok(())
    }

    /// Wakes an address that has pending messages, unless there is no room for it.
    fn recover(&mut self, partition: Partition, address: &Address) -> bool {
        let hash = placement_hash(address);
        if self.activations.find(hash, address).is_some() {
            return true;
        }
        if !self.is_served(address) {
            let round = self.part(partition).recovery.round.as_ref();
            self.stats.unserved += u64::from(round.is_some_and(|round| round.is_first));
            return true;
        }
        if self.places() == 0 {
            return false;
        }
        let slot = self.wake(partition, hash, address);
        self.activations.get(slot).flags.is_recovering = true;
        self.recovering += 1;
        self.schedule(slot);
        true
    }

    /// The address has caught up, or is blocked: recovery may wake another.
    pub(crate) fn recovered(&mut self, slot: u32) {
        let activation = self.activations.get(slot);
        if !std::mem::take(&mut activation.flags.is_recovering) {
            return;
        }
        self.recovering -= 1;
        self.search_more();
    }
}

fn slot<T>(all: &mut [T], partition: Partition) -> Result<&mut T, DecodeError> {
    all.get_mut(usize::from(partition.0)).ok_or(DecodeError { expected: "a known partition" })
}
