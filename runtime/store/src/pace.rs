//! The pace at which checkpoints and compaction write. The log's syncs wait for whatever else the disk
//! has in flight, so the base is written in steps of 1 MB, each synced, with a pause after it. The pause
//! follows how much of the store's bounds is in use, not a rate: long while little is, none at all
//! well before the store saturates. While nothing is appended to the log there is nobody to wait for.

use std::fs::File;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use lsm_tree::compaction::filter::Context;
use lsm_tree::compaction::{CompactionFilter, Factory, ItemAccessor, Verdict};
use rustc_hash::FxHashMap;

use crate::embedded::Disk;

/// Bytes of keys and values between two syncs.
const STEP_BYTES: usize = 1 << 20;
/// The pause after a step while at most [`SLOW_UP_TO`] is in use.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// A checkpoint begins at half of what the store may hold before it saturates.
const SLOW_UP_TO: f64 = 0.5;
/// From here on there is no pause: what is left is for writes that come faster than the disk takes them.
const FULL_SPEED_FROM: f64 = 0.75;

/// How long to wait after a step while `used` of what the store may hold is in use (1: it is saturated).
fn pause(used: f64) -> Duration {
    let room = (FULL_SPEED_FROM - used) / (FULL_SPEED_FROM - SLOW_UP_TO);
    PAUSE_MAX.mul_f64(room.clamp(0.0, 1.0))
}

/// What steps look at: the store that they write for.
#[derive(Debug, Default)]
pub(crate) struct Pace(OnceLock<Weak<Disk>>);

impl Pace {
    /// Begins to follow the bounds of `disk`; before that, and after its end, there are no pauses.
    pub(crate) fn follow(&self, disk: &Arc<Disk>) {
        let _ = self.0.set(Arc::downgrade(disk));
    }

    fn used(&self) -> f64 {
        let disk = self.0.get().and_then(Weak::upgrade);
        disk.map_or(1.0, |disk| disk.used())
    }

    /// Bytes that the log has got so far.
    fn appended_bytes(&self) -> u64 {
        let disk = self.0.get().and_then(Weak::upgrade);
        disk.map_or(0, |disk| disk.log.appended_bytes())
    }
}

/// The steps in which new tables of the base are written.
#[derive(Debug)]
pub(crate) struct Steps {
    pace: Arc<Pace>,
    tables: PathBuf,
    /// Tables from here on may not be synced yet.
    first_new: u64,
    /// Of these, how long each was when it was synced; `None`: it has not grown since, so it is finished.
    /// Even a sync of nothing is a call that may flush the disk, and compaction leaves many tables behind it.
    synced: FxHashMap<u64, Option<u64>>,
    unsynced_bytes: usize,
    /// [`Pace::appended_bytes`] at the end of the step before.
    appended_bytes: u64,
}

impl Steps {
    /// Steps of tables that will be made in the directory `tables`.
    pub(crate) fn new(pace: Arc<Pace>, tables: &Path) -> io::Result<Self> {
        let first_new = numbered(tables)?.map(|(number, _)| number + 1).max().unwrap_or(0);
        let appended_bytes = pace.appended_bytes();
        let tables = tables.to_path_buf();
        let synced = FxHashMap::default();
        Ok(Self { pace, tables, first_new, synced, unsynced_bytes: 0, appended_bytes })
    }

    /// Notes that `bytes` were written; syncs and waits at the end of a step.
    pub(crate) fn wrote(&mut self, bytes: usize) -> io::Result<()> {
        self.unsynced_bytes += bytes;
        if self.unsynced_bytes < STEP_BYTES {
            return Ok(());
        }
        self.unsynced_bytes = 0;
        for (number, path) in numbered(&self.tables)? {
            if number < self.first_new {
                continue;
            }
            match self.sync(number, &path) {
                // One of compaction's, which is merged into another one already.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => synced?,
            }
        }
        let pause = pause(self.pace.used());
        let appended_bytes = self.pace.appended_bytes();
        let is_log_idle =
            std::mem::replace(&mut self.appended_bytes, appended_bytes) == appended_bytes;
        if !is_log_idle && !pause.is_zero() {
            std::thread::sleep(pause);
        }
        Ok(())
    }

    /// Syncs a table that has grown.
    fn sync(&mut self, number: u64, table: &Path) -> io::Result<()> {
        let synced = self.synced.entry(number).or_insert(Some(0));
        let Some(before) = *synced else {
            return Ok(());
        };
        let length = table.metadata()?.len();
        if length > before {
            File::open(table)?.sync_data()?;
        }
        *synced = (length > before || before == 0).then_some(length);
        Ok(())
    }
}

/// The tables in a directory: each is named by its number.
fn numbered(tables: &Path) -> io::Result<impl Iterator<Item = (u64, PathBuf)> + use<>> {
    let entries: Vec<_> = std::fs::read_dir(tables)?.collect::<Result<_, _>>()?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))))
}

/// Paces compaction: sees each row that it writes, and keeps all of them.
pub(crate) struct PacedCompaction {
    pub(crate) pace: AssertUnwindSafe<Arc<Pace>>,
    pub(crate) tables: PathBuf,
}

impl Factory for PacedCompaction {
    fn name(&self) -> &'static str {
        "pace"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Keeping(Steps::new(Arc::clone(&self.pace), &self.tables)))
    }
}

struct Keeping(io::Result<Steps>);

impl CompactionFilter for Keeping {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        let bytes = item.key().len() + item.value()?.len();
        match &mut self.0 {
            Ok(steps) => steps.wrote(bytes)?,
            Err(error) => return Err(io::Error::new(error.kind(), error.to_string()).into()),
        }
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use dormouse_engine::Commit;

    use super::*;
    use crate::conformance::{open_shard, state_key};
    use crate::{EmbeddedOptions, EmbeddedStore, ShardStore, Store};

    const DIRTY_BYTES_MAX: u64 = 4 << 20;
    const COMMIT_BYTES: u64 = 20_000;

    /// Appends a commit to the next key; what is dirty then.
    fn append(store: &EmbeddedStore, shard: &mut dyn ShardStore, at: u64) -> u64 {
        let mut commit = Commit::default();
        commit.ops.put(&state_key(0, &at.to_string()), &[7; COMMIT_BYTES as usize]);
        shard.append(&commit).unwrap();
        store.disk.dirty_bytes.load(Ordering::Relaxed)
    }

    fn open(place: &Path) -> Arc<EmbeddedStore> {
        let mut options = EmbeddedOptions::new(place, 8);
        options.dirty_bytes_max = DIRTY_BYTES_MAX;
        options.checkpoint_after_idle = Duration::from_secs(3_600);
        EmbeddedStore::open(options).unwrap().0
    }

    #[test]
    fn steady_writes_never_saturate_a_store_that_paces_its_checkpoints() {
        let place = tempfile::tempdir().unwrap();
        let store = open(place.path());
        let mut shard = open_shard(&*store, 0, &[0]);
        // 2 MB/s: a checkpoint at full speed is done before a tenth of the room behind it is used.
        for at in 0..800 {
            append(&store, &mut *shard, at);
            assert!(!shard.is_saturated(), "after {at} commits");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!store.disk.base.is_empty(), "no checkpoint was written");
        store.close().unwrap();
    }

    #[test]
    fn a_flood_keeps_memory_within_twice_its_bound() {
        let place = tempfile::tempdir().unwrap();
        let store = open(place.path());
        let mut shard = open_shard(&*store, 0, &[0]);
        let (mut most, mut at) = (0, 0);
        while at < 2_000 {
            if shard.is_saturated() {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            most = most.max(append(&store, &mut *shard, at));
            at += 1;
        }
        assert!(most <= 2 * DIRTY_BYTES_MAX + 2 * COMMIT_BYTES, "{most} bytes");
        assert!(most > DIRTY_BYTES_MAX, "{most} bytes: no checkpoint had to keep up");
        store.close().unwrap();
    }

    #[test]
    fn compaction_keeps_every_row() {
        let place = tempfile::tempdir().unwrap();
        let base = Arc::new(crate::base::Base::open(place.path(), 1 << 20, true).unwrap());
        let keys: Vec<Vec<u8>> =
            (0..1_000_u32).map(|at| state_key(0, &format!("{at:05}"))).collect();
        for round in 0..16 {
            let rows = keys.iter().skip(round).step_by(16);
            base.ingest(rows.map(|key| (&key[..], Some(&key[..])))).unwrap();
        }
        let before = base.fresh_runs();
        while base.compact().unwrap() {}
        assert!(base.fresh_runs() < before, "nothing was compacted");
        let snapshot = base.snapshot();
        for key in &keys {
            assert_eq!(snapshot.get(key).unwrap().as_deref(), Some(&key[..]));
        }
    }

    #[test]
    fn a_table_is_synced_in_steps() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("7"), b"old").unwrap();
        let mut steps = Steps::new(Arc::default(), place.path()).unwrap();
        assert_eq!(steps.first_new, 8);
        std::fs::write(place.path().join("8"), b"new").unwrap();
        steps.wrote(STEP_BYTES - 1).unwrap();
        assert_eq!(steps.unsynced_bytes, STEP_BYTES - 1);
        steps.wrote(1).unwrap();
        assert_eq!(steps.unsynced_bytes, 0);
        // Whatever cannot be synced ends the checkpoint.
        std::fs::remove_dir_all(place.path()).unwrap();
        steps.wrote(STEP_BYTES).unwrap_err();
    }

    #[test]
    fn only_tables_that_have_grown_are_synced() {
        let place = tempfile::tempdir().unwrap();
        let mut steps = Steps::new(Arc::default(), place.path()).unwrap();
        let table = place.path().join("1");
        for length in [1, 2, 2, 2] {
            std::fs::write(&table, &b"row"[..length]).unwrap();
            steps.wrote(STEP_BYTES).unwrap();
        }
        assert_eq!(steps.synced[&1], None, "it is finished");
        // Not even looked at any more.
        std::fs::remove_file(&table).unwrap();
        std::os::unix::fs::symlink("1", &table).unwrap();
        steps.wrote(STEP_BYTES).unwrap();
        std::os::unix::fs::symlink("2", place.path().join("2")).unwrap();
        steps.wrote(STEP_BYTES).expect_err("a new one is");
    }

    #[test]
    fn nobody_waits_for_a_log_that_gets_nothing() {
        let place = tempfile::tempdir().unwrap();
        let store = open(place.path());
        let mut shard = open_shard(&*store, 0, &[0]);
        let pace = Arc::<Pace>::default();
        pace.follow(&store.disk);
        let mut steps = Steps::new(Arc::clone(&pace), place.path()).unwrap();
        let mut step = || {
            let began = std::time::Instant::now();
            steps.wrote(STEP_BYTES).unwrap();
            began.elapsed()
        };
        let idle: Duration = (0..200).map(|_| step()).sum();
        assert!(idle < 150 * PAUSE_MAX, "{idle:?} for 200 steps");
        append(&store, &mut *shard, 0);
        assert!(step() >= PAUSE_MAX);
        store.close().unwrap();
    }

    #[test]
    fn pauses_shrink_as_the_bounds_are_used_up() {
        assert_eq!(pause(0.0), PAUSE_MAX);
        assert_eq!(pause(0.5), PAUSE_MAX);
        assert_eq!(pause(0.625), PAUSE_MAX / 2);
        assert!(pause(0.7) < pause(0.6));
    }

    #[test]
    fn nothing_waits_from_three_quarters_on() {
        for used in [0.75, 0.9, 1.0, 7.0] {
            assert_eq!(pause(used), Duration::ZERO, "{used}");
        }
    }

    #[test]
    fn nobody_to_wait_for_is_no_pause() {
        assert_eq!(pause(Pace::default().used()), Duration::ZERO);
    }
}
