//! What one shard has written since the last checkpoint: keys with their newest value or a tombstone.
//! The shard writes the live layer; a frozen one is only read, and dropped once the base holds it.
//! Spaces that are scanned in order (and the few meta rows) are a tree, all others a hash map.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use dormouse_engine::keys;

use crate::keyed::Keyed;
use crate::merge::Merged;

/// What an entry is reckoned to cost beside its key and value: map slots and allocations.
const ENTRY_BYTES: usize = 96;
/// A value that shrinks below a quarter of its allocation (and saves this much) is allocated anew.
const SLACK_BYTES: usize = 256;

/// Newest value of a key; `None`: deleted.
pub(crate) type Newest<'a> = Option<&'a [u8]>;

/// Newest value of a key of a sorted space, and whether no older layer can know the key.
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
    sorted: BTreeMap<Box<[u8]>, Cell>,
    bytes: usize,
}

/// Whether keys of a space live in the tree rather than in the hash map.
fn is_sorted(space: u8) -> bool {
    keys::is_ordered(space) || space == keys::SPACE_META
}

impl Layer {
    /// Memory that the layer is reckoned to take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.keyed.len() + self.sorted.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the layer says of `key`; `None` when it does not know it.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Newest<'_>> {
        if is_sorted(key[0]) { self.sorted.get(key).map(Cell::value) } else { self.keyed.get(key) }
    }

    /// Looks at a key that is about to be written, and at nothing that depends on what it finds: done
    /// for some keys in a row, the processor waits for the memory of all of them at once.
    pub(crate) fn look_up(&self, key: &[u8]) {
        if !is_sorted(key[0]) {
            std::hint::black_box(self.keyed.get(key).is_some());
        }
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
        if !is_sorted(key[0]) {
            return self.set(key, None, false);
        }
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
        if !is_sorted(key[0]) {
            let freed = self.keyed.forget(key).map_or(0, |row| ENTRY_BYTES + row);
            self.bytes -= freed;
        } else if let Some(cell) = self.sorted.remove(key) {
            self.bytes -= entry_bytes(key, cell.value.as_ref());
        }
    }

    /// Drops all keys of the sorted space of `from` in `from..=last`; `scratch` saves allocations.
    pub(crate) fn forget_range(&mut self, from: &[u8], last: &[u8], scratch: &mut Vec<u8>) {
        let range = (Bound::Included(from), Bound::Included(last));
        while let Some((key, _)) = self.sorted.range::<[u8], _>(range).next() {
            scratch.clear();
            scratch.extend_from_slice(key);
            self.forget(scratch);
        }
    }

    fn set(&mut self, key: &[u8], value: Option<&[u8]>, fresh: bool) {
        let added = if is_sorted(key[0]) {
            set_sorted(&mut self.sorted, key, value, fresh)
        } else {
            let before = self.keyed.len();
            let added = self.keyed.set(key, value);
            added + ((self.keyed.len() - before) * ENTRY_BYTES) as isize
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
        Merged::new(sorted, self.keyed_range(from, to).into_iter())
    }

    /// Entries of the hash map in a range, sorted. Free for a range inside one sorted space.
    fn keyed_range<'a>(&'a self, from: &[u8], to: &[u8]) -> Vec<(&'a [u8], Newest<'a>)> {
        let first = from.first().copied().unwrap_or(0);
        let last = match to {
            [] => return Vec::new(),
            [space] => space.saturating_sub(1),
            [space, ..] => *space,
        };
        if (first..=last).all(is_sorted) {
            return Vec::new();
        }
        let is_within = |(key, _): &(&[u8], _)| from <= *key && *key < to;
        let mut entries: Vec<_> = self.keyed.iter().filter(is_within).collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        entries
    }

    /// All entries, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let sorted = self.sorted.iter().map(|(key, cell)| (&**key, cell.value()));
        sorted.chain(self.keyed.iter())
    }

    /// Entries of one sorted space, in order.
    pub(crate) fn space(&self, space: u8) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let bounds = (Bound::Included(&[space][..]), Bound::Excluded(&[space + 1][..]));
        self.sorted.range::<[u8], _>(bounds).map(|(key, cell)| (&**key, cell.value()))
    }
}

fn set_sorted(
    sorted: &mut BTreeMap<Box<[u8]>, Cell>,
    key: &[u8],
    value: Option<&[u8]>,
    fresh: bool,
) -> isize {
    // Meta rows are overwritten by nearly every commit: no key is allocated for that.
    if key[0] == keys::SPACE_META
        && let Some(cell) = sorted.get_mut(key)
    {
        return overwrite(cell, value);
    }
    match sorted.entry(key.into()) {
        Entry::Occupied(mut entry) => overwrite(entry.get_mut(), value),
        Entry::Vacant(entry) => {
            let cell = new_cell(value, fresh);
            let bytes = entry_bytes(key, cell.value.as_ref()) as isize;
            entry.insert(cell);
            bytes
        }
    }
}

fn new_cell(value: Option<&[u8]>, fresh: bool) -> Cell {
    Cell { value: value.map(<[u8]>::to_vec), fresh }
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

    #[test]
    fn a_fresh_key_of_a_queue_vanishes_with_its_delete() {
        let mut layer = Layer::default();
        layer.put(b"p1", b"message", true);
        layer.delete(b"p1", true);
        assert!(layer.is_empty());
        assert_eq!(layer.bytes(), 0);
    }

    #[test]
    fn a_key_that_older_layers_may_hold_leaves_a_tombstone() {
        let mut layer = Layer::default();
        layer.put(b"p1", b"message", false);
        layer.delete(b"p1", true);
        assert_eq!(layer.get(b"p1"), Some(None));
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
        for key in [&b"s1"[..], b"p1"] {
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
        for key in ["sb", "pa", "sa", "tz", "pb", "e1"] {
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
    }
}
