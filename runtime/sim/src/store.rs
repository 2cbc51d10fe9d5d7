//! A store in memory with the two promises that the engine knows: one log for all shards, of which a
//! prefix is durable, or a log for each partition, whose commits are refused alone. It keeps what reads
//! see and what a crash leaves, and checks what every store relies on: clocks, keys used once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use dormouse_engine::codec::Reader;
use dormouse_engine::keys::{self, Key};
use dormouse_engine::{Commit, Fence, Op, Opened, PartMeta, ScanRange};
use dormouse_protocol::Partition;

use crate::disk::Disk;
use crate::rng::Rng;

/// All rows of all partitions at one moment.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub rows: BTreeMap<Vec<u8>, Bytes>,
    metas: BTreeMap<u16, PartMeta>,
    /// Keys of spaces in which a key is used once.
    used: BTreeSet<Vec<u8>>,
}

/// Who handed in a commit: a shard, its scope, and where each partition commits alone the opening that
/// the shard goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub shard: usize,
    pub scope: u32,
    pub tenure: u64,
    pub number: u64,
}

#[derive(Clone, Debug)]
struct Record {
    ticket: Ticket,
    commit: Commit,
}

/// A log: commits on their way, those taken, in order, and how many of these are on the disk.
#[derive(Debug, Default)]
struct Log {
    coming: VecDeque<Record>,
    taken: Vec<Record>,
    durable: usize,
    disk: Disk,
}

/// What became of a commit that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Reads see it.
    Taken,
    /// It was taken before.
    Known,
    Refused(&'static str),
}

#[derive(Debug)]
pub struct Store {
    is_prefix: bool,
    pub visible: Image,
    pub durable: Image,
    /// One, or one for each partition.
    logs: Vec<Log>,
    /// By partition: who may write, as acknowledged, and as a failover would leave it.
    fences: Vec<Fence>,
    durable_fences: Vec<Fence>,
    /// By partition: whether its owner reads what a failover left, and has to open it again.
    is_behind: Vec<bool>,
    /// By opening: the fence that it got. The first one is nobody's.
    given: Vec<Fence>,
    /// Every durable commit, since the beginning.
    pub(crate) archive: Vec<Commit>,
    pub(crate) openings: u64,
    pub(crate) refusals: u64,
}

impl Store {
    #[must_use]
    pub fn new(partitions: u16, is_prefix: bool) -> Self {
        let partitions = usize::from(partitions);
        let logs = if is_prefix { 1 } else { partitions };
        Self {
            is_prefix,
            visible: Image::default(),
            durable: Image::default(),
            logs: (0..logs).map(|_| Log::default()).collect(),
            fences: vec![Fence::default(); partitions],
            durable_fences: vec![Fence::default(); partitions],
            is_behind: vec![false; partitions],
            given: vec![Fence::default()],
            archive: Vec::new(),
            openings: 0,
            refusals: 0,
        }
    }

    /// Gives a partition to whoever asks; everything that it is told is durable by then.
    pub fn open(&mut self, partition: Partition) -> (Fence, u64, Opened) {
        self.openings += 1;
        let tenure = self.given.len() as u64;
        let fence = &mut self.fences[usize::from(partition.0)];
        *fence = Fence { counter: fence.counter + 1, nonce: u128::from(tenure) };
        let fence = *fence;
        self.is_behind[usize::from(partition.0)] = false;
        let rows = prefix_rows(&self.visible.rows, keys::SPACE_META, partition);
        let meta = self.visible.metas.get(&partition.0).copied();
        self.given.push(fence);
        (fence, tenure, Opened { meta, rows })
    }

    /// Whether a shard that goes by this opening may still read.
    #[must_use]
    pub fn may_read(&self, partition: Partition, tenure: u64) -> bool {
        let index = usize::from(partition.0);
        let fence = self.given.get(tenure as usize).copied().unwrap_or_default();
        self.fences[index].is_same(fence) && !self.is_behind[index]
    }

    /// Which log takes the commits of a scope.
    #[must_use]
    pub fn log_of(&self, scope: u32) -> usize {
        if self.is_prefix { 0 } else { scope as usize }
    }

    pub fn append(&mut self, ticket: Ticket, commit: Commit) {
        let log = self.log_of(ticket.scope);
        self.logs[log].coming.push_back(Record { ticket, commit });
    }

    /// How many commits a log has taken, and how many of them are durable.
    #[must_use]
    pub fn progress(&self, log: usize) -> (usize, usize) {
        (self.logs[log].taken.len(), self.logs[log].durable)
    }

    /// Looks at the next commit of a log, and takes or refuses it; with `refuses`, whatever it is.
    pub fn take_next(
        &mut self,
        log: usize,
        refuses: bool,
    ) -> Result<Option<(Ticket, Verdict)>, String> {
        let Some(record) = self.logs[log].coming.pop_front() else {
            return Ok(None); // A failover lost it.
        };
        let ticket = record.ticket;
        let verdict =
            if refuses { Verdict::Refused("out of memory") } else { self.judge(&record)? };
        if verdict == Verdict::Taken {
            self.visible.apply(&record.commit, self.is_prefix)?;
            self.logs[log].disk.write(&record.commit);
            self.logs[log].taken.push(record);
        } else {
            self.refusals += 1;
        }
        Ok(Some((ticket, verdict)))
    }

    /// The same commit again, since the answer to it was lost: it must not take effect a second time.
    pub fn take_again(&mut self, log: usize, ticket: Ticket) -> Result<Verdict, String> {
        let is_it = |record: &&Record| record.ticket == ticket;
        let Some(record) = self.logs[log].taken.iter().rev().find(is_it) else {
            return Ok(Verdict::Refused("not taken"));
        };
        let record = record.clone();
        match self.judge(&record)? {
            Verdict::Taken if !record.commit.parts.is_empty() => {
                self.visible.apply(&record.commit, self.is_prefix)?;
                Err(format!("{ticket:?} was applied twice"))
            }
            verdict => Ok(verdict),
        }
    }

    fn judge(&self, record: &Record) -> Result<Verdict, String> {
        let stored = |partition: Partition| {
            Some((self.fences[usize::from(partition.0)], self.visible.seq(partition)))
        };
        match record.commit.admit(stored) {
            Ok(true) => Ok(Verdict::Taken),
            Ok(false) => Ok(Verdict::Known),
            Err((part, why)) if self.is_prefix => {
                Err(format!("a store of one log has to refuse {part:?}: {}", why.why()))
            }
            Err((_, why)) => Ok(Verdict::Refused(why.why())),
        }
    }

    /// Makes `count` more commits durable; the last of each scope among them.
    pub fn sync(&mut self, log: usize, count: usize) -> Result<Vec<Ticket>, String> {
        let is_prefix = self.is_prefix;
        if !is_prefix {
            self.durable_fences[log] = self.fences[log];
        }
        let log = &mut self.logs[log];
        let mut last = BTreeMap::new();
        for record in &log.taken[log.durable..log.durable + count] {
            self.durable.apply(&record.commit, is_prefix)?;
            self.archive.push(record.commit.clone());
            last.insert((record.ticket.shard, record.ticket.scope), record.ticket);
        }
        log.durable += count;
        log.disk.sync(log.durable);
        Ok(last.into_values().collect())
    }

    /// All processes die: of what was not synced, the disk has kept what it has kept.
    pub fn crash(&mut self, rng: &mut Rng) -> Result<(), String> {
        for log in 0..self.logs.len() {
            let durable = self.logs[log].durable;
            let whole = self.logs[log].disk.crash(rng);
            assert!(whole >= durable, "what was synced stays");
            self.sync(log, whole - durable)?;
            self.logs[log] = Log::default();
        }
        if self.is_prefix {
            self.durable.drop_taken();
        }
        self.visible = self.durable.clone();
        Ok(())
    }

    /// Another machine goes on with a partition: what was not synced is gone, the processes live on.
    /// Answers the commits that were on their way: nobody will take them.
    pub fn failover(&mut self, partition: Partition) -> Vec<Ticket> {
        let log = usize::from(partition.0);
        self.fences[log] = self.durable_fences[log];
        self.is_behind[log] = true;
        let durable = self.logs[log].durable;
        let taken = std::mem::take(&mut self.logs[log].taken);
        let coming = std::mem::take(&mut self.logs[log].coming);
        self.logs[log].disk = Disk::default();
        for record in &taken[..durable] {
            self.logs[log].disk.write(&record.commit);
        }
        self.logs[log].disk.sync(durable);
        self.logs[log].taken = taken.into_iter().take(durable).collect();
        self.visible.replace(partition, &self.durable);
        coming.into_iter().map(|record| record.ticket).collect()
    }

    /// A process has died: of its commits that were on their way, some arrive.
    pub fn forget_coming(&mut self, shard: usize, rng: &mut Rng) {
        for log in &mut self.logs {
            let arrive = rng.index(log.coming.len() + 1);
            let mut position = 0;
            log.coming.retain(|record| {
                position += 1;
                record.ticket.shard != shard || position <= arrive
            });
        }
    }

    /// How many commits are on their way to a log.
    #[must_use]
    pub fn coming(&self, log: usize) -> usize {
        self.logs[log].coming.len()
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
        self.logs.iter().all(|log| log.coming.is_empty() && log.taken.len() == log.durable)
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

    /// The number of a partition's last commit.
    fn seq(&self, partition: Partition) -> u64 {
        self.metas.get(&partition.0).map_or(0, |meta| meta.seq)
    }

    /// Takes over everything of one partition.
    fn replace(&mut self, partition: Partition, other: &Self) {
        let is_other = |key: &Vec<u8>| key[1..3] != partition.0.to_be_bytes();
        self.rows.retain(|key, _| is_other(key));
        let rows = other.rows.iter().filter(|(key, _)| !is_other(key));
        self.rows.extend(rows.map(|(key, value)| (key.clone(), value.clone())));
        self.used.retain(is_other);
        self.used.extend(other.used.iter().filter(|key| !is_other(key)).cloned());
        match other.metas.get(&partition.0) {
            Some(meta) => self.metas.insert(partition.0, *meta),
            None => self.metas.remove(&partition.0),
        };
    }

    pub(crate) fn apply(&mut self, commit: &Commit, is_prefix: bool) -> Result<(), String> {
        for part in &commit.parts {
            self.check_part(part)?;
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

    /// What every commit has to keep to. (Its number is looked at before it is taken.)
    fn check_part(&self, part: &PartMeta) -> Result<(), String> {
        let before = self.metas.get(&part.partition.0);
        let (time_ms, arrival) = before.map_or((0, 0), |meta| (meta.time_ms, meta.arrival));
        if part.time_ms < time_ms || part.arrival < arrival {
            return Err(format!("{}: time or arrival fell: {part:?}", part.partition));
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

    pub(crate) fn drop_taken(&mut self) {
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
