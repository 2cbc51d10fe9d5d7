//! The base alone, that rows with many sleeping instances are held against: an LSM tree opened as the
//! store opens it, one point read and one write-behind put a message. Two threads with keys of their
//! own; each keeps its changes in a map, and a third thread writes full maps to the tree, sorted, and
//! compacts it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lsm_tree::config::{PinningPolicy, RestartIntervalPolicy};
use lsm_tree::{AbstractTree as _, AnyTree, Cache, Config, Guard as _, SequenceNumberCounter};

use crate::functions::generator::mix;
use crate::functions::instances::{RECORD_BYTES, Stored};
use crate::process::Usage;
use crate::raw::{Bare, bare};
use crate::rows::SHARDS;

/// As long as the store's keys of such instances.
const KEY_BYTES: usize = 38;

/// Blocks kept in memory, and rows that a map holds when it is written: what the store takes for them
/// with 512 MB of memory.
const CACHE_BYTES: u64 = 32 << 20;
const MAP_ROWS: usize = 150_000;
/// How the store has its tree compacted: runs of the first level that are merged at once, and the size of
/// a table.
const FRESH_RUNS_MERGED: u8 = 12;
const TABLE_BYTES: u64 = 16 << 20;
/// How the store writes its blocks: rows that are searched one by one.
const ROWS_BETWEEN_RESTARTS: u8 = 4;

/// Messages between two looks at the clock.
const TURN: usize = 256;

type Key = [u8; KEY_BYTES];
type Map = BTreeMap<Key, Stored>;

struct Base {
    tree: AnyTree,
    visible: SequenceNumberCounter,
}

/// A map that is being written.
#[derive(Debug)]
struct Frozen {
    rows: Map,
    is_written: AtomicBool,
}

/// Counts in `directory` for so long, once it holds `count` rows.
pub(crate) fn run(
    directory: &Path,
    count: u64,
    duration: Duration,
    usage: impl Fn() -> Result<Usage>,
) -> Result<Bare> {
    std::fs::create_dir_all(directory)?;
    let base = Arc::new(Base::open(directory)?);
    base.ingest((0..count).map(|number| (key(number), Stored::new(1, number, RECORD_BYTES))))?;
    base.compact()?;
    let (sender, full) = sync_channel(SHARDS);
    let writing = {
        let base = base.clone();
        std::thread::spawn(move || write(&base, &full))
    };
    let before = usage()?;
    let began = Instant::now();
    let workers: Vec<_> = (0..SHARDS as u64)
        .map(|worker| {
            let (base, sender) = (base.clone(), sender.clone());
            std::thread::spawn(move || work(&base, (worker, count), began + duration, &sender))
        })
        .collect();
    drop(sender);
    let mut messages = 0;
    for worker in workers {
        messages += worker.join().ok().context("a thread of the bare base panicked")??;
    }
    let (elapsed, after) = (began.elapsed(), usage()?);
    writing.join().ok().context("the writer of the bare base panicked")??;
    let counted = base.sum()?;
    drop(base);
    std::fs::remove_dir_all(directory)?;
    ensure!(
        counted == count + messages,
        "the base's counts are {counted} together, and not {count} and {messages} messages"
    );
    Ok(bare(messages, elapsed, before, after))
}

/// One thread: reads, counts, keeps what it has counted. Answers how many messages it did.
fn work(
    base: &Base,
    (worker, count): (u64, u64),
    ends: Instant,
    full: &SyncSender<Arc<Frozen>>,
) -> Result<u64> {
    let own = count / SHARDS as u64;
    let (mut rows, mut frozen) = (Map::new(), Arc::<Frozen>::default());
    let mut messages = 0;
    while Instant::now() < ends {
        for _ in 0..TURN {
            let seed = mix((worker << 40) + messages);
            let key = key(seed % own * SHARDS as u64 + worker);
            let found = match rows.get(&key).or_else(|| frozen.rows.get(&key)) {
                Some(stored) => stored.head(),
                None => base.get(&key)?.head(),
            };
            let (counted, _) = found.context("a row without a count")?;
            rows.insert(key, Stored::new(counted + 1, seed, RECORD_BYTES));
            messages += 1;
        }
        if frozen.is_written.load(Ordering::Acquire) {
            frozen = Arc::default();
        }
        if rows.len() >= MAP_ROWS {
            // Twice as much makes a shard wait, too.
            while !frozen.rows.is_empty() && !frozen.is_written.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_micros(100));
            }
            frozen = Frozen::of(std::mem::take(&mut rows));
            full.send(frozen.clone()).context("the writer has ended")?;
        }
    }
    full.send(Frozen::of(rows)).context("the writer has ended")?;
    Ok(messages)
}

/// Writes maps to the tree until all threads have ended.
fn write(base: &Base, full: &Receiver<Arc<Frozen>>) -> Result<()> {
    for frozen in full {
        base.ingest(frozen.rows.iter().map(|(key, stored)| (*key, stored.clone())))?;
        base.compact()?;
        frozen.is_written.store(true, Ordering::Release);
    }
    Ok(())
}

fn key(number: u64) -> Key {
    let mut key = [b'k'; KEY_BYTES];
    key[KEY_BYTES - 8..].copy_from_slice(&number.to_be_bytes());
    key
}

impl Default for Frozen {
    fn default() -> Self {
        Self { rows: Map::new(), is_written: AtomicBool::new(false) }
    }
}

impl Frozen {
    fn of(rows: Map) -> Arc<Self> {
        Arc::new(Self { rows, is_written: AtomicBool::new(false) })
    }
}

impl Base {
    fn open(path: &Path) -> Result<Self> {
        let seqno = SequenceNumberCounter::default();
        let visible = SequenceNumberCounter::default();
        let tree = Config::new(path, seqno, visible.clone())
            .use_cache(Arc::new(Cache::with_capacity_bytes(CACHE_BYTES)))
            .data_block_restart_interval_policy(RestartIntervalPolicy::all(ROWS_BETWEEN_RESTARTS))
            .index_block_pinning_policy(PinningPolicy::all(true))
            .filter_block_pinning_policy(PinningPolicy::all(true))
            .index_block_partitioning_policy(PinningPolicy::all(false))
            .filter_block_partitioning_policy(PinningPolicy::all(false))
            .open()?;
        Ok(Self { tree, visible })
    }

    fn get(&self, key: &Key) -> Result<Stored> {
        let value = self.tree.get(key, self.visible.get())?.context("a row is missing")?;
        Ok(Stored::from_bytes(&value))
    }

    /// Rows in the order of their keys.
    fn ingest(&self, rows: impl Iterator<Item = (Key, Stored)>) -> Result<()> {
        let mut ingestion = self.tree.ingestion()?;
        for (key, stored) in rows {
            ingestion.write(&key[..], stored.as_bytes())?;
        }
        ingestion.finish()?;
        Ok(())
    }

    /// Until there is nothing to do. Rows that threads read meanwhile are in their maps, or have not
    /// changed.
    fn compact(&self) -> Result<()> {
        loop {
            let before = self.tree.current_version().id();
            let strategy = lsm_tree::compaction::Leveled::default()
                .with_l0_threshold(FRESH_RUNS_MERGED)
                .with_table_target_size(TABLE_BYTES);
            self.tree.compact(Arc::new(strategy), self.visible.get())?;
            if self.tree.current_version().id() == before {
                return Ok(());
            }
        }
    }

    /// Of all counts; every row is compared with its seed.
    fn sum(&self) -> Result<u64> {
        let mut sum = 0;
        for row in self.tree.iter(self.visible.get(), None) {
            let (_, value) = row.into_inner()?;
            sum += Stored::from_bytes(&value).count().context("a row is damaged")?;
        }
        Ok(sum)
    }
}
