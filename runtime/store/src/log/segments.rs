//! The set of segment files: one thread makes the next segment ahead of its use, and files that no
//! record is needed of any more become new ones. Which segments exist says what has to be replayed;
//! nothing else points into the log.

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
                free: existing.free,
                sealed: existing.sealed,
                stops: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Makes the first segment of this run, of `bytes` unless there is a file to reuse, and then
    /// gives up those that recovery has cut.
    pub(crate) fn first(&self, bytes: u64) -> Result<Segment, StoreError> {
        let (number, recycled) = self.claim(bytes);
        let first = self.make(number, bytes, recycled)?;
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
            if state.stops {
                return;
            }
            let bytes = self.bytes.max(state.bytes_min);
            drop(state);
            let (number, recycled) = self.claim(bytes);
            let made = self.make(number, bytes, recycled);
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

    /// Gives up the segments of which no record above `checkpoint` is needed.
    pub(crate) fn recycle(&self, checkpoint: u64) -> Result<(), StoreError> {
        let mut state = lock(&self.state);
        let (done, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut state.sealed)
            .into_iter()
            .partition(|sealed| sealed.last_lsn <= checkpoint);
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

    fn claim(&self, bytes: u64) -> (u64, Option<PathBuf>) {
        let mut state = lock(&self.state);
        let number = state.next_number;
        state.next_number += 1;
        let recycled = if bytes <= self.bytes { state.free.pop() } else { None };
        (number, recycled)
    }

    fn make(
        &self,
        number: u64,
        bytes: u64,
        recycled: Option<PathBuf>,
    ) -> Result<Segment, StoreError> {
        let header = SegmentHeader {
            number,
            epoch: self.epoch,
            durable: self.durable.load(Ordering::Acquire),
        };
        let plan = Plan { dir: &self.dir, bytes, recycled };
        Segment::create(plan, &header, &self.faults)
    }
}
