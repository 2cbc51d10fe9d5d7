//! The embedded store: opens a data directory, recovers it, and runs the threads behind the shards'
//! handles. The log is the authority for what is durable; the base and the layers in memory only ever
//! hold what it says.

pub(crate) mod directory;
mod recovery;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dormouse_protocol::Partition;
use rustc_hash::FxHashMap;
use uuid::Uuid;

use crate::base::Base;
use crate::checkpoint::{Checkpointer, Compactor, Trigger};
use crate::embedded::directory::Directory;
use crate::embedded::recovery::{Recovered, recover};
use crate::log::Log;
use crate::log::recover::{RecoveryProgress, TailCut};
use crate::log::segment::Faults;
use crate::log::segments::Segments;
use crate::log::writer::{GATHER_MAX, Writer};
use crate::memory::Shards;
use crate::merge::Ranges;
use crate::outboxes::{self, Spans};
use crate::overlay::Layer;
use crate::reader::Readers;
use crate::scrub::{RunningScrub, ScrubStatus};
use crate::shard::{Backing, Shard};
use crate::signals::{Signals, lock};
use crate::state::{Channel, State};
use crate::{Lsn, ShardStore, Store, StoreError, Waker};

/// Size of the first segment of a run: small, so that a start does not wait for the disk.
const FIRST_SEGMENT_BYTES: u64 = 1 << 20;

/// Told now and then how far a recovery has come.
pub type ProgressCallback = Arc<dyn Fn(RecoveryProgress) + Send + Sync>;

/// Where an embedded store lives and how much it may use.
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// The data directory; made when it is not there.
    pub directory: PathBuf,
    /// Partitions of the application: fixed when the directory is made.
    pub partitions: u16,
    /// Bytes of log that are not in the base yet; above, a checkpoint begins. At twice as many the
    /// store is saturated.
    pub log_bytes_max: u64,
    /// Size of a log file.
    pub segment_bytes: u64,
    /// Bytes in memory that are not in the base yet; above, a checkpoint begins. At twice as many the
    /// store is saturated.
    pub dirty_bytes_max: u64,
    /// Memory for blocks of the base, beside its filters and indexes, which always stay.
    pub base_cache_bytes: u64,
    /// Memory for compaction, in bytes: with little, it writes smaller tables and merges fewer at a time.
    pub compaction_bytes: u64,
    /// Bytes of log in memory that are not on the disk; from here on the store is saturated.
    pub unsynced_bytes_max: u64,
    /// Threads that read the base.
    pub reader_threads: usize,
    /// A checkpoint begins when nothing was appended for so long.
    pub checkpoint_after_idle: Duration,
    /// The whole base is read and checked once in so long; `None`: never.
    pub scrub_interval: Option<Duration>,
    /// Says what that has found.
    pub scrub_status: Arc<ScrubStatus>,
    /// Told about the progress of recovery.
    pub progress: Option<ProgressCallback>,
    /// Longest that a commit waits for others before it is written.
    pub(crate) gather_max: Duration,
    pub(crate) faults: Faults,
}

impl EmbeddedOptions {
    /// The defaults: 128 MB of log, of which 32 MB wait for the disk, 64 MB dirty, 64 MB of cache,
    /// 32 MB for compaction, 2 reader threads, a scrub per day.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, partitions: u16) -> Self {
        Self {
            directory: directory.into(),
            partitions,
            log_bytes_max: 128 << 20,
            segment_bytes: 16 << 20,
            dirty_bytes_max: 64 << 20,
            base_cache_bytes: 64 << 20,
            compaction_bytes: 32 << 20,
            unsynced_bytes_max: 32 << 20,
            reader_threads: 2,
            checkpoint_after_idle: Duration::from_secs(5),
            scrub_interval: Some(Duration::from_secs(24 * 3_600)),
            scrub_status: Arc::default(),
            progress: None,
            gather_max: GATHER_MAX,
            faults: Faults::default(),
        }
    }
}

impl fmt::Debug for EmbeddedOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedOptions")
            .field("directory", &self.directory)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

/// What recovery found.
#[derive(Clone, Debug)]
pub struct RecoveryReport {
    /// The directory was made by this start.
    pub is_new: bool,
    /// Commits replayed from the log.
    pub commits: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Position of the last record; everything up to it is durable.
    pub last: Lsn,
    /// What was cut off the end of the log, if anything.
    pub cut: Option<TailCut>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What shards, checkpoints and compaction share.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) log: Arc<Log>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) base: Arc<Base>,
    pub(crate) readers: Readers,
    pub(crate) signals: Arc<Signals>,
    pub(crate) trigger: Trigger,
    /// Outbox entries in the base.
    pub(crate) spans: Mutex<Spans>,
    /// Bytes of all layers of all shards.
    pub(crate) dirty_bytes: AtomicU64,
    /// Of [`Log::appended_bytes`], those that are in the base.
    pub(crate) covered_bytes: AtomicU64,
    pub(crate) dirty_bytes_max: u64,
    pub(crate) log_bytes_max: u64,
    pub(crate) unsynced_bytes_max: u64,
}

impl Disk {
    /// Notes, under the shard's lock, that its live layer went from `before` to `after` bytes.
    pub(crate) fn note_dirty(&self, before: usize, after: usize) {
        // Wrapping: the sum over all shards is never negative.
        let change = (after as u64).wrapping_sub(before as u64);
        self.dirty_bytes.fetch_add(change, Ordering::Relaxed);
    }

    pub(crate) fn ask_for_checkpoint_if_due(&self) {
        if self.is_checkpoint_due() {
            self.trigger.request();
        }
    }

    pub(crate) fn is_checkpoint_due(&self) -> bool {
        self.dirty_bytes.load(Ordering::Relaxed) > self.dirty_bytes_max
            || self.uncovered_bytes() > self.log_bytes_max
    }

    /// Bytes of log that a restart would replay.
    fn uncovered_bytes(&self) -> u64 {
        let covered = self.covered_bytes.load(Ordering::Relaxed);
        self.log.appended_bytes().saturating_sub(covered)
    }

    pub(crate) fn is_saturated(&self) -> bool {
        self.dirty_bytes.load(Ordering::Relaxed) >= 2 * self.dirty_bytes_max
            || self.uncovered_bytes() >= 2 * self.log_bytes_max
            || self.log.unsynced_bytes() >= self.unsynced_bytes_max
    }

    /// How much of what the store may hold is in use, by the bound that is nearest: saturated at 1. A
    /// store that closes is in a hurry.
    pub(crate) fn used(&self) -> f64 {
        if self.trigger.is_stopped() {
            return 1.0;
        }
        let shares = [
            (self.dirty_bytes.load(Ordering::Relaxed), self.dirty_bytes_max.saturating_mul(2)),
            (self.uncovered_bytes(), self.log_bytes_max.saturating_mul(2)),
            (self.log.unsynced_bytes(), self.unsynced_bytes_max),
            (self.base.fresh_runs() as u64, self.base.fresh_runs_max() as u64),
        ];
        shares.into_iter().map(|(used, max)| used as f64 / max.max(1) as f64).fold(0.0, f64::max)
    }

    /// Whether the base may hold rows in `ranges`.
    pub(crate) fn may_hold(&self, ranges: &Ranges) -> bool {
        outboxes::may_hold(&lock(&self.spans), ranges)
    }
}

/// A store in a directory of this machine.
#[derive(Debug)]
pub struct EmbeddedStore {
    pub(crate) disk: Arc<Disk>,
    shards: Arc<Shards>,
    /// What recovery replayed, until the first checkpoint has written it.
    recovered: Arc<Mutex<Option<Arc<Layer>>>>,
    trimmed: FxHashMap<Channel, u64>,
    is_new: bool,
    application: Uuid,
    compactor: Arc<Compactor>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    checkpoint: JoinHandle<()>,
    compaction: JoinHandle<()>,
    sync: JoinHandle<()>,
    prepare: JoinHandle<()>,
    scrub: Option<RunningScrub>,
    _directory: Directory,
}

impl EmbeddedStore {
    /// Opens the store, recovers what the log has, and starts the store's threads.
    pub fn open(options: EmbeddedOptions) -> Result<(Arc<Self>, RecoveryReport), StoreError> {
        let began = Instant::now();
        let directory = Directory::open(&options.directory, options.partitions)?;
        let base = Base::open(&directory.base, options.base_cache_bytes, directory.is_new)?;
        let base = Arc::new(base.with_compaction_of(options.compaction_bytes));
        let recovered =
            recover(&directory.log, &base, options.dirty_bytes_max, options.progress.as_ref())?;
        if recovered.replayed.last_lsn > 0 {
            directory.refuse_unfinished()?;
        }
        let report = RecoveryReport {
            is_new: directory.is_new,
            commits: recovered.replayed.records,
            bytes: recovered.replayed.record_bytes,
            last: Lsn(recovered.replayed.last_lsn),
            cut: recovered.replayed.cut.clone(),
            elapsed: began.elapsed(),
        };
        if report.commits > 0 || report.cut.is_some() {
            tracing::info!(
                directory = %options.directory.display(),
                commits = report.commits,
                bytes = report.bytes,
                cut_bytes = report.cut.as_ref().map_or(0, |cut| cut.bytes),
                elapsed = ?report.elapsed,
                "recovered"
            );
        }
        let store = Self::start(options, directory, base, recovered)?;
        Ok((Arc::new(store), report))
    }

    /// The id that the application got when its directory was made.
    #[must_use]
    pub fn application(&self) -> Uuid {
        self.application
    }

    fn start(
        options: EmbeddedOptions,
        directory: Directory,
        base: Arc<Base>,
        recovered: Recovered,
    ) -> Result<Self, StoreError> {
        let signals = Arc::new(Signals::default());
        let durable = Arc::new(AtomicU64::new(0));
        let last_lsn = recovered.replayed.last_lsn;
        let log = Arc::new(Log::new(
            last_lsn,
            recovered.replayed.record_bytes,
            Arc::clone(&durable),
            Arc::clone(&signals),
        ));
        let segment_bytes = options.segment_bytes;
        let free_max = (options.log_bytes_max / segment_bytes) as usize + 1;
        let segments = Arc::new(Segments::new(
            &directory.log,
            recovered.replayed.existing,
            (segment_bytes, free_max),
            durable,
            options.faults,
        ));
        let writer = Writer {
            log: Arc::clone(&log),
            segments: Arc::clone(&segments),
            signals: Arc::clone(&signals),
            gather_max: options.gather_max,
            segment: segments.first(FIRST_SEGMENT_BYTES.min(segment_bytes))?,
            kept_bytes: options.unsynced_bytes_max as usize / 4,
        };
        directory.finish()?;
        let disk = Arc::new(Disk {
            log,
            segments: Arc::clone(&segments),
            readers: Readers::start(options.reader_threads, &directory.base)?,
            base: Arc::clone(&base),
            signals: Arc::clone(&signals),
            trigger: Trigger::default(),
            spans: Mutex::new(recovered.spans),
            dirty_bytes: AtomicU64::new(recovered.layer.bytes() as u64),
            covered_bytes: AtomicU64::new(0),
            dirty_bytes_max: options.dirty_bytes_max,
            log_bytes_max: options.log_bytes_max,
            unsynced_bytes_max: options.unsynced_bytes_max,
        });
        disk.base.pace().follow(&disk);
        let shards = Arc::new(Shards::default());
        let compactor = Arc::new(Compactor::new(Arc::clone(&base), signals));
        let layer = (!recovered.layer.is_empty()).then(|| Arc::new(recovered.layer));
        let recovered_layer = Arc::new(Mutex::new(layer));
        let checkpointer = Checkpointer {
            disk: Arc::clone(&disk),
            shards: Arc::clone(&shards),
            compactor: Arc::clone(&compactor),
            recovered: Arc::clone(&recovered_layer),
            recovered_lsn: last_lsn,
            recovered_trimmed: recovered.trimmed.clone(),
            after_idle: options.checkpoint_after_idle,
        };
        let path = &options.directory;
        let compacting = Arc::clone(&compactor);
        let scrub = |interval| {
            let status = Arc::clone(&options.scrub_status);
            RunningScrub::start(base, status, interval, path)
        };
        let running = Running {
            sync: spawn("store-sync", path, move || writer.run())?,
            prepare: spawn("store-prepare", path, move || segments.prepare_ahead())?,
            checkpoint: spawn("store-checkpoint", path, move || checkpointer.run())?,
            compaction: spawn("store-compact", path, move || compacting.run())?,
            scrub: options.scrub_interval.map(scrub).transpose()?,
            _directory: directory,
        };
        Ok(Self {
            application: running._directory.application,
            is_new: running._directory.is_new,
            disk,
            shards,
            recovered: recovered_layer,
            trimmed: recovered.trimmed,
            compactor,
            running: Mutex::new(Some(running)),
        })
    }
}

impl Store for EmbeddedStore {
    fn open_shard(
        &self,
        shard: usize,
        partitions: &[Partition],
        waker: Waker,
    ) -> Result<Box<dyn ShardStore>, StoreError> {
        let (number, state) = self.shards.open(shard, partitions, |partitions| {
            let trimmed = self
                .trimmed
                .iter()
                .filter(|((sender, _), _)| partitions.binary_search(&Partition(*sender)).is_ok())
                .map(|(channel, number)| (*channel, *number))
                .collect();
            let recovered = lock(&self.recovered).clone();
            State::over_base(recovered, trimmed, self.is_new)
        })?;
        self.disk.signals.add(Arc::clone(&waker));
        Ok(Box::new(Shard {
            number,
            state,
            backing: Backing::Disk(Arc::clone(&self.disk)),
            waker,
            metas: Vec::new(),
        }))
    }

    fn rests(&self, shard: usize) {
        self.disk.log.rests(shard as u16);
    }

    fn close(&self) -> Result<(), StoreError> {
        let Some(running) = lock(&self.running).take() else {
            return self.disk.signals.check();
        };
        self.disk.trigger.stop();
        let mut joined = running.checkpoint.join().is_ok();
        self.compactor.stop();
        joined &= running.compaction.join().is_ok();
        self.disk.log.close();
        joined &= running.sync.join().is_ok();
        joined &= running.scrub.is_none_or(RunningScrub::stop);
        self.disk.segments.stop();
        joined &= running.prepare.join().is_ok();
        self.disk.readers.stop();
        self.disk.signals.check()?;
        if joined {
            Ok(())
        } else {
            Err(StoreError::Poisoned {
                cause: String::from("one of its threads panicked (see the message before)"),
            })
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // Whoever wants to know whether it went well calls `close`.
        let _ = self.close();
    }
}

/// Starts a named thread of the store in `path`.
pub(crate) fn spawn(
    name: &str,
    path: &Path,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| StoreError::io(path, error))
}
