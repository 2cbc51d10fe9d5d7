//! Reads for the engine: the keys that a turn asks for in one batch, answered at once where the store can,
//! else by a task. What they bring is bounded: states of waking instances wait while those that are awake
//! fill the memory that they have, and no more is read at a time than there is room for.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use dormouse_engine::{Event, GetFor, ScanFor, ScanRange};
use dormouse_store::{ReadFuture, Rows, StoreError};

use crate::driver::Driver;
use crate::driver::inbox::Local;

/// A batch may bring at least one in so many of the bytes that all may: so many are under way at a time.
const BATCHES: usize = 8;

/// Keys of a batch, about: whoever has its answer goes on while the rest is read.
const KEYS_TOGETHER: usize = 64;

/// How fast an estimate falls, when values are shorter than it: by one in so many, with each value.
const FALLS_BY: usize = 16;

/// What the engine has asked for. Bounded by the instances that are awake.
#[derive(Debug)]
pub(crate) struct Reads {
    /// States of waking instances: they can wait.
    states: VecDeque<Wanted>,
    /// What running functions and delayed messages wait for.
    others: VecDeque<Wanted>,
    /// Bytes that the batches under way may bring, and that they may at most.
    reserved: usize,
    bytes_max: usize,
    /// Bytes of awake instances from which on states wait.
    awake_bytes_max: usize,
    /// What a value is expected to have, in bytes: as many as the longest of late.
    value_bytes: usize,
}

/// Keys of one question, and the values of the first of them.
#[derive(Debug)]
struct Wanted {
    purpose: GetFor,
    keys: Vec<Vec<u8>>,
    values: Vec<Option<Bytes>>,
}

/// What is read together.
#[derive(Debug)]
pub(crate) struct Batch {
    wanted: Vec<Wanted>,
    bytes: usize,
}

impl Wanted {
    fn left(&self) -> &[Vec<u8>] {
        &self.keys[self.values.len()..]
    }
}

impl Reads {
    pub(crate) fn new(bytes_max: usize, awake_bytes_max: usize) -> Self {
        let bytes_max = bytes_max.max(BATCHES);
        Self {
            states: VecDeque::new(),
            others: VecDeque::new(),
            reserved: 0,
            bytes_max,
            awake_bytes_max,
            // Nothing is known yet.
            value_bytes: bytes_max / BATCHES,
        }
    }

    /// Whether states wait for memory.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.states.is_empty()
    }

    pub(crate) fn add(&mut self, purpose: GetFor, keys: Vec<Vec<u8>>) {
        self.queue(&purpose).push_back(Wanted { purpose, keys, values: Vec::new() });
    }

    fn queue(&mut self, purpose: &GetFor) -> &mut VecDeque<Wanted> {
        match purpose {
            GetFor::State { .. } => &mut self.states,
            GetFor::Entry { .. } | GetFor::Tokens { .. } => &mut self.others,
        }
    }

    /// What is to be read now, as far as there is room. `awake` is what awake instances have, in bytes, and
    /// whether calls are under way, after which they may sleep.
    fn next(&mut self, (awake_bytes, has_calls): (usize, bool)) -> Option<Batch> {
        let room = self.bytes_max.saturating_sub(self.reserved);
        if room == 0 {
            return None;
        }
        // When nothing is under way that could make room, one goes on all the same.
        let is_full = awake_bytes >= self.awake_bytes_max;
        let may_wake = !is_full || (!has_calls && self.reserved == 0);
        let keys_max =
            if is_full { 1 } else { (room / self.value_bytes.max(1)).clamp(1, KEYS_TOGETHER) };
        let mut wanted = Vec::new();
        let mut keys = 0;
        while keys < keys_max {
            let mut state = || if may_wake { self.states.pop_front() } else { None };
            let Some(next) = self.others.pop_front().or_else(&mut state) else { break };
            keys += next.left().len();
            wanted.push(next);
        }
        let bytes = (keys * self.value_bytes).max(self.bytes_max / BATCHES).min(room);
        self.reserved += if wanted.is_empty() { 0 } else { bytes };
        (!wanted.is_empty()).then_some(Batch { wanted, bytes })
    }

    /// Values for the first keys of a batch have come: the questions that they answer.
    fn take(&mut self, batch: Batch, values: Vec<Option<Bytes>>) -> Vec<Wanted> {
        self.reserved -= batch.bytes;
        for value in &values {
            let length = value.as_ref().map_or(0, Bytes::len);
            let fallen = self.value_bytes - self.value_bytes / FALLS_BY;
            self.value_bytes = length.max(fallen);
        }
        let mut values = values.into_iter();
        let (mut answered, mut unanswered) = (Vec::new(), Vec::new());
        for mut wanted in batch.wanted {
            let left = wanted.left().len();
            wanted.values.extend(values.by_ref().take(left));
            let is_whole = wanted.left().is_empty();
            if is_whole { &mut answered } else { &mut unanswered }.push(wanted);
        }
        for wanted in unanswered.into_iter().rev() {
            self.queue(&wanted.purpose).push_front(wanted);
        }
        answered
    }
}

impl Driver {
    /// Starts the gets that have been collected, as far as there is room for what they bring.
    pub(crate) fn start_gets(&mut self) -> Result<(), String> {
        while self.reads.has_waiting() || !self.reads.others.is_empty() {
            let awake = (self.shard.memory_bytes(), self.shard.in_flight() > 0);
            let Some(batch) = self.reads.next(awake) else { break };
            let keys = batch.wanted.iter().flat_map(Wanted::left).cloned().collect();
            let mut reading = self.store.get(keys, batch.bytes);
            match poll_once(&mut reading) {
                Poll::Ready(values) => self.got(batch, values)?,
                Poll::Pending => {
                    self.pulse.store.reads.begin();
                    let lane = self.lane.clone();
                    tokio::task::spawn_local(async move {
                        let values = reading.await;
                        lane.push(Local::Got { batch, values });
                    });
                }
            }
        }
        Ok(())
    }

    pub(crate) fn start_scan(&mut self, purpose: ScanFor, range: ScanRange) -> Result<(), String> {
        let ScanRange { from, to, rows_max, bytes_max } = range;
        let mut reading = self.store.scan(from, to, rows_max, bytes_max);
        match poll_once(&mut reading) {
            Poll::Ready(result) => return self.scanned(purpose, result),
            Poll::Pending => {
                self.pulse.store.reads.begin();
                let lane = self.lane.clone();
                tokio::task::spawn_local(async move {
                    let result = reading.await;
                    lane.push(Local::Scanned { purpose, result });
                });
            }
        }
        Ok(())
    }

    pub(crate) fn got(
        &mut self,
        batch: Batch,
        values: Result<Vec<Option<Bytes>>, StoreError>,
    ) -> Result<(), String> {
        let values = values.map_err(|error| error.to_string())?;
        for Wanted { purpose, values, .. } in self.reads.take(batch, values) {
            self.shard.handle(Event::Got { purpose, values });
        }
        Ok(())
    }

    pub(crate) fn scanned(
        &mut self,
        purpose: ScanFor,
        result: Result<(Rows, bool), StoreError>,
    ) -> Result<(), String> {
        let (rows, more) = result.map_err(|error| error.to_string())?;
        self.shard.handle(Event::Scanned { purpose, rows, more });
        Ok(())
    }
}

fn poll_once<T>(reading: &mut ReadFuture<T>) -> Poll<Result<T, StoreError>> {
    Pin::new(reading).poll(&mut Context::from_waker(Waker::noop()))
}

#[cfg(test)]
mod tests {
    use dormouse_engine::InvocationId;

    use super::*;

    const IDLE: (usize, bool) = (0, false);

    fn reads() -> Reads {
        let mut reads = Reads::new(8_000, 50_000);
        for slot in 0..40 {
            let id = InvocationId { slot, generation: 1 };
            reads.add(GetFor::State { id, first: 0 }, vec![vec![1], vec![2]]);
        }
        reads
    }

    fn values(bytes: usize, count: usize) -> Vec<Option<Bytes>> {
        vec![Some(vec![7; bytes].into()); count]
    }

    #[test]
    fn what_is_under_way_is_bounded_by_what_values_have_had() {
        let mut reads = reads();
        let first = reads.next(IDLE).unwrap();
        assert_eq!((first.wanted.len(), first.bytes), (4, 8_000));
        assert!(reads.next(IDLE).is_none(), "all of the room is reserved");
        assert_eq!(reads.take(first, values(10, 8)).len(), 4);
        let short = reads.next(IDLE).unwrap();
        assert!(short.wanted.len() > 4, "they are shorter than was expected");
        reads.take(short, values(9_000, 2));
        let long = reads.next(IDLE).unwrap();
        assert_eq!((long.wanted.len(), long.bytes), (1, 8_000), "one at a time");
    }

    #[test]
    fn the_first_answers_come_while_the_rest_is_read() {
        let mut reads = Reads::new(1 << 20, 1 << 20);
        reads.value_bytes = 100;
        for slot in 0..3 * KEYS_TOGETHER as u32 {
            let id = InvocationId { slot, generation: 1 };
            reads.add(GetFor::State { id, first: 0 }, vec![vec![1]]);
        }
        for _ in 0..3 {
            assert_eq!(reads.next(IDLE).unwrap().wanted.len(), KEYS_TOGETHER);
        }
    }

    #[test]
    fn a_question_that_is_answered_in_part_goes_on_where_it_was() {
        let mut reads = reads();
        let first = reads.next(IDLE).unwrap();
        let answered = reads.take(first, values(1_000, 3));
        assert_eq!(answered.len(), 1);
        let rest = reads.next(IDLE).unwrap();
        assert_eq!(rest.wanted[0].left(), [vec![2]]);
        let answered = reads.take(rest, values(1_000, 1));
        assert_eq!((answered.len(), answered[0].values.len()), (1, 2));
    }

    #[test]
    fn states_wait_while_awake_instances_fill_their_memory() {
        let mut reads = reads();
        assert!(reads.next((50_000, true)).is_none());
        assert!(reads.has_waiting());
        let id = InvocationId { slot: 0, generation: 1 };
        reads.add(GetFor::Entry { id, spec: 0, key: Bytes::new() }, vec![vec![3]]);
        let others = reads.next((50_000, true)).unwrap();
        assert!(
            matches!(others.wanted[0].purpose, GetFor::Entry { .. }),
            "a function waits for it"
        );
        assert_eq!(others.wanted.len(), 1);
        assert!(reads.next((50_000, false)).is_none());
        reads.take(others, values(1, 1));
        let alone = reads.next((50_000, false)).unwrap();
        assert_eq!(alone.wanted.len(), 1, "nobody else could make room");
    }
}
