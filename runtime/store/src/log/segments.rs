//! The set of segment files: one thread makes the next segment ahead of its use, and files that no
//! record is needed of any more become new ones. Which segments exist says what has to be replayed;
//! nothing else points into the log.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crate::StoreError;
use crate::log::segment::{
    Faults, Plan, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, free_path, sync_directory,
};
use crate::signals::lock;

/// A segment that takes no more records.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    /// No record in it has a higher position.
    pub(crate) last_lsn: u64,
}

/// What the set begins with after recovery.
#[derive(Debug)]
pub(crate) struct Existing {
    pub(crate) sealed: Vec<Sealed>,
    pub(crate) free: Vec<PathBuf>,
    pub(crate) next_number: u64,
    pub(crate) epoch: u64,
    /// The segment that the next one follows, and where its records end.
    pub(crate) last: Option<Last>,
}

/// The segment with which the log ended.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    pub(crate) end: u64,
}

#[derive(Debug)]
pub(crate) struct Segments {
    dir: PathBuf,
    epoch: u64,
    bytes: u64,
    /// Files kept for reuse at most; more are deleted.
    free_max: usize,
    durable: Arc<AtomicU64>,
    faults: Faults,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    ready: Option<Segment>,
    failed: Option<StoreError>,
    /// Bytes that the next segment must have at least, for a record larger than a segment.
    bytes_min: u64,
    next_number: u64,
    /// The segment in use: the next one says that it follows it.
    in_use: u64,
    /// What recovery is yet to cut.
    cut: Option<Last>,
    free: Vec<PathBuf>,
    sealed: Vec<Sealed>,
    stops: bool,
}

impl Segments {
    pub(crate) fn new(
        dir: &Path,
        existing: Existing,
        (bytes, free_max): (u64, usize),
        durable: Arc<AtomicU64>,
        faults: Faults,
    ) -> Self {
        Self {
            dir: dir.to_path_buf(),
            epoch: existing.epoch,
            bytes,
            free_max,
            durable,
            faults,
            state: Mutex::new(State {
                ready: None,
                failed: None,
                bytes_min: 0,
                next_number: existing.next_number,
                in_use: existing.last.as_ref().map_or(0, |last| last.number),
                cut: existing.last,
                free: existing.free,
                sealed: existing.sealed,
                stops: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Makes the first segment of this run, of `bytes` unless there is a file to reuse, and then cuts
    /// what recovery has not kept: a segment that is shorter than it says has one that follows it.
    pub(crate) fn first(&self, bytes: u64) -> Result<Segment, StoreError> {
        let first = self.make(self.claim(bytes))?;
        let cut = {
            let mut state = lock(&self.state);
            state.in_use = first.number;
            state.cut.take()
        };
        if let Some(last) = cut {
            let file = OpenOptions::new().write(true).open(&last.path);
            file.and_then(|file| file.set_len(last.end))
                .map_err(|error| StoreError::io(&last.path, error))?;
        }
        self.recycle(0)?;
        Ok(first)
    }

    /// The body of the thread that makes segments ahead.
    pub(crate) fn prepare_ahead(&self) {
        let mut state = lock(&self.state);
        loop {
            while !state.stops && (state.ready.is_some() || state.failed.is_some()) {
                state = self
                    .changed
                    .wait(state)
                    .expect("no thread of the store panics while it holds a lock");
            }
            // Also at the end: without one that follows it, nothing tells that the last one is lost.
            let bytes = match (state.stops, state.ready.is_some() || state.failed.is_some()) {
                (true, true) => return,
                (true, false) => SEGMENT_HEADER_BYTES as u64,
                (false, _) => self.bytes.max(state.bytes_min),
            };
            drop(state);
            let made = self.make(self.claim(bytes));
            state = lock(&self.state);
            match made {
                Ok(segment) => state.ready = Some(segment),
                Err(error) => state.failed = Some(error),
            }
            self.changed.notify_all();
        }
    }

    /// The next segment, with room for a record of `record_bytes`. Waits for it to be made.
    pub(crate) fn take(&self, record_bytes: usize) -> Result<Segment, StoreError> {
        let mut state = lock(&self.state);
        // A failure from before may have passed (a full disk): it counts only when it repeats now.
        if state.failed.take().is_some() {
            self.changed.notify_all();
        }
        loop {
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            if let Some(segment) = state.ready.take() {
                self.changed.notify_all();
                if segment.has_room_for(record_bytes) {
                    state.bytes_min = 0;
                    state.in_use = segment.number;
                    return Ok(segment);
                }
                state.bytes_min = (SEGMENT_HEADER_BYTES + record_bytes) as u64;
                state.sealed.push(Sealed {
                    path: segment.path,
                    number: segment.number,
                    last_lsn: 0,
                });
            }
            state = self
                .changed
                .wait(state)
                .expect("no thread of the store panics while it holds a lock");
        }
    }

    /// Notes that `segment` takes no more records.
    pub(crate) fn seal(&self, segment: &Segment, last_lsn: u64) {
        lock(&self.state).sealed.push(Sealed {
            path: segment.path.clone(),
            number: segment.number,
            last_lsn,
        });
    }

    /// Gives up the segments of which no record above `checkpoint` is needed. The one with the last
    /// durable record stays, so that the log always says how far it went.
    pub(crate) fn recycle(&self, checkpoint: u64) -> Result<(), StoreError> {
        let durable = self.durable.load(Ordering::Acquire);
        let mut state = lock(&self.state);
        let (done, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.sealed).into_iter().partition(|sealed| {
                let last = sealed.last_lsn;
                last == 0 || (last <= checkpoint && last < durable)
            });
        state.sealed = kept;
        let mut room = self.free_max.saturating_sub(state.free.len());
        drop(state);
        let mut freed = Vec::new();
        for sealed in &done {
            let io = |error| StoreError::io(&sealed.path, error);
            let bytes = std::fs::metadata(&sealed.path).map_err(io)?.len();
            if room > 0 && bytes == self.bytes {
                let free = free_path(&self.dir, sealed.number);
                std::fs::rename(&sealed.path, &free).map_err(io)?;
                freed.push(free);
                room -= 1;
            } else {
                std::fs::remove_file(&sealed.path).map_err(io)?;
            }
        }
        if !done.is_empty() {
            // Only after this may a header be overwritten: a segment under its name is always whole.
            sync_directory(&self.dir)?;
        }
        lock(&self.state).free.extend(freed);
        Ok(())
    }

    pub(crate) fn stop(&self) {
        lock(&self.state).stops = true;
        self.changed.notify_all();
    }

    fn claim(&self, bytes: u64) -> Claim {
        let mut state = lock(&self.state);
        let number = state.next_number;
        state.next_number += 1;
        let recycled = if bytes <= self.bytes { state.free.pop() } else { None };
        Claim { number, previous: state.in_use, bytes, recycled }
    }

    fn make(&self, claim: Claim) -> Result<Segment, StoreError> {
        let header = SegmentHeader {
            number: claim.number,
            epoch: self.epoch,
            durable: self.durable.load(Ordering::Acquire),
            previous: claim.previous,
            bytes: 0,
        };
        let plan = Plan { dir: &self.dir, bytes: claim.bytes, recycled: claim.recycled };
        Segment::create(plan, header, &self.faults)
    }
}

/// A segment that is to be made.
struct Claim {
    number: u64,
    previous: u64,
    bytes: u64,
    recycled: Option<PathBuf>,
}
