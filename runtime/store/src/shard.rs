//! A shard's handle, of both stores: applies commits to the shard's state and appends them to the log
//! (if there is one), reads layers first and the base behind them.

use std::future::ready;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dormouse_engine::{Commit, Op, Opened, keys};
use dormouse_protocol::Partition;

use crate::base::{KEY_BYTES_MAX, OWN_SPACE};
use crate::embedded::Disk;
use crate::log::record::{decode_meta, encode_metas};
use crate::merge::Limit;
use crate::signals::lock;
use crate::state::{Found, State, is_part_meta};
use crate::{Lsn, ReadFuture, Rows, ShardStore, StoreError, Waker};

/// Where a shard's commits go.
#[derive(Clone, Debug)]
pub(crate) enum Backing {
    /// Nowhere: durable when appended. The number of the last commit of the process.
    Memory(Arc<AtomicU64>),
    Disk(Arc<Disk>),
}

/// The handle that a shard works with.
pub(crate) struct Shard {
    pub(crate) number: u16,
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) backing: Backing,
    pub(crate) waker: Waker,
    /// Reused by each append.
    pub(crate) metas: Vec<u8>,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("number", &self.number).finish_non_exhaustive()
    }
}

impl ShardStore for Shard {
    fn open(&mut self, partition: Partition) -> ReadFuture<Opened> {
        let from = keys::space_prefix(keys::SPACE_META, partition);
        let to = keys::prefix_end(&from).unwrap_or_default();
        let limit = Limit { rows: usize::MAX, bytes: usize::MAX, hides_part_metas: false };
        let rows = self.rows(from, to, limit);
        let state = Arc::clone(&self.state);
        Box::pin(async move {
            let mut opened = Opened::default();
            for (key, value) in rows.await?.0 {
                if is_part_meta(&key) {
                    let meta = decode_meta(partition, &value);
                    let meta = meta.map_err(|error| StoreError::Unstorable {
                        problem: format!("the meta row of partition {partition} is a {error}"),
                    })?;
                    lock(&state).opened(&meta);
                    opened.meta = Some(meta);
                } else {
                    opened.rows.push((key, value));
                }
            }
            Ok(opened)
        })
    }

    fn append(&mut self, commit: &Commit) -> Result<Lsn, StoreError> {
        let writes = !commit.parts.is_empty() || !commit.ops.is_empty();
        if !writes && commit.trims.is_empty() {
            return self.last_commit();
        }
        check(commit)?;
        if let Backing::Disk(disk) = &self.backing {
            disk.signals.check()?;
        }
        let mut state = lock(&self.state);
        if !state.admit(commit)? {
            drop(state);
            return self.last_commit();
        }
        // Under the shard's lock, so that a freeze finds each record either whole in the layer that it
        // freezes, or above the position at which it froze.
        let lsn = match &self.backing {
            Backing::Memory(last) if writes => last.fetch_add(1, Ordering::AcqRel) + 1,
            Backing::Memory(last) => last.load(Ordering::Acquire),
            Backing::Disk(disk) if writes => {
                encode_metas(&mut self.metas, &commit.parts);
                disk.log.append(self.number, &self.metas, commit.ops.as_bytes())?
            }
            Backing::Disk(disk) => {
                disk.signals.check()?;
                disk.log.last_commit()
            }
        };
        let before = state.live_bytes();
        state.apply(commit);
        if let Backing::Disk(disk) = &self.backing {
            disk.note_dirty(before, state.live_bytes());
        }
        drop(state);
        match &self.backing {
            Backing::Memory(_) => (self.waker)(),
            Backing::Disk(disk) => disk.ask_for_checkpoint_if_due(),
        }
        Ok(Lsn(lsn))
    }

    fn durable(&self) -> Result<Lsn, StoreError> {
        match &self.backing {
            Backing::Memory(last) => Ok(Lsn(last.load(Ordering::Acquire))),
            Backing::Disk(disk) => {
                disk.signals.check()?;
                Ok(Lsn(disk.log.durable()))
            }
        }
    }

    fn get(&mut self, keys: Vec<Vec<u8>>, bytes_max: usize) -> ReadFuture<Vec<Option<Bytes>>> {
        let mut values = Vec::with_capacity(keys.len());
        let mut unknown = Vec::new();
        let mut left = bytes_max.max(1);
        let state = lock(&self.state);
        for (at, key) in keys.into_iter().enumerate() {
            let (value, is_unknown) = match state.get(&key) {
                Found::Value(value) => (Some(value), false),
                Found::Deleted => (None, false),
                Found::Unknown => (None, true),
            };
            left = left.saturating_sub(value.as_ref().map_or(0, Bytes::len));
            values.push(value);
            if is_unknown {
                unknown.push((at, key));
            }
            if left == 0 {
                break;
            }
        }
        let (Backing::Disk(disk), false) = (&self.backing, unknown.is_empty()) else {
            return Box::pin(ready(Ok(values)));
        };
        if disk.base.is_empty() {
            return Box::pin(ready(Ok(values)));
        }
        // Still under the lock: what leaves the frozen layer after this is in the snapshot.
        let snapshot = disk.base.snapshot();
        drop(state);
        disk.readers.read(move || {
            // From the beginning once more: what the layers have counts behind what the base has.
            let mut left = bytes_max.max(1);
            let mut unknown = unknown.into_iter().peekable();
            for at in 0..values.len() {
                if let Some((_, key)) = unknown.next_if(|(unknown, _)| *unknown == at) {
                    values[at] = snapshot.get(&key)?;
                }
                left = left.saturating_sub(values[at].as_ref().map_or(0, Bytes::len));
                if left == 0 {
                    values.truncate(at + 1);
                    break;
                }
            }
            Ok(values)
        })
    }

    fn scan(
        &mut self,
        from: Vec<u8>,
        to: Vec<u8>,
        rows_max: usize,
        bytes_max: usize,
    ) -> ReadFuture<(Rows, bool)> {
        let limit = Limit { rows: rows_max, bytes: bytes_max, hides_part_metas: true };
        self.rows(from, to, limit)
    }

    fn is_saturated(&self) -> bool {
        match &self.backing {
            Backing::Memory(_) => false,
            Backing::Disk(disk) => disk.is_saturated(),
        }
    }
}

impl Shard {
    fn last_commit(&self) -> Result<Lsn, StoreError> {
        match &self.backing {
            Backing::Memory(last) => Ok(Lsn(last.load(Ordering::Acquire))),
            Backing::Disk(disk) => {
                disk.signals.check()?;
                Ok(Lsn(disk.log.last_commit()))
            }
        }
    }

    /// Rows of all layers and the base.
    fn rows(&self, mut from: Vec<u8>, to: Vec<u8>, limit: Limit) -> ReadFuture<(Rows, bool)> {
        if from.first().is_none_or(|space| *space <= OWN_SPACE) {
            from = vec![OWN_SPACE + 1];
        }
        let state = lock(&self.state);
        let ranges = state.untrimmed(from, to);
        let captured = state.capture(&ranges, limit);
        let Backing::Disk(disk) = &self.backing else {
            return Box::pin(ready(Ok(captured.into_rows())));
        };
        if disk.base.is_empty() || !disk.may_hold(&ranges) {
            return Box::pin(ready(Ok(captured.into_rows())));
        }
        let snapshot = disk.base.snapshot();
        drop(state);
        disk.readers
            .read(move || captured.over(&ranges, limit, |from, to| snapshot.range(from, to)))
    }
}

/// Refuses what no store could keep, before anything of it is taken.
fn check(commit: &Commit) -> Result<(), StoreError> {
    let mut ops = commit.ops.iter();
    for op in ops.by_ref() {
        let (Op::Put { key, .. } | Op::Delete { key }) = op;
        if key.len() > KEY_BYTES_MAX {
            return Err(StoreError::Unstorable {
                problem: format!("a key of {} bytes; at most {KEY_BYTES_MAX} fit", key.len()),
            });
        }
        if key.first().is_none_or(|space| *space <= OWN_SPACE) {
            return Err(StoreError::Unstorable { problem: String::from("a key without a space") });
        }
    }
    if ops.is_damaged() {
        return Err(StoreError::Unstorable {
            problem: String::from("its operations cannot be read"),
        });
    }
    Ok(())
}
