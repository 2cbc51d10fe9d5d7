//! What one shard has in memory: its live layer, the frozen one that a checkpoint is writing, and how
//! far its outboxes are trimmed. The shard's thread works on it under a lock that only a checkpoint
//! ever contends for, and only to freeze and to drop a layer.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_engine::{Commit, Fence, Op, PartMeta, Trim, keys};
use rustc_hash::FxHashMap;

use crate::StoreError;
use crate::log::record::encode_meta;
use crate::merge::{Captured, Limit, Merged, Ranges};
use crate::overlay::Layer;

/// Sender and receiver of a channel, as in its keys.
pub(crate) type Channel = (u16, u16);

/// Bytes of an outbox key without its number.
const CHANNEL_PREFIX_BYTES: usize = 5;

/// Operations of a commit whose keys are looked up before the first is applied.
const LOOKED_UP_TOGETHER: usize = 16;

/// Where a key was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Value(Bytes),
    /// Deleted: no need to look further.
    Deleted,
    /// Neither layer knows the key.
    Unknown,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    live: Layer,
    frozen: Option<Arc<Layer>>,
    /// The highest number of each channel that the receiver has taken: none of these is there any more.
    trimmed: FxHashMap<Channel, u64>,
    /// By partition: who may write it, and the number of its last commit, as far as this process knows.
    heads: FxHashMap<u16, (Fence, u64)>,
    numbers: Numbers,
    /// Deletes leave tombstones: something older may hold the key.
    leaves_tombstones: bool,
    key: Vec<u8>,
}

impl State {
    /// The state of a memory store's shard: nothing lies beneath it.
    pub(crate) fn of_memory() -> Self {
        Self::default()
    }

    /// The state of a shard over a base. `recovered` is what recovery replayed, for all shards.
    pub(crate) fn over_base(
        recovered: Option<Arc<Layer>>,
        trimmed: FxHashMap<Channel, u64>,
        is_new: bool,
    ) -> Self {
        Self {
            frozen: recovered,
            trimmed,
            numbers: Numbers { all_known: is_new, ..Numbers::default() },
            leaves_tombstones: true,
            ..Self::default()
        }
    }

    /// The state into which recovery replays. Over a base that is not empty no insert counts as fresh
    /// until [`State::is_beyond_base`]: the base may hold it.
    pub(crate) fn of_replay(is_base_empty: bool) -> Self {
        Self {
            numbers: Numbers {
                all_known: is_base_empty,
                never_fresh: !is_base_empty,
                ..Numbers::default()
            },
            leaves_tombstones: true,
            ..Self::default()
        }
    }

    /// Whatever is applied from now on is not in the base.
    pub(crate) fn is_beyond_base(&mut self) {
        self.numbers.never_fresh = false;
        self.numbers.generation += 1;
    }

    pub(crate) fn live_bytes(&self) -> usize {
        self.live.bytes()
    }

    /// Notes what is stored of a partition, unless this process has committed to it already.
    pub(crate) fn opened(&mut self, meta: &PartMeta) {
        self.heads.entry(meta.partition.0).or_insert((meta.fence, meta.seq));
    }

    /// Whether the commit is to be taken: not when it was taken before.
    pub(crate) fn admit(&self, commit: &Commit) -> Result<bool, StoreError> {
        let admitted = commit.admit(|partition| self.heads.get(&partition.0).copied());
        admitted.map_err(|(part, why)| StoreError::Unstorable {
            problem: format!("partition {}: commit {}: {}", part.partition, part.seq, why.why()),
        })
    }

    /// Takes the commit's rows.
    pub(crate) fn apply(&mut self, commit: &Commit) {
        for meta in &commit.parts {
            self.heads.insert(meta.partition.0, (meta.fence, meta.seq));
            self.put_meta(meta);
        }
        let mut ops = commit.ops.iter();
        let mut together = Vec::with_capacity(LOOKED_UP_TOGETHER);
        loop {
            together.extend(ops.by_ref().take(LOOKED_UP_TOGETHER));
            if together.is_empty() {
                break;
            }
            self.live.look_up(together.iter().map(|op| {
                let (Op::Put { key, .. } | Op::Delete { key }) = *op;
                key
            }));
            together.drain(..).for_each(|op| self.apply_op(op));
        }
        for trim in &commit.trims {
            self.trim(*trim);
        }
    }

    pub(crate) fn put_meta(&mut self, meta: &PartMeta) {
        part_meta_key(&mut self.key, meta.partition.0);
        self.live.put(&self.key, &encode_meta(meta), false);
    }

    pub(crate) fn apply_op(&mut self, op: Op<'_>) {
        match op {
            Op::Put { key, value } => {
                let fresh = keys::is_never_reused(key[0]) && self.numbers.is_fresh(key);
                if !self.is_trimmed(key) {
                    self.live.put(key, value, fresh);
                }
            }
            Op::Delete { key } => self.live.delete(key, self.leaves_tombstones),
        }
    }

    /// Drops outbox entries that the receiver has taken. Those in older layers are not seen any more,
    /// and later checkpoints delete them.
    pub(crate) fn trim(&mut self, trim: Trim) {
        let trimmed = self.trimmed.entry((trim.from.0, trim.to.0)).or_insert(0);
        if trim.upto <= *trimmed {
            return;
        }
        *trimmed = trim.upto;
        self.live.trim((trim.from.0, trim.to.0), trim.upto);
    }

    pub(crate) fn trimmed(&self, channel: Channel) -> u64 {
        self.trimmed.get(&channel).copied().unwrap_or(0)
    }

    /// Whether `key` is an outbox entry that was trimmed.
    fn is_trimmed(&self, key: &[u8]) -> bool {
        key[0] == keys::SPACE_OUTBOX
            && outbox_entry(key).is_some_and(|(channel, number)| number <= self.trimmed(channel))
    }

    pub(crate) fn get(&self, key: &[u8]) -> Found {
        if key.is_empty() || self.is_trimmed(key) {
            return Found::Deleted;
        }
        match self.live.get(key).or_else(|| self.frozen.as_ref()?.get(key)) {
            Some(Some(value)) => Found::Value(Bytes::copy_from_slice(value)),
            Some(None) => Found::Deleted,
            None => Found::Unknown,
        }
    }

    /// What the layers say of `ranges`, up to `limit` values.
    pub(crate) fn capture(&self, ranges: &Ranges, mut limit: Limit) -> Captured {
        let nothing = Layer::default();
        let frozen = self.frozen.as_deref().unwrap_or(&nothing);
        let mut captured = Captured::default();
        for (from, to) in ranges {
            for (key, value) in Merged::new(self.live.range(from, to), frozen.range(from, to)) {
                if limit.hides(key) {
                    continue;
                }
                captured
                    .rows
                    .push((Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice)));
                if value.is_some_and(|value| limit.is_reached_with(key, value)) {
                    captured.is_cut = true;
                    return captured;
                }
            }
        }
        captured
    }

    /// `from..to` without the parts that were trimmed: a scan never walks over those.
    pub(crate) fn untrimmed(&self, from: Vec<u8>, to: Vec<u8>) -> Ranges {
        let outbox = [keys::SPACE_OUTBOX];
        let touches_outbox = from[..] < [keys::SPACE_OUTBOX + 1][..] && to[..] > outbox[..];
        if !touches_outbox {
            return vec![(from, to)];
        }
        let mut gone: Vec<(Vec<u8>, Vec<u8>)> = self
            .trimmed
            .iter()
            .map(|((sender, receiver), number)| {
                let prefix = channel_prefix((*sender, *receiver));
                let mut end = prefix.to_vec();
                end.extend_from_slice(&(number + 1).to_be_bytes());
                (prefix.to_vec(), end)
            })
            .filter(|(start, end)| *start < to && *end > from)
            .collect();
        gone.sort_unstable();
        let mut ranges = Vec::with_capacity(gone.len() + 1);
        let mut at = from;
        for (start, end) in gone {
            if at < start {
                ranges.push((at, start));
            }
            at = end;
        }
        if at < to {
            ranges.push((at, to));
        }
        ranges
    }

    /// Makes the live layer the frozen one, and begins a new live layer.
    pub(crate) fn freeze(&mut self) -> Arc<Layer> {
        debug_assert!(self.frozen.is_none());
        let frozen = Arc::new(std::mem::take(&mut self.live));
        self.frozen = Some(Arc::clone(&frozen));
        self.numbers.generation += 1;
        frozen
    }

    /// Lets the frozen layer go: the base holds it now.
    pub(crate) fn drop_frozen(&mut self) -> Option<Arc<Layer>> {
        self.frozen.take()
    }

    /// Takes the live layer out: a replay writes it to the base, or is at its end.
    pub(crate) fn take_live(&mut self) -> Layer {
        self.numbers.generation += 1;
        std::mem::take(&mut self.live)
    }
}

/// Overwrites `key` with that of the row that holds a partition's last commit's meta.
pub(crate) fn part_meta_key(key: &mut Vec<u8>, partition: u16) {
    key.clear();
    key.push(keys::SPACE_META);
    key.extend_from_slice(&partition.to_be_bytes());
    key.push(b'p');
}

/// Whether `key` is that of a [`part_meta_key`].
pub(crate) fn is_part_meta(key: &[u8]) -> bool {
    matches!(key, [keys::SPACE_META, _, _, b'p'])
}

pub(crate) fn channel_prefix((sender, receiver): Channel) -> [u8; CHANNEL_PREFIX_BYTES] {
    let (sender, receiver) = (sender.to_be_bytes(), receiver.to_be_bytes());
    [keys::SPACE_OUTBOX, sender[0], sender[1], receiver[0], receiver[1]]
}

/// Channel and number of an outbox entry's key.
pub(crate) fn outbox_entry(key: &[u8]) -> Option<(Channel, u64)> {
    let [keys::SPACE_OUTBOX, s0, s1, r0, r1, number @ ..] = key else {
        return None;
    };
    let number = u64::from_be_bytes(number.try_into().ok()?);
    let channel = (u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*r0, *r1]));
    Some((channel, number))
}

/// Tells puts of keys that no older layer can hold. Keys of queues and timers end in a number that
/// never falls (per partition the arrival, per channel and egress the entry's number): a number above
/// all those of older layers is new.
#[derive(Debug, Default)]
struct Numbers {
    groups: FxHashMap<u64, Group>,
    /// Counts freezes.
    generation: u64,
    /// A group that was not seen yet has never been written: true for a new store.
    all_known: bool,
    /// Numbers are only noted: what is applied may be in the base.
    never_fresh: bool,
}

#[derive(Debug, Default)]
struct Group {
    high: u64,
    /// Numbers from here on are in the live layer only.
    fresh_from: u64,
    generation: u64,
}

impl Numbers {
    /// Whether the key of a never reused space is new; notes its number.
    fn is_fresh(&mut self, key: &[u8]) -> bool {
        let Some((number, group)) = Self::group_of(key) else {
            return false;
        };
        let generation = self.generation;
        let all_known = self.all_known;
        let group = self.groups.entry(group).or_insert_with(|| Group {
            high: number,
            fresh_from: if all_known { 0 } else { number + 1 },
            generation,
        });
        if group.generation != generation {
            group.generation = generation;
            group.fresh_from = group.high + 1;
        }
        group.high = group.high.max(number);
        !self.never_fresh && number >= group.fresh_from
    }

    /// The number at the end of a key, and the group within which numbers never fall. Groups that
    /// share a slot by chance share the higher number, which only makes fewer keys fresh.
    fn group_of(key: &[u8]) -> Option<(u64, u64)> {
        let (prefix, number) = key.split_last_chunk::<8>()?;
        let number = u64::from_be_bytes(*number);
        let group = match *prefix {
            [keys::SPACE_PENDING | keys::SPACE_DUE, p0, p1, ..] => {
                (u64::from(p0) << 8) | u64::from(p1)
            }
            [keys::SPACE_OUTBOX, s0, s1, r0, r1] => {
                (1 << 32) | u64::from(u32::from_be_bytes([s0, s1, r0, r1]))
            }
            [keys::SPACE_EGRESS, ..] => (1 << 63) | u64::from(crc32fast::hash(prefix)),
            _ => return None,
        };
        Some((number, group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_protocol::Partition;

    fn outbox_key(number: u64) -> Vec<u8> {
        let mut key = Vec::new();
        keys::outbox(&mut key, Partition(1), Partition(2), number);
        key
    }

    fn put(state: &mut State, number: u64) {
        state.apply_op(Op::Put { key: &outbox_key(number), value: b"m" });
    }

    fn over_base(is_new: bool) -> State {
        State::over_base(None, FxHashMap::default(), is_new)
    }

    fn delete(state: &mut State, number: u64) {
        let key = outbox_key(number);
        state.apply_op(Op::Delete { key: &key });
    }

    #[test]
    fn insert_and_delete_vanish_only_in_one_unfrozen_layer() {
        let mut state = over_base(true);
        put(&mut state, 1);
        delete(&mut state, 1);
        assert!(state.live.is_empty());
        put(&mut state, 2);
        state.freeze();
        delete(&mut state, 2);
        assert_eq!(state.live.len(), 1, "the frozen layer holds the insert");
        put(&mut state, 3);
        delete(&mut state, 3);
        assert_eq!(state.live.len(), 1);
    }

    #[test]
    fn a_repeated_insert_is_not_taken_for_a_new_one() {
        let mut state = over_base(true);
        put(&mut state, 5);
        state.freeze();
        state.drop_frozen();
        put(&mut state, 5);
        delete(&mut state, 5);
        assert_eq!(state.get(&outbox_key(5)), Found::Deleted, "the base holds 5");
    }

    #[test]
    fn nothing_that_the_base_may_hold_vanishes_during_a_replay() {
        let mut state = State::of_replay(false);
        put(&mut state, 1);
        put(&mut state, 2);
        delete(&mut state, 1);
        state.is_beyond_base();
        delete(&mut state, 2);
        // An insert once more, and the first one of a channel that may have older ones.
        put(&mut state, 2);
        delete(&mut state, 2);
        for number in [1, 2] {
            assert_eq!(state.get(&outbox_key(number)), Found::Deleted, "{number}");
        }
        put(&mut state, 3);
        delete(&mut state, 3);
        assert_eq!(state.get(&outbox_key(3)), Found::Unknown);
        let mut unseen = State::of_replay(false);
        unseen.is_beyond_base();
        put(&mut unseen, 3);
        delete(&mut unseen, 3);
        assert_eq!(unseen.get(&outbox_key(3)), Found::Deleted);
    }

    #[test]
    fn over_an_empty_base_queues_vanish_until_a_replay_writes_them() {
        let mut state = State::of_replay(true);
        put(&mut state, 1);
        delete(&mut state, 1);
        assert_eq!(state.get(&outbox_key(1)), Found::Unknown);
        put(&mut state, 2);
        drop(state.take_live());
        delete(&mut state, 2);
        assert_eq!(state.get(&outbox_key(2)), Found::Deleted, "the base holds it");
    }

    #[test]
    fn after_recovery_the_first_number_of_a_queue_may_be_in_the_base() {
        let mut state = over_base(false);
        for number in [7, 8] {
            put(&mut state, number);
            delete(&mut state, number);
        }
        assert_eq!(state.get(&outbox_key(7)), Found::Deleted);
        assert_eq!(state.get(&outbox_key(8)), Found::Unknown);
    }

    #[test]
    fn trimmed_numbers_are_cut_out_of_scans() {
        let mut state = over_base(true);
        let trim = |to: u16, upto| Trim { from: Partition(1), to: Partition(to), upto };
        state.trim(trim(2, 9));
        state.trim(trim(4, 1));
        let prefix = |to: u16| channel_prefix((1, to)).to_vec();
        let from = |to: u16, number: u64| [&prefix(to)[..], &number.to_be_bytes()].concat();
        assert_eq!(
            state.untrimmed(prefix(1), prefix(5)),
            [(prefix(1), prefix(2)), (from(2, 10), prefix(4)), (from(4, 2), prefix(5))]
        );
        assert_eq!(state.untrimmed(from(2, 3), from(2, 8)), []);
        assert_eq!(state.untrimmed(from(2, 12), prefix(3)), [(from(2, 12), prefix(3))]);
        assert_eq!(state.untrimmed(b"p".to_vec(), b"q".to_vec()).len(), 1);
    }
}
