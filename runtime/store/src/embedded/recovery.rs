//! From the files to what is in memory at a start: replays the log over the base into one layer, and
//! drops outbox entries that their receivers' marks have trimmed: those in the log as the marks come by,
//! the rest when all is replayed, since a mark may also stand in the base, or behind its entries there.

use std::path::Path;
use std::sync::Arc;

use dormouse_engine::codec::Reader;
use dormouse_engine::{Op, Trim, commit::OpIter, keys};
use dormouse_protocol::Partition;
use rustc_hash::FxHashMap;

use crate::StoreError;
use crate::base::{Base, Snapshot};
use crate::checkpoint::{Covered, ToWrite, covered_by};
use crate::embedded::ProgressCallback;
use crate::log::record::decode_body;
use crate::log::recover::{RecoveryProgress, Replayed, Sink, replay};
use crate::outboxes::{Spans, decode_span, span_keys};
use crate::overlay::Layer;
use crate::state::{Channel, State};

/// What a start found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) replayed: Replayed,
    /// Everything that the log has, newest values and tombstones.
    pub(crate) layer: Layer,
    /// Outbox entries in the base.
    pub(crate) spans: Spans,
    /// How far the receivers have taken channels that have entries.
    pub(crate) trimmed: FxHashMap<Channel, u64>,
}

struct Replaying<'a> {
    state: State,
    base: &'a Base,
    covered: Covered,
    /// The replay has passed everything that the base may hold.
    is_beyond_base: bool,
    spans: Spans,
    bytes_max: u64,
    progress: Option<&'a ProgressCallback>,
}

impl Sink for Replaying<'_> {
    fn take(&mut self, lsn: u64, body: &[u8]) -> Result<(), StoreError> {
        let unreadable = |problem: String| StoreError::Unstorable { problem };
        if lsn > self.covered.top && !self.is_beyond_base {
            self.is_beyond_base = true;
            self.state.is_beyond_base();
        }
        let (metas, ops) = decode_body(body).map_err(|error| unreadable(error.to_string()))?;
        for meta in &metas {
            self.state.put_meta(meta);
        }
        let mut ops = OpIter::new(ops);
        for op in ops.by_ref() {
            self.state.apply_op(op);
            if let Op::Put { key, value } = op
                && let Some(trim) = trim_of(key, value)?
            {
                self.state.trim(trim);
            }
        }
        if ops.is_damaged() {
            return Err(unreadable(String::from(
                "an operation cannot be read although the record's checksum fits",
            )));
        }
        Ok(())
    }

    /// Keeps memory within bounds: a replay keeps about what the shards kept, which may have been twice
    /// their bound.
    fn is_durable_up_to(&mut self, lsn: u64) -> Result<(), StoreError> {
        if self.state.live_bytes() as u64 <= self.bytes_max {
            return Ok(());
        }
        let replayed = self.state.take_live();
        self.covered = Covered { floor: lsn, top: self.covered.top.max(lsn) };
        // What the base holds already and is trimmed goes with a later checkpoint.
        let to_write = ToWrite { layers: vec![&replayed], dead: &[], covered: self.covered };
        to_write.write(self.base, &mut self.spans)
    }

    fn progress(&mut self, progress: RecoveryProgress) {
        if let Some(callback) = self.progress {
            callback(progress);
        }
    }
}

/// Recovers from the log in `log` over `base`.
pub(crate) fn recover(
    log: &Path,
    base: &Arc<Base>,
    bytes_max: u64,
    progress: Option<&ProgressCallback>,
) -> Result<Recovered, StoreError> {
    let covered = covered_by(&base.snapshot())?;
    let mut replaying = Replaying {
        state: State::of_replay(base.is_empty()),
        is_beyond_base: base.is_empty(),
        spans: spans_of(&base.snapshot())?,
        base,
        covered,
        bytes_max,
        progress,
    };
    let replayed = replay(log, covered, &mut replaying)?;
    let Replaying { mut state, spans, .. } = replaying;
    let mut layer = state.take_live();
    let trimmed = trim_by_marks(&mut layer, &spans, &base.snapshot())?;
    Ok(Recovered { replayed, layer, spans, trimmed })
}

/// The outbox entries that the base says it holds.
fn spans_of(base: &Snapshot) -> Result<Spans, StoreError> {
    let mut spans = Spans::default();
    let (from, to) = span_keys();
    for row in base.range(&from, &to) {
        let (key, value) = row?;
        let (channel, span) = decode_span(&key, &value).map_err(|error| {
            StoreError::Unstorable { problem: format!("the base's note of an outbox is a {error}") }
        })?;
        spans.insert(channel, span);
    }
    Ok(spans)
}

/// Drops the entries that receivers have taken from `layer`; says how far each channel is taken.
fn trim_by_marks(
    layer: &mut Layer,
    spans: &Spans,
    base: &Snapshot,
) -> Result<FxHashMap<Channel, u64>, StoreError> {
    let mut channels: Vec<Channel> = spans.keys().copied().collect();
    channels.extend(layer.channels());
    channels.sort_unstable();
    channels.dedup();
    let mut trimmed = FxHashMap::default();
    let mut key = Vec::new();
    for (sender, receiver) in channels {
        keys::mark(&mut key, Partition(receiver), Partition(sender));
        let mark = match layer.get(&key) {
            Some(cell) => cell.map(<[u8]>::to_vec),
            None => base.get(&key)?.map(|value| value.to_vec()),
        };
        let Some(taken) = mark.map(|mark| mark_number(&mark)).transpose()? else {
            continue;
        };
        trimmed.insert((sender, receiver), taken);
        layer.trim((sender, receiver), taken);
    }
    Ok(trimmed)
}

/// What a row of a receiver's mark says its sender may forget; `None` for every other row.
fn trim_of(key: &[u8], value: &[u8]) -> Result<Option<Trim>, StoreError> {
    let [keys::SPACE_META, r0, r1, b'i', s0, s1] = *key else {
        return Ok(None);
    };
    Ok(Some(Trim {
        from: Partition(u16::from_be_bytes([s0, s1])),
        to: Partition(u16::from_be_bytes([r0, r1])),
        upto: mark_number(value)?,
    }))
}

/// The highest number that a receiver's mark says was taken.
fn mark_number(mark: &[u8]) -> Result<u64, StoreError> {
    let mut reader = Reader::new(mark);
    reader.varint("epoch").and_then(|_| reader.varint("highest number")).map_err(|error| {
        StoreError::Unstorable { problem: format!("a channel's mark is a {error}") }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dormouse_engine::Commit;

    use super::*;
    use crate::conformance::{open_shard, wait_durable};
    use crate::embedded::{EmbeddedOptions, EmbeddedStore};
    use crate::state::outbox_entry;
    use crate::{ShardStore, Store};

    fn open(place: &Path) -> Arc<EmbeddedStore> {
        let mut options = EmbeddedOptions::new(place, 8);
        options.checkpoint_after_idle = Duration::from_secs(3_600);
        // A replay makes room between segments.
        options.segment_bytes = 32 << 10;
        EmbeddedStore::open(options).unwrap().0
    }

    /// What is in memory after the replay of a log that `fill` wrote; at most 10 KB may be.
    fn replayed(place: &Path, fill: impl FnOnce(&mut dyn ShardStore)) -> (Recovered, Arc<Base>) {
        let store = open(place);
        let mut shard = open_shard(&*store, 0, &[0, 1]);
        fill(&mut *shard);
        let last = shard.append(&Commit::default()).unwrap();
        wait_durable(&*shard, last).unwrap();
        store.close().unwrap();
        let base = Arc::new(Base::open(&place.join("base"), 1 << 20, false).unwrap());
        let recovered = recover(&place.join("log"), &base, 10_000, None).unwrap();
        (recovered, base)
    }

    fn pending(arrival: u64) -> Vec<u8> {
        let mut key = keys::space_prefix(keys::SPACE_PENDING, Partition(0));
        key.extend_from_slice(&arrival.to_be_bytes());
        key
    }

    fn outbox(number: u64) -> Vec<u8> {
        let mut key = Vec::new();
        keys::outbox(&mut key, Partition(0), Partition(1), number);
        key
    }

    fn append(shard: &mut dyn ShardStore, fill: impl FnOnce(&mut Commit)) {
        let mut commit = Commit::default();
        fill(&mut commit);
        shard.append(&commit).unwrap();
    }

    /// 100 KB of messages, each of them done soon after.
    fn work_off(shard: &mut dyn ShardStore) {
        for arrival in 11..1_011 {
            append(shard, |commit| {
                commit.ops.put(&pending(arrival), &[7; 100]);
                commit.ops.delete(&pending(arrival - 10));
            });
        }
    }

    #[test]
    fn a_replay_keeps_no_more_of_a_queue_than_the_shard_did() {
        let place = tempfile::tempdir().unwrap();
        let (recovered, base) = replayed(place.path(), |shard| work_off(shard));
        assert!(base.is_empty(), "the replay had to make room");
        // The last ten, and tombstones of ten that were never inserted.
        assert_eq!(recovered.layer.len(), 20);
    }

    #[test]
    fn over_a_checkpoint_as_well() {
        let place = tempfile::tempdir().unwrap();
        let store = open(place.path());
        let mut shard = open_shard(&*store, 0, &[0, 1]);
        for arrival in 1..11 {
            append(&mut *shard, |commit| commit.ops.put(&pending(arrival), b"message"));
        }
        let last = shard.append(&Commit::default()).unwrap();
        wait_durable(&*shard, last).unwrap();
        store.close().unwrap();
        drop((shard, store));
        // The next start writes a checkpoint.
        let store = open(place.path());
        while checkpoint(&store.disk.base).floor < last.0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        store.close().unwrap();
        drop(store);
        let (recovered, base) = replayed(place.path(), |shard| work_off(shard));
        assert_eq!(checkpoint(&base).top, last.0 + 1, "the mark; the replay made no room");
        // Beside those above the first insert, which might not be the first of its queue.
        assert_eq!(recovered.layer.len(), 21);
    }

    fn checkpoint(base: &Arc<Base>) -> Covered {
        covered_by(&base.snapshot()).unwrap()
    }

    #[test]
    fn what_the_base_may_hold_beyond_its_position_leaves_tombstones() {
        let place = tempfile::tempdir().unwrap();
        {
            let store = open(place.path());
            let mut shard = open_shard(&*store, 0, &[0, 1]);
            append(&mut *shard, |commit| commit.ops.put(&pending(1), b"message"));
            append(&mut *shard, |commit| commit.ops.put(&pending(2), b"message"));
            let last = shard.append(&Commit::default()).unwrap();
            wait_durable(&*shard, last).unwrap();
            // Another shard froze before the first of these, this one behind the second.
            let mut state = State::of_replay(true);
            for arrival in [1, 2] {
                state.apply_op(Op::Put { key: &pending(arrival), value: b"message" });
            }
            let covered = Covered { floor: 0, top: last.0 };
            let layer = state.take_live();
            let to_write = ToWrite { layers: vec![&layer], dead: &[], covered };
            to_write.write(&store.disk.base, &mut Spans::default()).unwrap();
            store.close().unwrap();
        }
        // Not through a start, whose checkpoint would cover the log.
        let log = place.path().join("log");
        let base = Arc::new(Base::open(&place.path().join("base"), 1 << 20, false).unwrap());
        assert!(base.snapshot().get(&pending(2)).unwrap().is_some());
        let mut replaying = Replaying {
            state: State::of_replay(false),
            base: &base,
            covered: checkpoint(&base),
            is_beyond_base: false,
            spans: Spans::default(),
            bytes_max: 10_000,
            progress: None,
        };
        let replayed = replay(&log, replaying.covered, &mut replaying).unwrap();
        assert_eq!(replayed.records, 2, "both are in the log as well");
        let mut body = Vec::new();
        crate::log::record::encode_metas(&mut body, &[]);
        let mut deletes = dormouse_engine::commit::OpBuffer::default();
        deletes.delete(&pending(2));
        body.extend_from_slice(deletes.as_bytes());
        replaying.take(replayed.last_lsn + 1, &body).unwrap();
        assert_eq!(replaying.state.get(&pending(2)), crate::state::Found::Deleted);
    }

    #[test]
    fn a_replay_forgets_outbox_entries_as_their_receivers_take_them() {
        let place = tempfile::tempdir().unwrap();
        let (recovered, base) = replayed(place.path(), |shard| {
            for number in 1..=1_000 {
                append(shard, |commit| commit.ops.put(&outbox(number), &[7; 100]));
                append(shard, |commit| {
                    let mut key = Vec::new();
                    keys::mark(&mut key, Partition(1), Partition(0));
                    let mut mark = vec![0];
                    dormouse_engine::codec::put_varint(&mut mark, number.saturating_sub(2));
                    commit.ops.put(&key, &mark);
                });
            }
        });
        assert!(base.is_empty(), "the replay had to make room");
        let entries: Vec<_> =
            recovered.layer.sent().map(|(key, _)| outbox_entry(key).unwrap().1).collect();
        assert_eq!(entries, [999, 1_000]);
        assert_eq!(recovered.trimmed.get(&(0, 1)), Some(&998));
    }
}
