//! Random work of one shard, with the same result for the same seed, and a plain map beside it that
//! says what a store has to answer: after any number of commits, also after a crash.

use std::collections::BTreeMap;

use bytes::Bytes;
use dormouse_engine::codec::put_varint;
use dormouse_engine::{Commit, Fence, PartMeta, Trim, keys};
use dormouse_protocol::Partition;

use crate::ShardStore;
use crate::conformance::{address, state_key, wait};

/// Random commits to some partitions, and what they amount to.
#[derive(Clone, Debug)]
pub struct Workload {
    random: u64,
    partitions: Vec<Parted>,
    /// What the store has to hold.
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    number: u64,
}

#[derive(Clone, Debug)]
struct Parted {
    meta: PartMeta,
    /// Keys in queues that are waiting for their delete.
    queued: Vec<Vec<u8>>,
    sent: u64,
    taken: u64,
    egress: u64,
}

impl Workload {
    /// Work on `partitions`, the same one for the same `seed`.
    #[must_use]
    pub fn new(seed: u64, partitions: &[u16]) -> Self {
        let parted = |number: &u16| Parted {
            meta: PartMeta {
                partition: Partition(*number),
                fence: Fence::default(),
                seq: 0,
                time_ms: 0,
                arrival: 0,
            },
            queued: Vec::new(),
            sent: 0,
            taken: 0,
            egress: 0,
        };
        Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            partitions: partitions.iter().map(parted).collect(),
            rows: BTreeMap::new(),
            number: 0,
        }
    }

    /// How many commits were made.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The commits made so far, as the partitions' sequence numbers say after a recovery.
    #[must_use]
    pub fn seqs(&self) -> Vec<u64> {
        let seqs = self.partitions.iter().map(|parted| parted.meta.seq);
        seqs.collect()
    }

    /// Makes the commits that follow others than they would have been.
    pub fn delay(&mut self) {
        self.below(2);
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % bound
    }

    /// The next commit; the map beside is as if the store had taken it.
    pub fn commit(&mut self) -> Commit {
        self.number += 1;
        let mut commit = Commit { number: self.number, ..Commit::default() };
        let at = self.below(self.partitions.len() as u64) as usize;
        for _ in 0..1 + self.below(8) {
            match self.below(9) {
                0..=2 => self.put_state(&mut commit, at),
                3 => self.delete_state(&mut commit, at),
                4 | 5 => self.enqueue(&mut commit, at),
                6 => self.dequeue(&mut commit, at),
                7 => self.send(&mut commit, at),
                _ => self.take(&mut commit, at),
            }
        }
        let meta = &mut self.partitions[at].meta;
        meta.seq += 1;
        meta.time_ms += 3;
        commit.parts.push(*meta);
        commit
    }

    fn put(&mut self, commit: &mut Commit, key: Vec<u8>, value: Vec<u8>) {
        commit.ops.put(&key, &value);
        self.rows.insert(key, value);
    }

    /// The key of a state, or of an entry of a table: those are scanned, and come back after a delete.
    fn state(&mut self, at: usize) -> Vec<u8> {
        let id = format!("id-{}", self.below(60));
        let partition = self.partitions[at].meta.partition;
        if self.below(3) > 0 {
            return state_key(partition.0, &id);
        }
        let mut key = Vec::new();
        keys::entry_prefix(&mut key, partition, &address("id"), "table");
        key.extend_from_slice(id.as_bytes());
        key
    }

    fn value(&mut self) -> Vec<u8> {
        let bytes = if self.below(50) == 0 { 20_000 } else { self.below(300) as usize };
        let mut value = self.number.to_be_bytes().to_vec();
        value.resize(8 + bytes, self.number as u8);
        value
    }

    fn put_state(&mut self, commit: &mut Commit, at: usize) {
        let (key, value) = (self.state(at), self.value());
        self.put(commit, key, value);
    }

    fn delete_state(&mut self, commit: &mut Commit, at: usize) {
        let key = self.state(at);
        commit.ops.delete(&key);
        self.rows.remove(&key);
    }

    /// A pending message, a timer with its token, or an egress record.
    fn enqueue(&mut self, commit: &mut Commit, at: usize) {
        let (kind, id, due) = (self.below(3), self.below(5), self.below(50));
        let value = self.value();
        let parted = &mut self.partitions[at];
        let partition = parted.meta.partition;
        parted.meta.arrival += 1;
        let arrival = parted.meta.arrival;
        let mut key = Vec::new();
        let mut token = Vec::new();
        match kind {
            0 => keys::pending(&mut key, partition, &address(&format!("id-{id}")), arrival),
            1 => {
                keys::due(&mut key, partition, arrival + due, arrival);
                keys::token(&mut token, partition, "id", &format!("token-{id}"));
            }
            _ => {
                parted.egress += 1;
                keys::egress(&mut key, partition, "results", parted.egress);
            }
        }
        parted.queued.push(key.clone());
        if !token.is_empty() {
            self.put(commit, token, key.clone());
        }
        self.put(commit, key, value);
    }

    fn dequeue(&mut self, commit: &mut Commit, at: usize) {
        let queued = self.partitions[at].queued.len() as u64;
        if queued > 0 {
            let chosen = self.below(queued) as usize;
            let key = self.partitions[at].queued.remove(chosen);
            commit.ops.delete(&key);
            self.rows.remove(&key);
        }
    }

    fn send(&mut self, commit: &mut Commit, at: usize) {
        let value = self.value();
        let parted = &mut self.partitions[at];
        parted.sent += 1;
        let mut key = Vec::new();
        let partition = parted.meta.partition;
        keys::outbox(&mut key, partition, partition, parted.sent);
        self.put(commit, key, value);
    }

    /// The receiver takes some of what was sent: its mark, and the trim that follows from it.
    fn take(&mut self, commit: &mut Commit, at: usize) {
        let waiting = self.partitions[at].sent - self.partitions[at].taken;
        let count = self.below(waiting + 1);
        let parted = &mut self.partitions[at];
        let partition = parted.meta.partition;
        parted.taken += count;
        let taken = parted.taken;
        let (mut first, mut last, mut mark) = (Vec::new(), Vec::new(), Vec::new());
        keys::outbox(&mut first, partition, partition, 0);
        keys::outbox(&mut last, partition, partition, taken);
        keys::mark(&mut mark, partition, partition);
        let gone: Vec<_> = self.rows.range(first..=last).map(|row| row.0.clone()).collect();
        for key in gone {
            self.rows.remove(&key);
        }
        let mut value = Vec::new();
        put_varint(&mut value, 0);
        put_varint(&mut value, taken);
        self.put(commit, mark, value);
        commit.trims.push(Trim { from: partition, to: partition, upto: taken });
    }

    /// Checks everything that the store has.
    pub fn check(&mut self, shard: &mut dyn ShardStore) {
        for at in 0..self.partitions.len() {
            let meta = self.partitions[at].meta;
            let opened = wait(shard.open(meta.partition)).expect("it opens");
            assert_eq!(opened.meta, (meta.seq > 0).then_some(meta));
            let expected = self.expected(keys::SPACE_META, meta.partition);
            assert_same(&opened.rows, &expected);
            for space in keys::SPACES {
                let rows_max = 1 + self.below(200) as usize;
                let found = scan_all(shard, (space, meta.partition), rows_max);
                assert_same(&found, &self.expected(space, meta.partition));
            }
        }
        let asked: Vec<Vec<u8>> = (0..60)
            .flat_map(|id| {
                let parted = self.partitions.iter();
                let id = format!("id-{id}");
                parted.map(move |parted| state_key(parted.meta.partition.0, &id))
            })
            .collect();
        self.check_keys(shard, &asked);
    }

    /// Checks a few keys.
    pub fn check_some(&mut self, shard: &mut dyn ShardStore) {
        let mut asked = Vec::new();
        for at in 0..self.partitions.len() {
            asked.push(self.state(at));
            asked.extend(self.partitions[at].queued.last().cloned());
        }
        self.check_keys(shard, &asked);
    }

    fn check_keys(&self, shard: &mut dyn ShardStore, asked: &[Vec<u8>]) {
        let values = wait(shard.get(asked.to_vec(), usize::MAX)).expect("the read works");
        assert_eq!(values.len(), asked.len());
        for (key, value) in asked.iter().zip(values) {
            let expected = self.rows.get(key).map(|value| &value[..]);
            assert_eq!(value.as_deref(), expected, "{}", key.escape_ascii());
        }
    }

    fn expected(&self, space: u8, partition: Partition) -> Vec<(&[u8], &[u8])> {
        let from = keys::space_prefix(space, partition);
        let to = keys::prefix_end(&from).expect("a space has an end");
        let rows = self.rows.range(from..to);
        rows.map(|(key, value)| (&key[..], &value[..])).collect()
    }
}

fn scan_all(
    shard: &mut dyn ShardStore,
    (space, partition): (u8, Partition),
    rows_max: usize,
) -> Vec<(Bytes, Bytes)> {
    let mut from = keys::space_prefix(space, partition);
    let to = keys::prefix_end(&from).expect("a space has an end");
    let mut found = Vec::new();
    loop {
        let scan = shard.scan(from, to.clone(), rows_max, usize::MAX);
        let (rows, more) = wait(scan).expect("the scan works");
        from = rows.last().map_or_else(Vec::new, |(last, _)| [&last[..], &[0]].concat());
        assert!(!more || !rows.is_empty());
        found.extend(rows);
        if !more {
            return found;
        }
    }
}

fn assert_same(found: &[(Bytes, Bytes)], expected: &[(&[u8], &[u8])]) {
    let keys = |keys: Vec<&[u8]>| -> Vec<String> {
        keys.iter().map(|key| key.escape_ascii().to_string()).collect()
    };
    assert_eq!(
        keys(found.iter().map(|row| &row.0[..]).collect()),
        keys(expected.iter().map(|row| row.0).collect())
    );
    for ((key, value), (_, expected)) in found.iter().zip(expected) {
        assert_eq!(&value[..], *expected, "{}", key.escape_ascii());
    }
}
