//! A store in memory with the two promises that the engine knows: one log for all shards, of which a
//! prefix is durable, or a log for each partition. It keeps what reads see and what a crash leaves, and
//! checks what every store relies on: numbers without a gap, fences, clocks, keys used once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dormouse_engine::codec::Reader;
use dormouse_engine::keys::{self, Key};
use dormouse_engine::{Commit, Fence, Op, Opened, PartMeta, ScanRange};
use dormouse_protocol::Partition;

/// Whose commit: a shard and its scope.
pub type ScopeId = (usize, u32);

/// All rows of all partitions at one moment.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub rows: BTreeMap<Vec<u8>, Bytes>,
    metas: BTreeMap<u16, PartMeta>,
    /// Keys of spaces in which a key is used once.
    used: BTreeSet<Vec<u8>>,
}

#[derive(Debug)]
struct Record {
    scope: ScopeId,
    commit: Commit,
}

/// A log: records in order, and how many of them reads see and a crash leaves.
#[derive(Debug, Default)]
struct Log {
    records: Vec<Record>,
    visible: usize,
    durable: usize,
}

#[derive(Debug)]
pub struct Store {
    is_prefix: bool,
    pub visible: Image,
    pub durable: Image,
    /// One, or one for each partition.
    logs: Vec<Log>,
    fences: Vec<Fence>,
}

impl Store {
    #[must_use]
    pub fn new(partitions: u16, is_prefix: bool) -> Self {
        let logs = if is_prefix { 1 } else { usize::from(partitions) };
        Self {
            is_prefix,
            visible: Image::default(),
            durable: Image::default(),
            logs: (0..logs).map(|_| Log::default()).collect(),
            fences: vec![Fence::default(); usize::from(partitions)],
        }
    }

    pub fn open(&mut self, partition: Partition) -> (Fence, Opened) {
        let fence = &mut self.fences[usize::from(partition.0)];
        fence.counter += 1;
        fence.nonce = u128::from(fence.counter) << 64 | u128::from(partition.0);
        let rows = prefix_rows(&self.visible.rows, keys::SPACE_META, partition);
        let meta = self.visible.metas.get(&partition.0).copied();
        (*fence, Opened { meta, rows })
    }

    /// Which log takes the commits of a scope.
    #[must_use]
    pub fn log_of(&self, scope: ScopeId) -> usize {
        if self.is_prefix { 0 } else { scope.1 as usize }
    }

    pub fn append(&mut self, scope: ScopeId, commit: Commit) {
        let log = self.log_of(scope);
        self.logs[log].records.push(Record { scope, commit });
    }

    /// How many records of a log are appended, visible, durable.
    #[must_use]
    pub fn progress(&self, log: usize) -> (usize, usize, usize) {
        let log = &self.logs[log];
        (log.records.len(), log.visible, log.durable)
    }

    /// Makes the next record visible; whose it is.
    pub fn show_next(&mut self, log: usize) -> Result<(ScopeId, u64), String> {
        let log = &mut self.logs[log];
        let record = &log.records[log.visible];
        log.visible += 1;
        let fences = Some(self.fences.as_slice());
        self.visible.apply(&record.commit, self.is_prefix, fences)?;
        Ok((record.scope, record.commit.number))
    }

    /// Makes `count` more visible records durable; the last number of each scope among them.
    pub fn sync(&mut self, log: usize, count: usize) -> Result<BTreeMap<ScopeId, u64>, String> {
        let log = &mut self.logs[log];
        let mut last = BTreeMap::new();
        for record in &log.records[log.durable..log.durable + count] {
            self.durable.apply(&record.commit, self.is_prefix, None)?;
            last.insert(record.scope, record.commit.number);
        }
        log.durable += count;
        Ok(last)
    }

    /// Ends this life: `survive` says how many of a log's records beyond the durable ones were in fact
    /// kept.
    pub fn crash(&mut self, mut survive: impl FnMut(usize) -> usize) -> Result<(), String> {
        for log in 0..self.logs.len() {
            let left = self.logs[log].records.len() - self.logs[log].durable;
            let kept = survive(left);
            self.sync(log, kept)?;
            self.logs[log] = Log::default();
        }
        if self.is_prefix {
            self.durable.drop_taken();
        }
        self.visible = self.durable.clone();
        Ok(())
    }

    /// Forgets outbox entries that their receivers have taken: with one log the mark is the trim.
    pub fn drop_taken(&mut self) {
        if self.is_prefix {
            self.visible.drop_taken();
        }
    }

    /// Whether a crash now would lose nothing.
    #[must_use]
    pub fn is_all_durable(&self) -> bool {
        self.logs.iter().all(|log| log.records.len() == log.durable)
    }

    #[must_use]
    pub fn get(&self, keys: &[Vec<u8>]) -> Vec<Option<Bytes>> {
        keys.iter().map(|key| self.visible.rows.get(key).cloned()).collect()
    }

    /// Rows of a range within its bounds, and whether there are more.
    #[must_use]
    pub fn scan(&self, range: &ScanRange) -> (Vec<(Bytes, Bytes)>, bool) {
        let mut rows = Vec::new();
        let mut bytes = 0;
        for (key, value) in self.visible.rows.range(range.from.clone()..range.to.clone()) {
            bytes += key.len() + value.len();
            let is_full = rows.len() >= range.rows_max || bytes > range.bytes_max;
            if is_full && !rows.is_empty() {
                return (rows, true);
            }
            rows.push((Bytes::copy_from_slice(key), value.clone()));
        }
        (rows, false)
    }
}

impl Image {
    /// How far `receiver` has taken the messages of `sender`.
    #[must_use]
    pub fn taken(&self, sender: Partition, receiver: Partition) -> u64 {
        let mut key = Vec::new();
        keys::mark(&mut key, receiver, sender);
        self.rows.get(&key).map_or(0, |value| taken(value))
    }

    fn apply(
        &mut self,
        commit: &Commit,
        is_prefix: bool,
        fences: Option<&[Fence]>,
    ) -> Result<(), String> {
        for part in &commit.parts {
            self.check_part(part, fences)?;
            self.metas.insert(part.partition.0, *part);
        }
        for op in commit.ops.iter() {
            let (Op::Put { key, .. } | Op::Delete { key }) = op;
            let (partition, _) = keys::parse(key).map_err(|error| error.to_string())?;
            if !commit.parts.iter().any(|part| part.partition == partition) {
                return Err(format!("a commit writes {partition}, which is not among its parts"));
            }
            match op {
                Op::Put { key, value } => self.put(key, value)?,
                Op::Delete { key } => {
                    self.rows.remove(key);
                }
            }
        }
        if !is_prefix {
            for trim in &commit.trims {
                self.drop_outbox(trim.from, trim.to, trim.upto);
            }
        }
        Ok(())
    }

    fn check_part(&self, part: &PartMeta, fences: Option<&[Fence]>) -> Result<(), String> {
        let partition = part.partition;
        if let Some(fences) = fences
            && fences[usize::from(partition.0)] != part.fence
        {
            return Err(format!("partition {partition}: committed with an old fence"));
        }
        let before = self.metas.get(&partition.0);
        let (seq, time_ms, arrival) =
            before.map_or((0, 0, 0), |meta| (meta.seq, meta.time_ms, meta.arrival));
        if part.seq != seq + 1 {
            return Err(format!("partition {partition}: commit {} after {seq}", part.seq));
        }
        if part.time_ms < time_ms || part.arrival < arrival {
            return Err(format!("partition {partition}: time or arrival fell: {part:?}"));
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        if keys::is_never_reused(key[0]) && !self.used.insert(key.to_vec()) {
            return Err(format!("written twice: {:?}", keys::parse(key)));
        }
        self.rows.insert(key.to_vec(), Bytes::copy_from_slice(value));
        Ok(())
    }

    fn drop_taken(&mut self) {
        let mut marks = Vec::new();
        for (key, value) in &self.rows {
            if let Ok((receiver, Key::Mark { sender })) = keys::parse(key) {
                marks.push((sender, receiver, taken(value)));
            }
        }
        for (sender, receiver, taken) in marks {
            self.drop_outbox(sender, receiver, taken);
        }
    }

    fn drop_outbox(&mut self, sender: Partition, receiver: Partition, upto: u64) {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        keys::outbox(&mut from, sender, receiver, 0);
        keys::outbox(&mut to, sender, receiver, upto);
        let dead: Vec<_> = self.rows.range(from..=to).map(|(key, _)| key.clone()).collect();
        for key in dead {
            self.rows.remove(&key);
        }
    }
}

/// The number in a mark.
fn taken(mark: &[u8]) -> u64 {
    let mut reader = Reader::new(mark);
    let (_, taken) = (reader.varint("epoch"), reader.varint("number"));
    taken.unwrap_or(0)
}

fn prefix_rows(
    rows: &BTreeMap<Vec<u8>, Bytes>,
    space: u8,
    partition: Partition,
) -> Vec<(Bytes, Bytes)> {
    let prefix = keys::space_prefix(space, partition);
    rows.range(prefix.clone()..)
        .take_while(|(key, _)| key.starts_with(&prefix))
        .map(|(key, value)| (Bytes::copy_from_slice(key), value.clone()))
        .collect()
}
