//! The group-commit log of the process: the authority for what is durable, and in which order. Shards
//! append to a buffer in memory, one thread writes and syncs it. What is durable is always a prefix
//! of what was appended.

pub(crate) mod chain;
pub(crate) mod read_ahead;
pub(crate) mod record;
pub(crate) mod recover;
pub(crate) mod segment;
pub(crate) mod segments;
pub(crate) mod writer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crc32fast::Hasher;

use crate::StoreError;
use crate::log::record::{ALIGNMENT, BODY_BYTES_MAX, Header, Kind};
use crate::signals::{Signals, lock};

/// From this length on a record makes no more room in the buffer than it needs.
const LONG_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Log {
    shared: Mutex<Shared>,
    /// There is something to write, or the log closes.
    work: Condvar,
    /// More is durable, or nothing ever will be.
    progress: Condvar,
    durable: Arc<AtomicU64>,
    /// `Shared::busy`, to be looked at without the lock; may hold bits that are not set there any more.
    busy: AtomicU64,
    /// Bytes of all records, those that recovery replayed among them.
    appended_bytes: AtomicU64,
    signals: Arc<Signals>,
}

#[derive(Debug)]
struct Shared {
    buffer: Vec<u8>,
    /// A bit per shard that has appended to the buffer and has not come to rest since (shards share the
    /// bits from the 65th on).
    busy: u64,
    /// The sync thread waits for them.
    gathers: bool,
    /// Bytes that are being written.
    writing: usize,
    last_lsn: u64,
    /// Position of the last commit; marks come after it.
    last_commit: u64,
    closes: bool,
}

impl Log {
    /// A log that goes on behind `last_lsn`, all of which is durable.
    /// `bytes` of it are not in the base yet.
    pub(crate) fn new(
        last_lsn: u64,
        bytes: u64,
        durable: Arc<AtomicU64>,
        signals: Arc<Signals>,
    ) -> Self {
        durable.store(last_lsn, Ordering::Release);
        Self {
            shared: Mutex::new(Shared {
                buffer: Vec::new(),
                busy: 0,
                gathers: false,
                writing: 0,
                last_lsn,
                last_commit: last_lsn,
                closes: false,
            }),
            work: Condvar::new(),
            progress: Condvar::new(),
            durable,
            busy: AtomicU64::new(0),
            appended_bytes: AtomicU64::new(bytes),
            signals,
        }
    }

    /// Appends a commit; `metas` and `ops` are the two halves of its body.
    pub(crate) fn append(&self, shard: u16, metas: &[u8], ops: &[u8]) -> Result<u64, StoreError> {
        let body_bytes = metas.len() + ops.len();
        if body_bytes > BODY_BYTES_MAX {
            return Err(StoreError::Unstorable {
                problem: format!("it has {body_bytes} bytes; at most {BODY_BYTES_MAX} fit"),
            });
        }
        let mut hasher = Hasher::new();
        hasher.update(metas);
        hasher.update(ops);
        let mut header = Header {
            lsn: 0,
            durable: 0,
            body_bytes: body_bytes as u32,
            body_crc: hasher.finalize(),
            shard,
            kind: Kind::Commit,
        };
        let mut shared = lock(&self.shared);
        self.signals.check()?;
        if shared.closes {
            return Err(StoreError::Poisoned { cause: String::from("it was closed") });
        }
        shared.last_lsn += 1;
        shared.last_commit = shared.last_lsn;
        header.lsn = shared.last_lsn;
        let was_empty = shared.buffer.is_empty();
        if body_bytes >= LONG_BYTES {
            shared.buffer.reserve_exact(header.record_bytes() + ALIGNMENT);
        }
        shared.buffer.extend_from_slice(&header.unsealed());
        shared.buffer.extend_from_slice(metas);
        shared.buffer.extend_from_slice(ops);
        let padded = shared.buffer.len().next_multiple_of(ALIGNMENT);
        shared.buffer.resize(padded, 0);
        shared.busy |= shard_bit(shard);
        drop(shared);
        self.appended_bytes.fetch_add(header.record_bytes() as u64, Ordering::Relaxed);
        self.busy.fetch_or(shard_bit(shard), Ordering::Relaxed);
        if was_empty {
            self.work.notify_one();
        }
        Ok(header.lsn)
    }

    /// The thread of a shard has nothing to do until it is woken: what it has appended need not wait for
    /// more from it.
    pub(crate) fn rests(&self, shard: u16) {
        let bit = shard_bit(shard);
        // Only the shard itself sets its bit; where it is shared, a wait ends late at worst.
        if self.busy.load(Ordering::Relaxed) & bit == 0 {
            return;
        }
        self.busy.fetch_and(!bit, Ordering::Relaxed);
        let mut shared = lock(&self.shared);
        shared.busy &= !bit;
        let is_awaited = shared.busy == 0 && shared.gathers;
        drop(shared);
        if is_awaited {
            self.work.notify_one();
        }
    }

    /// Position of the last record, marks included.
    pub(crate) fn last_lsn(&self) -> u64 {
        lock(&self.shared).last_lsn
    }

    /// Position of the last commit appended by any shard.
    pub(crate) fn last_commit(&self) -> u64 {
        lock(&self.shared).last_commit
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that wait for the disk, and those that are being written.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        let shared = lock(&self.shared);
        (shared.buffer.len() + shared.writing) as u64
    }

    /// Waits until everything up to `lsn` is durable.
    pub(crate) fn wait_durable(&self, lsn: u64) -> Result<(), StoreError> {
        let mut shared = lock(&self.shared);
        while self.durable() < lsn {
            self.signals.check()?;
            shared = self
                .progress
                .wait(shared)
                .expect("no thread of the store panics while it holds a lock");
        }
        Ok(())
    }

    /// Makes the sync thread write what is left and end.
    pub(crate) fn close(&self) {
        lock(&self.shared).closes = true;
        self.work.notify_one();
    }
}

fn shard_bit(shard: u16) -> u64 {
    1 << (shard % 64)
}
