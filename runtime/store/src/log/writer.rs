//! The sync thread: takes what all shards have appended since its last round, writes it, syncs once,
//! and publishes how far the log is durable. It goes on at once while there is something to write.
//! The first failed write or sync ends it for good.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use crate::StoreError;
use crate::log::record::{HEADER_BYTES, Header, Kind, seal, unsealed_record};
use crate::log::segment::Segment;
use crate::log::segments::Segments;
use crate::log::{Log, Shared};
use crate::signals::{Signals, lock};

/// How long the log idles before it notes that its last commit is durable: from then on damage to
/// that commit is told from a torn tail.
const MARK_AFTER: Duration = Duration::from_millis(5);

/// Longest that a commit waits for others before it is written, as long as their shards are at work.
pub(crate) const GATHER_MAX: Duration = Duration::from_micros(500);

/// Bytes that are written without waiting for more.
const GATHER_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) log: Arc<Log>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) signals: Arc<Signals>,
    /// [`GATHER_MAX`], but for tests.
    pub(crate) gather_max: Duration,
    pub(crate) segment: Segment,
    /// Memory that each of the two buffers keeps between rounds, in bytes.
    pub(crate) kept_bytes: usize,
}

impl Writer {
    /// The body of the sync thread; returns after `close`, or when the store is poisoned.
    pub(crate) fn run(mut self) {
        let mut batch = Vec::new();
        let mut has_mark = true;
        while self.next_batch(&mut batch, &mut has_mark) {
            match self.write(&mut batch) {
                Ok(last) => self.publish(last),
                Err(error) => {
                    self.signals.poison(&error);
                    break;
                }
            }
        }
        // Under the lock, so that whoever checks and then waits for progress misses nothing.
        drop(lock(&self.log.shared));
        self.log.progress.notify_all();
    }

    /// Waits for something to write and takes it; false when the log is closed and all is written.
    fn next_batch(&self, batch: &mut Vec<u8>, has_mark: &mut bool) -> bool {
        batch.clear();
        batch.shrink_to(self.kept_bytes);
        let mut shared = lock(&self.log.shared);
        while shared.buffer.is_empty() {
            if *has_mark {
                if shared.closes {
                    return false;
                }
                shared = self
                    .log
                    .work
                    .wait(shared)
                    .expect("no thread of the store panics while it holds a lock");
                continue;
            }
            let (next, timeout) = self
                .log
                .work
                .wait_timeout(shared, MARK_AFTER)
                .expect("no thread of the store panics while it holds a lock");
            shared = next;
            if shared.buffer.is_empty() && (timeout.timed_out() || shared.closes) {
                shared.last_lsn += 1;
                let header = Header {
                    lsn: shared.last_lsn,
                    durable: 0,
                    body_bytes: 0,
                    body_crc: 0,
                    shard: 0,
                    kind: Kind::Mark,
                };
                shared.buffer.extend_from_slice(&header.unsealed());
                std::mem::swap(&mut shared.buffer, batch);
                *has_mark = true;
                return true;
            }
        }
        shared = self.gather(shared);
        std::mem::swap(&mut shared.buffer, batch);
        shared.writing = batch.len();
        *has_mark = false;
        true
    }

    /// Waits for more from the shards that have appended, as long as they are at work: a sync takes the
    /// processor time of several commits. Nobody waits for it without need: whoever could go on only
    /// when it is done lets its shard rest.
    fn gather<'l>(&'l self, mut shared: MutexGuard<'l, Shared>) -> MutexGuard<'l, Shared> {
        let until = Instant::now() + self.gather_max;
        shared.gathers = true;
        while shared.busy != 0 && !shared.closes && shared.buffer.len() < GATHER_BYTES_MAX {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.log.work.wait_timeout(shared, left);
            shared = waited.expect("no thread of the store panics while it holds a lock").0;
        }
        shared.gathers = false;
        shared.busy = 0;
        shared
    }

    /// Writes and syncs whole records; returns the position of the last one.
    fn write(&mut self, batch: &mut [u8]) -> Result<u64, StoreError> {
        let durable = self.log.durable.load(Ordering::Acquire);
        let mut last = durable;
        let mut start = 0;
        let mut end = 0;
        while end < batch.len() {
            let (record_bytes, lsn) = unsealed_record(&batch[end..]);
            if !self.segment.has_room_for(end - start + record_bytes) {
                self.segment.write(&batch[start..end])?;
                self.segment.sync()?;
                self.segments.seal(&self.segment, last);
                self.segment = self.segments.take(record_bytes)?;
                start = end;
            }
            seal(&mut batch[end..end + HEADER_BYTES], durable, &self.segment.seed);
            end += record_bytes;
            last = lsn;
        }
        self.segment.write(&batch[start..end])?;
        self.segment.sync()?;
        Ok(last)
    }

    fn publish(&self, last: u64) {
        {
            // Under the lock, so that whoever checks and then waits for progress misses nothing.
            let mut shared = lock(&self.log.shared);
            shared.writing = 0;
            self.log.durable.store(last, Ordering::Release);
        }
        self.log.progress.notify_all();
        self.signals.wake();
    }
}
