//! From the files to what is in memory at a start: replays the log over the base into one layer, then
//! drops outbox entries that their receivers' marks have trimmed. Marks count only after the whole
//! replay: a mark may stand behind the entries that it trims.

use std::path::Path;
use std::sync::Arc;

use dormouse_engine::codec::Reader;
use dormouse_engine::{commit::OpIter, keys};
use dormouse_protocol::Partition;
use rustc_hash::FxHashMap;

use crate::StoreError;
use crate::base::{Base, Snapshot};
use crate::checkpoint::{ToWrite, checkpoint_of};
use crate::embedded::ProgressCallback;
use crate::log::record::decode_body;
use crate::log::recover::{RecoveryProgress, Replayed, Sink, replay};
use crate::outboxes::{Spans, decode_span, span_keys};
use crate::overlay::Layer;
use crate::state::{Channel, State, outbox_entry};

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
    spans: Spans,
    bytes_max: u64,
    progress: Option<&'a ProgressCallback>,
}

impl Sink for Replaying<'_> {
    fn take(&mut self, body: &[u8]) -> Result<(), StoreError> {
        let unreadable = |problem: String| StoreError::Unstorable { problem };
        let (metas, ops) = decode_body(body).map_err(|error| unreadable(error.to_string()))?;
        for meta in &metas {
            self.state.put_meta(meta);
        }
        let mut ops = OpIter::new(ops);
        for op in ops.by_ref() {
            self.state.apply_op(op);
        }
        if ops.is_damaged() {
            return Err(unreadable(String::from(
                "an operation cannot be read although the record's checksum fits",
            )));
        }
        Ok(())
    }

    /// Keeps memory within bounds: what a replay keeps can be more than what the shards kept, whose
    /// queue entries vanish with their deletes.
    fn is_durable_up_to(&mut self, lsn: u64) -> Result<(), StoreError> {
        if self.state.live_bytes() as u64 <= self.bytes_max {
            return Ok(());
        }
        let replayed = std::mem::replace(&mut self.state, State::of_replay()).into_live();
        // No mark counts before the end of the replay: trimmed entries go with a later checkpoint.
        let to_write = ToWrite { layers: vec![&replayed], dead: &[], floor: lsn };
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
    let checkpoint = checkpoint_of(&base.snapshot())?;
    let mut replaying = Replaying {
        state: State::of_replay(),
        spans: spans_of(&base.snapshot())?,
        base,
        bytes_max,
        progress,
    };
    let replayed = replay(log, checkpoint, &mut replaying)?;
    let Replaying { state, spans, .. } = replaying;
    let mut layer = state.into_live();
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
    channels
        .extend(layer.space(keys::SPACE_OUTBOX).filter_map(|(key, _)| Some(outbox_entry(key)?.0)));
    channels.sort_unstable();
    channels.dedup();
    let mut trimmed = FxHashMap::default();
    let (mut first, mut last, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
    for (sender, receiver) in channels {
        let (from, to) = (Partition(sender), Partition(receiver));
        keys::mark(&mut scratch, to, from);
        let mark = match layer.get(&scratch) {
            Some(cell) => cell.value().map(<[u8]>::to_vec),
            None => base.get(&scratch)?.map(|value| value.to_vec()),
        };
        let Some(taken) = mark.map(|mark| mark_number(&mark)).transpose()? else {
            continue;
        };
        trimmed.insert((sender, receiver), taken);
        keys::outbox(&mut first, from, to, 0);
        keys::outbox(&mut last, from, to, taken);
        layer.forget_range(&first, &last, &mut scratch);
    }
    Ok(trimmed)
}

/// The highest number that a receiver's mark says was taken.
fn mark_number(mark: &[u8]) -> Result<u64, StoreError> {
    let mut reader = Reader::new(mark);
    reader.varint("epoch").and_then(|_| reader.varint("highest number")).map_err(|error| {
        StoreError::Unstorable { problem: format!("a channel's mark is a {error}") }
    })
}
