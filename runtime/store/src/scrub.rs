//! Reads what nobody asks for, so that damage is found while there is still a copy to restore from. In a
//! running store a thread checks the tables of the base against their checksums, slowly; on demand a
//! whole data directory is checked that no process has open.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dormouse_engine::commit::OpIter;

use crate::StoreError;
use crate::base::files::{self, TableFile};
use crate::base::{Base, damage};
use crate::checkpoint::covered_by;
use crate::embedded::directory::Directory;
use crate::embedded::spawn;
use crate::log::record::decode_body;
use crate::log::recover::{RecoveryProgress, Sink, inspect};
use crate::signals::lock;

/// Bytes that the background scrub reads per second at most: a base that is too large for this takes
/// longer than its interval.
pub const SCRUB_BYTES_PER_SECOND_MAX: u64 = 32 << 20;
/// Bytes that it reads per second at least: a small base is checked at once, then it rests.
pub const SCRUB_BYTES_PER_SECOND_MIN: u64 = 1 << 20;
/// Memory for blocks of the base while a data directory is checked on demand.
const CACHE_BYTES: u64 = 1 << 20;

/// What the background scrub of a running store has done; shared with whoever reports it.
#[derive(Debug, Default)]
pub struct ScrubStatus {
    bytes: AtomicU64,
    passes: AtomicU64,
    damaged: AtomicU64,
}

impl ScrubStatus {
    /// Bytes of the base read and checked so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Times that the whole base was checked.
    #[must_use]
    pub fn passes(&self) -> u64 {
        self.passes.load(Ordering::Relaxed)
    }

    /// Files of the base that are damaged, as far as is known.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }
}

/// A scrub that runs in the background.
#[derive(Debug)]
pub(crate) struct RunningScrub {
    scrubber: Arc<Scrubber>,
    thread: JoinHandle<()>,
}

impl RunningScrub {
    /// Starts to check `base` in `path` once per interval.
    pub(crate) fn start(
        base: Arc<Base>,
        status: Arc<ScrubStatus>,
        interval: Duration,
        path: &Path,
    ) -> Result<Self, StoreError> {
        let (stops, changed) = (Mutex::new(false), Condvar::new());
        let scrubber = Arc::new(Scrubber { base, status, interval, stops, changed });
        let running = Arc::clone(&scrubber);
        let thread = spawn("store-scrub", path, move || running.run())?;
        Ok(Self { scrubber, thread })
    }

    /// Ends it; false when it has panicked.
    pub(crate) fn stop(self) -> bool {
        *lock(&self.scrubber.stops) = true;
        self.scrubber.changed.notify_all();
        self.thread.join().is_ok()
    }
}

/// The background scrub: checks the whole base once per interval.
#[derive(Debug)]
struct Scrubber {
    base: Arc<Base>,
    status: Arc<ScrubStatus>,
    interval: Duration,
    stops: Mutex<bool>,
    changed: Condvar,
}

impl Scrubber {
    /// The body of the scrub thread.
    fn run(&self) {
        loop {
            let began = Instant::now();
            if !self.pass() || !self.rest(self.interval.saturating_sub(began.elapsed())) {
                return;
            }
        }
    }

    /// Checks all tables once; false when it is to stop.
    fn pass(&self) -> bool {
        let tables = self.base.tables(|_| true);
        let sizes = tables.iter().filter_map(|table| table.path.metadata().ok());
        let total: u64 = sizes.map(|metadata| metadata.len()).sum();
        let rate = (total / self.interval.as_secs().max(1))
            .clamp(SCRUB_BYTES_PER_SECOND_MIN, SCRUB_BYTES_PER_SECOND_MAX);
        let mut damaged = 0;
        for table in &tables {
            let is_whole = files::is_whole(table, |bytes| {
                self.status.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                self.rest(Duration::from_micros(bytes as u64 * 1_000_000 / rate))
            });
            match is_whole {
                Ok(None) => return false,
                Ok(Some(true)) => continue,
                // Compaction may have given it up meanwhile.
                _ if !self.base.tables(|_| true).contains(table) => continue,
                Ok(Some(false)) => drop(damage::of_table(table, "found by the scrub")),
                Err(error) => tracing::error!(%error, "the scrub cannot read a file"),
            }
            damaged += 1;
            // At once when it is found; a later pass may find it replaced.
            self.status.damaged.fetch_max(damaged, Ordering::Relaxed);
        }
        self.status.damaged.store(damaged, Ordering::Relaxed);
        self.status.passes.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Waits; false when it is to stop.
    fn rest(&self, how_long: Duration) -> bool {
        let stops = lock(&self.stops);
        let (stops, _) = self
            .changed
            .wait_timeout_while(stops, how_long, |stops| !*stops)
            .expect("no thread of the store panics while it holds a lock");
        !*stops
    }
}

/// What a check of a whole data directory found.
#[derive(Debug, Default)]
pub struct ScrubReport {
    /// Commits in the log that can be read.
    pub commits: u64,
    /// Tables of the base.
    pub tables: usize,
    /// Bytes of these tables.
    pub table_bytes: u64,
    /// Everything that is damaged or missing.
    pub damage: Vec<StoreError>,
}

/// Checks all that carries information in a data directory which no process has open. An error is
/// about what hinders the check; damage is in the report.
pub fn scrub(directory: &Path) -> Result<ScrubReport, StoreError> {
    let mut report = ScrubReport::default();
    let Some(directory) = report.note(Directory::open_existing(directory))? else {
        return Ok(report);
    };
    let tables = report.note(files::tables(&directory.base))?;
    for table in tables.iter().flatten() {
        report.check_table(table)?;
    }
    let mut covered = None;
    if report.damage.is_empty() {
        let base = report.note(Base::open(&directory.base, CACHE_BYTES, false))?;
        if let Some(base) = base {
            covered = report.note(covered_by(&Arc::new(base).snapshot()))?;
        }
    }
    let mut reading = Reading { commits: 0 };
    let log = inspect(&directory.log, covered, &mut reading);
    report.note(log)?;
    report.commits = reading.commits;
    Ok(report)
}

impl ScrubReport {
    /// Keeps an error that is damage; passes others on.
    fn note<T>(&mut self, checked: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match checked {
            Ok(checked) => Ok(Some(checked)),
            Err(error) if error.is_damage() => {
                self.damage.push(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn check_table(&mut self, table: &TableFile) -> Result<(), StoreError> {
        self.tables += 1;
        let mut read = 0;
        let is_whole = files::is_whole(table, |bytes| {
            read += bytes as u64;
            true
        })?;
        self.table_bytes += read;
        if is_whole == Some(false) {
            self.damage.push(damage::of_table(table, "found by the scrub"));
        }
        Ok(())
    }
}

/// Reads each commit to its end and keeps nothing.
struct Reading {
    commits: u64,
}

impl Sink for Reading {
    fn take(&mut self, _: u64, body: &[u8]) -> Result<(), StoreError> {
        let unreadable = |problem: String| StoreError::Unstorable { problem };
        let (_, ops) = decode_body(body).map_err(|error| unreadable(error.to_string()))?;
        let mut ops = OpIter::new(ops);
        ops.by_ref().for_each(drop);
        if ops.is_damaged() {
            return Err(unreadable(String::from("an operation cannot be read")));
        }
        self.commits += 1;
        Ok(())
    }

    fn is_durable_up_to(&mut self, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn progress(&mut self, _: RecoveryProgress) {}
}
