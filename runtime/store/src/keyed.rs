//! A hash map of rows whose keys and values are bytes: a row's key and value are one piece of memory, so
//! that writing one looks at memory three times, not five; a short one, such as a mark, lies in the map
//! itself. A layer keeps the spaces in it that are read by key alone.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;

/// A row that shrinks below a quarter of its allocation (and saves this much) is allocated anew.
const SLACK_BYTES: usize = 256;
/// Longest row that lies in the map, in bytes: marks and heads of channels, until their numbers are beyond
/// 200 million.
const SHORT_BYTES_MAX: usize = 24;

#[derive(Debug, Default)]
pub(crate) struct Keyed {
    rows: HashTable<Row>,
}

#[derive(Debug)]
pub(crate) struct Row {
    /// Key, then value.
    bytes: SmallVec<[u8; SHORT_BYTES_MAX]>,
    hash: u32,
    key_len: u32,
    is_deleted: bool,
}

impl Row {
    #[inline]
    fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len as usize]
    }

    /// `None`: a tombstone.
    fn value(&self) -> Option<&[u8]> {
        (!self.is_deleted).then(|| &self.bytes[self.key_len as usize..])
    }

    #[inline]
    fn is(&self, hash: u32, key: &[u8]) -> bool {
        self.hash == hash && self.key() == key
    }

    /// Overwrites in place where the value fits; returns the change in bytes.
    #[inline]
    fn overwrite(&mut self, value: Option<&[u8]>) -> isize {
        let before = self.bytes.capacity();
        let new = value.unwrap_or_default();
        let needed = self.key_len as usize + new.len();
        self.bytes.truncate(self.key_len as usize);
        if needed + SLACK_BYTES < before / 4 {
            let mut bytes = SmallVec::with_capacity(needed);
            bytes.extend_from_slice(&self.bytes);
            self.bytes = bytes;
        }
        self.bytes.extend_from_slice(new);
        self.is_deleted = value.is_none();
        self.bytes.capacity() as isize - before as isize
    }
}

#[inline]
fn hash_of(key: &[u8]) -> u32 {
    (FxBuildHasher.hash_one(key) >> 32) as u32
}

/// Spread over the bits that the table looks at.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Looks at the bytes of rows that are about to be written: the processor waits for the memory of all of
/// them at once.
pub(crate) fn fetch<'r>(rows: impl Iterator<Item = &'r Row>) {
    // First all look-ups, which find the rows.
    let rows: SmallVec<[&Row; 16]> = rows.collect();
    for row in rows {
        std::hint::black_box((row.bytes.first(), row.bytes.last()));
    }
}

impl Keyed {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The row that most likely has this key, without a look at its bytes.
    pub(crate) fn guess(&self, key: &[u8]) -> Option<&Row> {
        let hash = hash_of(key);
        self.rows.find(spread(hash), |row| row.hash == hash)
    }

    /// What is known of `key`: `None` nothing, `Some(None)` that it was deleted.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let hash = hash_of(key);
        self.rows.find(spread(hash), |row| row.is(hash, key)).map(Row::value)
    }

    /// Puts a value or, for `None`, a tombstone; returns the change in the bytes of all rows.
    pub(crate) fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> isize {
        let hash = hash_of(key);
        let same = |row: &Row| row.is(hash, key);
        match self.rows.entry(spread(hash), same, |row| spread(row.hash)) {
            Entry::Occupied(mut entry) => entry.get_mut().overwrite(value),
            Entry::Vacant(entry) => {
                let key_len = u32::try_from(key.len()).expect("keys are shorter than 64 KB");
                let mut bytes = SmallVec::with_capacity(key.len() + value.map_or(0, <[u8]>::len));
                bytes.extend_from_slice(key);
                bytes.extend_from_slice(value.unwrap_or_default());
                let row = Row { bytes, hash, key_len, is_deleted: value.is_none() };
                let added = row.bytes.capacity() as isize;
                entry.insert(row);
                added
            }
        }
    }

    /// Drops what is known of `key`; the bytes of its row, if there was one.
    pub(crate) fn forget(&mut self, key: &[u8]) -> Option<usize> {
        let hash = hash_of(key);
        let entry = self.rows.find_entry(spread(hash), |row| row.is(hash, key)).ok()?;
        let (row, _) = entry.remove();
        Some(row.bytes.capacity())
    }

    /// All rows, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.rows.iter().map(|row| (row.key(), row.value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_newest_value() {
        let mut rows = Keyed::default();
        let mut bytes = 0;
        for value in [Some(&b"a"[..]), Some(&[7; 5_000]), None, Some(b""), Some(&[1; 300])] {
            bytes += rows.set(b"key", value);
            assert_eq!(rows.get(b"key"), Some(value));
            assert!(bytes >= (3 + value.map_or(0, <[u8]>::len)) as isize);
        }
        assert!(bytes < 1_000, "a row that shrank keeps {bytes} bytes");
        assert_eq!(rows.forget(b"key"), Some(bytes as usize));
        assert_eq!((rows.forget(b"key"), rows.len()), (None, 0));
        assert_eq!(rows.get(b"key"), None);
    }

    #[test]
    fn rows_are_told_apart() {
        let mut rows = Keyed::default();
        for n in 0..1_000_u32 {
            rows.set(&n.to_le_bytes(), Some(&n.to_be_bytes()));
        }
        for n in 0..1_000_u32 {
            assert_eq!(rows.get(&n.to_le_bytes()), Some(Some(&n.to_be_bytes()[..])));
        }
        assert_eq!((rows.iter().count(), rows.get(b"")), (1_000, None));
    }
}
