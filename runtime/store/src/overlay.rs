//! What one shard has written since the last checkpoint: keys with their newest value or a tombstone.
//! The shard writes the live layer; a frozen one is only read, and dropped once the base holds it.
//! Rows are kept as they are used: in a tree the spaces that are scanned in order, in queues the entries
//! of outboxes, in hash maps all others (the meta rows by partition, since a start reads those of one).

mod sent;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use dormouse_engine::keys;
use rustc_hash::FxHashMap;

use crate::keyed::{self, Keyed};
use crate::merge::Merged;
use crate::overlay::sent::{Sent, SentKey, sent_key};
use crate::state::Channel;

/// What an entry is reckoned to cost beside its key and value: map slots and allocations.
const ENTRY_BYTES: usize = 96;
/// A value that shrinks below a quarter of its allocation (and saves this much) is allocated anew.
const SLACK_BYTES: usize = 256;

/// Newest value of a key; `None`: deleted.
pub(crate) type Newest<'a> = Option<&'a [u8]>;

/// Newest value of a key of a tree or queue, and whether no older layer can know the key.
#[derive(Debug)]
struct Cell {
    value: Option<Vec<u8>>,
    fresh: bool,
}

impl Cell {
    fn value(&self) -> Newest<'_> {
        self.value.as_deref()
    }
}

/// One generation of writes of a shard.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    keyed: Keyed,
    meta: FxHashMap<u16, Keyed>,
    sent: Sent,
    sorted: BTreeMap<Box<[u8]>, Cell>,
    bytes: usize,
}

/// Where a row lies.
enum Place {
    Keyed,
    /// By partition.
    Meta(u16),
    Sent(Channel, SentKey),
    Sorted,
}

/// Where the row with this key lies.
fn place_of(key: &[u8]) -> Place {
    match *key {
        [keys::SPACE_META, p0, p1, ..] => Place::Meta(u16::from_be_bytes([p0, p1])),
        [keys::SPACE_OUTBOX, ..] => {
            sent_key(key).map_or(Place::Sorted, |(channel, key)| Place::Sent(channel, key))
        }
        [space, ..] if !keys::is_ordered(space) => Place::Keyed,
        _ => Place::Sorted,
    }
}

/// The partition within whose meta rows a range lies.
fn meta_partition(from: &[u8], to: &[u8]) -> Option<u16> {
    let [keys::SPACE_META, p0, p1, ..] = *from else {
        return None;
    };
    let end = keys::prefix_end(&[keys::SPACE_META, p0, p1])?;
    (*to <= *end).then_some(u16::from_be_bytes([p0, p1]))
}

impl Layer {
    /// Memory that the layer is reckoned to take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        let meta: usize = self.meta.values().map(Keyed::len).sum();
        self.keyed.len() + meta + self.sent.len() + self.sorted.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the layer says of `key`; `None` when it does not know it.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Newest<'_>> {
        match place_of(key) {
            Place::Keyed => self.keyed.get(key),
            Place::Meta(partition) => self.meta.get(&partition)?.get(key),
            Place::Sent(channel, key) => self.sent.get(channel, &key).map(Cell::value),
            Place::Sorted => self.sorted.get(key).map(Cell::value),
        }
    }

    /// Looks at keys that are about to be written, which changes nothing: the processor then waits for the
    /// memory of all of them at once.
    pub(crate) fn look_up<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        keyed::fetch(keys.filter_map(|key| match place_of(key) {
            Place::Keyed => self.keyed.guess(key),
            Place::Meta(partition) => self.meta.get(&partition)?.guess(key),
            Place::Sent(..) | Place::Sorted => None,
        }));
    }

    /// Puts `value`. `fresh` says that no older layer and not the base can hold the key.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], fresh: bool) {
        self.set(key, Some(value), fresh);
    }

    /// Leaves a tombstone, or nothing at all when nothing older can hold the key.
    pub(crate) fn delete(&mut self, key: &[u8], leaves_tombstones: bool) {
        if !leaves_tombstones {
            return self.forget(key);
        }
        match place_of(key) {
            Place::Sent(channel, key) if self.sent.get(channel, &key).is_some_and(|c| c.fresh) => {
                self.bytes -= self.sent.forget(channel, &key).unwrap_or_default();
            }
            Place::Sorted => self.delete_sorted(key),
            _ => self.set(key, None, false),
        }
    }

    fn delete_sorted(&mut self, key: &[u8]) {
        // Taken out at once: nearly all deletes are of fresh keys, and one search is half the work.
        match self.sorted.remove(key) {
            Some(cell) if cell.fresh && keys::is_never_reused(key[0]) => {
                self.bytes -= entry_bytes(key, cell.value.as_ref());
            }
            Some(mut cell) => {
                let freed = overwrite(&mut cell, None);
                self.bytes = self.bytes.strict_add_signed(freed);
                self.sorted.insert(key.into(), cell);
            }
            None => self.set(key, None, false),
        }
    }

    /// Drops what the layer knows of `key`.
    pub(crate) fn forget(&mut self, key: &[u8]) {
        let freed = match place_of(key) {
            Place::Keyed => self.keyed.forget(key).map(|row| ENTRY_BYTES + row),
            Place::Meta(partition) => {
                let row = self.meta.get_mut(&partition).and_then(|rows| rows.forget(key));
                row.map(|row| ENTRY_BYTES + row)
            }
            Place::Sent(channel, key) => self.sent.forget(channel, &key),
            Place::Sorted => {
                self.sorted.remove(key).map(|cell| entry_bytes(key, cell.value.as_ref()))
            }
        };
        self.bytes -= freed.unwrap_or_default();
    }

    /// Drops all outbox entries of a channel up to this number.
    pub(crate) fn trim(&mut self, channel: Channel, upto: u64) {
        self.bytes -= self.sent.trim(channel, upto);
    }

    fn set(&mut self, key: &[u8], value: Option<&[u8]>, fresh: bool) {
        let added = match place_of(key) {
            Place::Keyed => set_keyed(&mut self.keyed, key, value),
            Place::Meta(partition) => {
                set_keyed(self.meta.entry(partition).or_default(), key, value)
            }
            Place::Sent(channel, key) => self.sent.set(channel, &key, value, fresh),
            Place::Sorted => set_sorted(&mut self.sorted, key, value, fresh),
        };
        self.bytes = self.bytes.strict_add_signed(added);
    }

    /// Entries with `from <= key < to` in key order.
    pub(crate) fn range<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = (&'a [u8], Newest<'a>)> {
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let bounds = if from < to { bounds } else { (Bound::Included(to), Bound::Excluded(to)) };
        let sorted = self.sorted.range::<[u8], _>(bounds).map(|(key, cell)| (&**key, cell.value()));
        let sorted = Merged::new(sorted, self.sent.range(from, to));
        Merged::new(sorted, self.keyed_range(from, to).into_iter())
    }

    /// Entries of the hash maps in a range, sorted. Free for a range inside one sorted space.
    fn keyed_range<'a>(&'a self, from: &[u8], to: &[u8]) -> Vec<(&'a [u8], Newest<'a>)> {
        let first = from.first().copied().unwrap_or(0);
        let last = match to {
            [] => return Vec::new(),
            [space] => space.saturating_sub(1),
            [space, ..] => *space,
        };
        let spaces = first..=last;
        let mut maps: Vec<&Keyed> = Vec::new();
        if spaces.contains(&keys::SPACE_META) {
            match meta_partition(from, to) {
                Some(partition) => maps.extend(self.meta.get(&partition)),
                None => maps.extend(self.meta.values()),
            }
        }
        if spaces.into_iter().any(|space| !keys::is_ordered(space) && space != keys::SPACE_META) {
            maps.push(&self.keyed);
        }
        let is_within = |(key, _): &(&[u8], _)| from <= *key && *key < to;
        let mut entries: Vec<_> =
            maps.into_iter().flat_map(Keyed::iter).filter(is_within).collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        entries
    }

    /// All entries, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let sorted = self.sorted.iter().map(|(key, cell)| (&**key, cell.value()));
        let keyed = self.meta.values().chain([&self.keyed]).flat_map(Keyed::iter);
        sorted.chain(self.sent.iter()).chain(keyed)
    }

    /// Outbox entries, in no order of their channels.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (&[u8], Newest<'_>)> {
        self.sent.iter()
    }

    /// Channels that have outbox entries, in no order.
    pub(crate) fn channels(&self) -> impl Iterator<Item = Channel> {
        self.sent.channels()
    }
}

fn set_keyed(rows: &mut Keyed, key: &[u8], value: Option<&[u8]>) -> isize {
    let before = rows.len();
    let added = rows.set(key, value);
    added + ((rows.len() - before) * ENTRY_BYTES) as isize
}

fn set_sorted(
    sorted: &mut BTreeMap<Box<[u8]>, Cell>,
    key: &[u8],
    value: Option<&[u8]>,
    fresh: bool,
) -> isize {
    match sorted.entry(key.into()) {
        Entry::Occupied(mut entry) => overwrite(entry.get_mut(), value),
        Entry::Vacant(entry) => {
            let cell = Cell { value: value.map(<[u8]>::to_vec), fresh };
            let bytes = entry_bytes(key, cell.value.as_ref()) as isize;
            entry.insert(cell);
            bytes
        }
    }
}

/// Overwrites in place where the value fits; returns the change in bytes. Freshness stays: a key that
/// no older layer knew before is still unknown to them.
fn overwrite(cell: &mut Cell, value: Option<&[u8]>) -> isize {
    let before = value_bytes(cell.value.as_ref());
    match (&mut cell.value, value) {
        (Some(old), Some(new)) if new.len() + SLACK_BYTES >= old.capacity() / 4 => {
            old.clear();
            old.extend_from_slice(new);
        }
        (old, new) => *old = new.map(<[u8]>::to_vec),
    }
    value_bytes(cell.value.as_ref()) as isize - before as isize
}

fn entry_bytes(key: &[u8], value: Option<&Vec<u8>>) -> usize {
    ENTRY_BYTES + key.len() + value_bytes(value)
}

fn value_bytes(value: Option<&Vec<u8>>) -> usize {
    value.map_or(0, Vec::capacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUES: [&[u8]; 2] = [b"p1", b"o\0\x01\0\x02........"];

    #[test]
    fn a_fresh_key_of_a_queue_vanishes_with_its_delete() {
        for key in QUEUES {
            let mut layer = Layer::default();
            layer.put(key, b"message", true);
            layer.delete(key, true);
            assert!(layer.is_empty());
            assert_eq!(layer.bytes(), 0);
        }
    }

    #[test]
    fn a_key_that_older_layers_may_hold_leaves_a_tombstone() {
        for key in QUEUES {
            let mut layer = Layer::default();
            layer.put(key, b"message", false);
            layer.delete(key, true);
            assert_eq!(layer.get(key), Some(None));
        }
    }

    #[test]
    fn state_always_leaves_a_tombstone() {
        let mut layer = Layer::default();
        layer.put(b"s1", b"value", true);
        layer.delete(b"s1", true);
        assert_eq!(layer.get(b"s1"), Some(None));
    }

    #[test]
    fn bytes_are_those_of_what_is_there() {
        for key in [&b"s1"[..], b"p1", b"m\0\x01p", b"o\0\x01\0\x02........"] {
            let mut layer = Layer::default();
            for value in [&b"a"[..], &[7; 5000], b"", &[1; 300]] {
                layer.put(key, value, false);
                assert_eq!(layer.get(key), Some(Some(value)));
                let least = ENTRY_BYTES + key.len() + value.len();
                let most = least + 4 * (value.len() + SLACK_BYTES);
                assert!((least..=most).contains(&layer.bytes()), "{} bytes", layer.bytes());
            }
            layer.forget(key);
            assert_eq!(layer.bytes(), 0);
        }
    }

    #[test]
    fn a_range_has_the_rows_of_all_spaces_in_order() {
        let mut layer = Layer::default();
        let sent = "o\0\x01\0\x02........";
        for key in ["sb", "pa", "sa", "tz", "pb", "e1", "m\0\x02p", "m\0\x01o", sent] {
            layer.put(key.as_bytes(), b"", false);
        }
        let keys = |from: &str, to: &str| -> Vec<String> {
            layer
                .range(from.as_bytes(), to.as_bytes())
                .map(|(key, _)| String::from_utf8_lossy(key).into_owned())
                .collect()
        };
        assert_eq!(keys("pb", "t"), ["pb", "sa", "sb"]);
        assert_eq!(keys("p", "q"), ["pa", "pb"]);
        assert_eq!(keys("z", "a"), [""; 0]);
        assert_eq!(keys("f", "pb"), ["m\0\x01o", "m\0\x02p", sent, "pa"]);
        assert_eq!(keys("m\0\x01", "m\0\x02"), ["m\0\x01o"]);
        assert_eq!(layer.entries().count(), 9);
    }
}
