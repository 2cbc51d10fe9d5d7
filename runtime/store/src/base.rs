//! The base: one LSM tree that holds everything as of the last checkpoint. Only checkpoints write it,
//! each as one sorted run of tables that becomes visible and durable at once (the tree syncs its tables,
//! their directory, and then the version file that names them).
//!
//! One tree for all spaces: a checkpoint is then one atomic step, and since every key begins with its
//! space, compaction of one space never rewrites the tables of another.

pub(crate) mod damage;
pub(crate) mod files;
mod runs;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lsm_tree::compaction::Leveled;
use lsm_tree::config::{PinningPolicy, RestartIntervalPolicy};
use lsm_tree::{
    AbstractTree, AnyTree, Cache, Config, DescriptorTable, Guard, InternalValue,
    SequenceNumberCounter, Table, UserValue, ValueType,
};

use crate::StoreError;
use crate::base::files::{RESTORE, TableFile};
use crate::base::runs::{Runs, Written};
use crate::pace::{Pace, PacedCompaction, Steps};
use crate::signals::lock;

/// Size of a table, at most. The second level holds as many as are merged into it: small ones keep what a
/// merge has to write again small, too.
const TABLE_BYTES_MAX: u64 = 16 << 20;
/// Memory for compaction unless somebody says otherwise.
const COMPACTION_BYTES: u64 = 32 << 20;
/// Tables whose files stay open. A base has one for each 16 MB: with fewer, reads of a large one would open
/// files all the time.
const OPEN_TABLES_MAX: usize = 4_096;
/// Rows of a block that are searched one by one, at most.
const ROWS_BETWEEN_RESTARTS: u8 = 4;
/// Memory that tells the runs of the first level apart: one in so many bytes of that for compaction, which
/// bounds how many there are.
const MASKS_SHARE: u64 = 4;
const MASKS_BYTES_MAX: u64 = 32 << 20;
/// Where the tree has its tables.
const TABLES_FOLDER: &str = "tables";
/// A value of this length has a block of its own.
const LONG_BYTES: usize = 64 << 10;
/// Longest key that the tree can hold.
pub(crate) const KEY_BYTES_MAX: usize = 65_535;
/// Rows of the store's own: below all spaces of the engine, and in no answer.
pub(crate) const OWN_SPACE: u8 = 1;
/// Runs of the tree's first level from which on a checkpoint waits for compaction: each costs every
/// read a look, and compaction the memory of its longest row.
const FRESH_RUNS: RangeInclusive<u64> = 4..=24;
/// Memory for compaction that there is for each of them, at least, and for the table that is written.
const FRESH_RUN_BYTES: u64 = 1 << 20;
const WRITTEN_BYTES: u64 = 4 << 20;
/// One in so many of them is merged into the next level at once. Small checkpoints spread over the whole tree:
/// the more of them are merged together, the fewer times each old row is written again, and with filters
/// in memory a run more costs a read little.
const FRESH_RUNS_MERGED: usize = 2;

pub(crate) struct Base {
    tree: AnyTree,
    compaction_bytes: u64,
    path: PathBuf,
    seqno: SequenceNumberCounter,
    visible: SequenceNumberCounter,
    has_rows: AtomicBool,
    pace: Arc<Pace>,
    /// Changed under the lock, so that what is found in the tree last is what stays.
    runs: Mutex<Arc<Runs>>,
    /// Sequence numbers that reads in flight look at, and how many of them: compaction keeps those.
    reads: Mutex<BTreeMap<u64, usize>>,
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Base").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Base {
    /// Opens the tree in `path`; makes one if it `may_be_new`. Filters and indexes stay in memory.
    pub(crate) fn open(
        path: &Path,
        cache_bytes: u64,
        may_be_new: bool,
    ) -> Result<Self, StoreError> {
        // Before the tree does: it removes files that the version which it believes in does not name.
        let tables =
            if may_be_new && !files::exists(path) { Vec::new() } else { files::tables(path)? };
        // The tree takes some kinds of damage for impossible and panics.
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open_tree(path, cache_bytes)));
        match opened {
            Ok(Ok(base)) => Ok(base),
            failed => {
                Err(damage::first_of(&tables, "found while opening it").unwrap_or_else(|| {
                    match failed.map(Result::err) {
                        Ok(Some(error)) => tree_error(path, "while opening it", error),
                        _ => StoreError::DamagedFile {
                            path: path.to_path_buf(),
                            problem: format!(
                                "opening it panicked (see the message before); {RESTORE}"
                            ),
                        },
                    }
                }))
            }
        }
    }

    fn open_tree(path: &Path, cache_bytes: u64) -> lsm_tree::Result<Self> {
        let seqno = SequenceNumberCounter::default();
        let visible = SequenceNumberCounter::default();
        let pace = Arc::new(Pace::default());
        let compaction = PacedCompaction {
            pace: AssertUnwindSafe(Arc::clone(&pace)),
            tables: path.join(TABLES_FOLDER),
        };
        let tree = Config::new(path, seqno.clone(), visible.clone())
            .use_cache(Arc::new(Cache::with_capacity_bytes(cache_bytes)))
            .use_descriptor_table(Some(Arc::new(DescriptorTable::new(OPEN_TABLES_MAX))))
            .data_block_restart_interval_policy(RestartIntervalPolicy::all(ROWS_BETWEEN_RESTARTS))
            .index_block_pinning_policy(PinningPolicy::all(true))
            .filter_block_pinning_policy(PinningPolicy::all(true))
            .index_block_partitioning_policy(PinningPolicy::all(false))
            .filter_block_partitioning_policy(PinningPolicy::all(false))
            .with_compaction_filter_factory(Some(Arc::new(compaction)))
            .open()?;
        let next = tree.get_highest_seqno().map_or(0, |highest| highest + 1);
        seqno.set(next);
        visible.set(next);
        let has_rows = AtomicBool::new(tree.table_count() > 0);
        let runs = Arc::new(Runs::open(&tree, masks_bytes(COMPACTION_BYTES)));
        Ok(Self {
            tree,
            compaction_bytes: COMPACTION_BYTES,
            path: path.to_path_buf(),
            seqno,
            visible,
            has_rows,
            pace,
            runs: Mutex::new(runs),
            reads: Mutex::default(),
        })
    }

    /// Gives compaction so much memory: the index of a table that is being written holds on to every block
    /// that its rows were read from, and each run that is merged to the block that it is at.
    pub(crate) fn with_compaction_of(self, bytes: u64) -> Self {
        let runs = Mutex::new(Arc::new(Runs::open(&self.tree, masks_bytes(bytes))));
        Self { compaction_bytes: bytes, runs, ..self }
    }

    /// What checkpoints and compaction look at for their pace.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Whether nothing was ever written: no read needs to look.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_rows.load(Ordering::Acquire)
    }

    /// The rows as of now.
    pub(crate) fn snapshot(self: &Arc<Self>) -> Snapshot {
        let mut reads = lock(&self.reads);
        let seqno = self.visible.get();
        *reads.entry(seqno).or_default() += 1;
        drop(reads);
        let runs = Arc::clone(&lock(&self.runs));
        Snapshot { base: Arc::clone(self), seqno, runs }
    }

    /// Writes rows (`None`: the key is deleted), sorted by key and without duplicates. They are
    /// durable and visible, all of them at once, when this returns.
    pub(crate) fn ingest<'a>(
        &self,
        rows: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), StoreError> {
        let wrap = |error| tree_error(&self.path, "during a checkpoint", error);
        let is_empty = self.is_empty();
        let mut rows = rows.filter(|(_, value)| value.is_some() || !is_empty).peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let directory = self.path.join(TABLES_FOLDER);
        let steps = Steps::new(Arc::clone(&self.pace), &directory);
        let mut steps = steps.map_err(|error| StoreError::io(&directory, error))?;
        let mut written = Written::default();
        // Newer than all there is. Nobody sees it before the tables are registered, whatever compaction makes
        // visible meanwhile: a snapshot reads the version that was the newest when it was taken.
        let seqno = self.seqno.next();
        let rows = rows.map(|(key, value)| {
            steps.wrote(key.len() + value.map_or(0, <[u8]>::len))?;
            written.note(key);
            let kind = if value.is_some() { ValueType::Value } else { ValueType::Tombstone };
            Ok(InternalValue::from_components(key, value.unwrap_or_default(), seqno, kind))
        });
        // The tree's own ingestion would keep neither filters nor indexes of the new tables in memory.
        if let Some((tables, _)) = self.tree.flush_to_tables(rows).map_err(wrap)? {
            self.tree.register_tables(&tables, None, None, &[], 0).map_err(wrap)?;
            let mut runs = lock(&self.runs);
            *runs = Arc::new(runs.after_checkpoint(&self.tree, &tables, &written));
        }
        debug_assert!(self.seqno.get() >= self.visible.get());
        self.has_rows.store(self.tree.table_count() > 0, Ordering::Release);
        Ok(())
    }

    /// One step of compaction, at most; whether there was something to do.
    pub(crate) fn compact(&self) -> Result<bool, StoreError> {
        let before = self.tree.current_version().id();
        let watermark = {
            let reads = lock(&self.reads);
            let oldest = reads.first_key_value().map(|(seqno, _)| *seqno);
            oldest.unwrap_or_else(|| self.visible.get())
        };
        let strategy = Leveled::default()
            .with_l0_threshold((self.fresh_runs_max() / FRESH_RUNS_MERGED) as u8)
            .with_table_target_size(self.compaction_bytes.min(TABLE_BYTES_MAX));
        self.tree.compact(Arc::new(strategy), watermark).map_err(|error| {
            damage::first_of(&self.tables(|_| true), "found during compaction")
                .unwrap_or_else(|| tree_error(&self.path, "during compaction", error))
        })?;
        let is_changed = self.tree.current_version().id() != before;
        if is_changed {
            let mut runs = lock(&self.runs);
            *runs = Arc::new(runs.after_compaction(&self.tree));
        }
        Ok(is_changed)
    }

    /// Runs of the first level from which on a checkpoint waits.
    pub(crate) fn fresh_runs_max(&self) -> usize {
        let runs = self.compaction_bytes.saturating_sub(WRITTEN_BYTES) / FRESH_RUN_BYTES;
        runs.clamp(*FRESH_RUNS.start(), *FRESH_RUNS.end()) as usize
    }

    /// Runs of the first level: checkpoints that are not compacted yet.
    pub(crate) fn fresh_runs(&self) -> usize {
        self.tree.l0_run_count()
    }

    /// Names what could not be read: the tree's error has no file.
    fn read_error(&self, from: &[u8], to: &[u8], error: lsm_tree::Error) -> StoreError {
        let candidates = self.tables(|table| {
            let range = &table.metadata.key_range;
            &**range.min() <= to && from <= &**range.max()
        });
        let (from, to) = (damage::shown(from), damage::shown(to));
        let context = format!("while reading keys {from} to {to}");
        damage::first_of(&candidates, &format!("found {context}"))
            .unwrap_or_else(|| tree_error(&self.path, &context, error))
    }

    /// The tables that rows are in now.
    pub(crate) fn tables(&self, is_wanted: impl Fn(&Table) -> bool) -> Vec<TableFile> {
        let version = self.tree.current_version();
        let tables = version.iter_tables().filter(|table| is_wanted(table));
        let file = |table: &Table| TableFile {
            path: table.path.to_path_buf(),
            checksum: table.checksum().into_u128(),
            seqno: table.global_seqno(),
        };
        tables.map(file).collect()
    }
}

/// The rows of the base at one moment; compaction keeps them until this is dropped.
#[derive(Debug)]
pub(crate) struct Snapshot {
    base: Arc<Base>,
    /// What ranges are read as of.
    seqno: u64,
    /// What single keys are read from: all that checkpoints have written.
    runs: Arc<Runs>,
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let mut reads = lock(&self.base.reads);
        if let Some(count) = reads.get_mut(&self.seqno) {
            *count -= 1;
            if *count == 0 {
                reads.remove(&self.seqno);
            }
        }
    }
}

impl Snapshot {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.runs.get(key).map_err(|error| self.base.read_error(key, key, error))?;
        Ok(value.map(kept))
    }

    /// Rows with `from <= key < to`, in order.
    pub(crate) fn range(
        &self,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = Result<(Bytes, Bytes), StoreError>> + use<'_> {
        let (first, last) = (from.to_vec(), to.to_vec());
        let rows =
            (self.seqno > 0 && from < to).then(|| self.base.tree.range(from..to, self.seqno, None));
        rows.into_iter().flatten().map(move |row| {
            row.into_inner()
                .map(|(key, value)| (Bytes::copy_from_slice(&key), kept(value)))
                .map_err(|error| self.base.read_error(&first, &last, error))
        })
    }
}

/// A value that lives on by itself. A short one is copied: as the tree has it, it would keep its whole block
/// in memory. A long one is nearly all of its block.
fn kept(value: UserValue) -> Bytes {
    if value.len() < LONG_BYTES { Bytes::copy_from_slice(&value) } else { Bytes::from_owner(value) }
}

fn masks_bytes(compaction_bytes: u64) -> u64 {
    (compaction_bytes / MASKS_SHARE).min(MASKS_BYTES_MAX)
}

fn tree_error(path: &Path, context: &str, error: lsm_tree::Error) -> StoreError {
    match error {
        lsm_tree::Error::Io(error) => StoreError::io(path, error),
        other => {
            let problem = format!("{other:?} {context}; {RESTORE}");
            tracing::error!(path = %path.display(), %problem, "damage");
            StoreError::DamagedFile { path: path.to_path_buf(), problem }
        }
    }
}
