//! Merging sorted rows of several layers, the newer one first: `scan` and checkpoints. A row that
//! the newer side knows hides that of the older side, tombstones included.

use std::iter::Peekable;

use bytes::Bytes;

use crate::state::is_part_meta;
use crate::{Rows, StoreError};

/// Two iterators over rows in key order as one; where both have a key, the first one's row counts.
pub(crate) struct Merged<A: Iterator, B: Iterator> {
    newer: Peekable<A>,
    older: Peekable<B>,
}

impl<A: Iterator, B: Iterator> Merged<A, B> {
    pub(crate) fn new(newer: A, older: B) -> Self {
        Self { newer: newer.peekable(), older: older.peekable() }
    }
}

impl<K: Ord, V, A, B> Iterator for Merged<A, B>
where
    A: Iterator<Item = (K, V)>,
    B: Iterator<Item = (K, V)>,
{
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        let order = match (self.newer.peek(), self.older.peek()) {
            (Some((newer, _)), Some((older, _))) => newer.cmp(older),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, _) => std::cmp::Ordering::Greater,
        };
        if order.is_gt() {
            return self.older.next();
        }
        if order.is_eq() {
            self.older.next();
        }
        self.newer.next()
    }
}

/// How many rows, and about how many bytes, an answer may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    /// Leaves out the rows that hold partitions' last metas.
    pub(crate) hides_part_metas: bool,
}

impl Limit {
    pub(crate) fn hides(&self, key: &[u8]) -> bool {
        self.hides_part_metas && is_part_meta(key)
    }

    /// Takes one more row into account; whether it was the last one that fits. An answer has at
    /// least one row.
    pub(crate) fn is_reached_with(&mut self, key: &[u8], value: &[u8]) -> bool {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(key.len() + value.len());
        self.rows == 0 || self.bytes == 0
    }
}

/// Key ranges `from <= key < to`, in order and apart.
pub(crate) type Ranges = Vec<(Vec<u8>, Vec<u8>)>;

/// What the layers in memory say of some ranges: values and tombstones.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    pub(crate) rows: Vec<(Bytes, Option<Bytes>)>,
    /// The limit was reached: nothing is known of keys above the last row.
    pub(crate) is_cut: bool,
}

impl Captured {
    /// The answer when nothing lies beneath the layers.
    pub(crate) fn into_rows(self) -> (Rows, bool) {
        let rows = self.rows.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        (rows, self.is_cut)
    }

    /// The answer with the rows of the base beneath; `base` reads one range of it in key order.
    pub(crate) fn over<I>(
        mut self,
        ranges: &Ranges,
        limit: Limit,
        base: impl Fn(&[u8], &[u8]) -> I,
    ) -> Result<(Rows, bool), StoreError>
    where
        I: Iterator<Item = Result<(Bytes, Bytes), StoreError>>,
    {
        let last = if self.is_cut { self.rows.last().map(|(key, _)| key.clone()) } else { None };
        let is_beyond = |key: &[u8]| last.as_ref().is_some_and(|last| key > &last[..]);
        let mut answer = Answer { rows: Vec::new(), limit };
        let mut layers = std::mem::take(&mut self.rows).into_iter().peekable();
        for (from, to) in ranges {
            if is_beyond(from) {
                break;
            }
            for row in base(from, to) {
                let (key, value) = row?;
                if is_beyond(&key) {
                    break;
                }
                if limit.hides(&key) {
                    continue;
                }
                while let Some((newer, newer_value)) = layers.next_if(|(newer, _)| *newer < key) {
                    if answer.is_full_with(newer, newer_value) {
                        return Ok((answer.rows, true));
                    }
                }
                let shadow = layers.next_if(|(newer, _)| *newer == key);
                let value = shadow.map_or(Some(value), |(_, newer)| newer);
                if answer.is_full_with(key, value) {
                    return Ok((answer.rows, true));
                }
            }
        }
        for (key, value) in layers {
            if answer.is_full_with(key, value) {
                return Ok((answer.rows, true));
            }
        }
        Ok((answer.rows, self.is_cut))
    }
}

struct Answer {
    rows: Rows,
    limit: Limit,
}

impl Answer {
    fn is_full_with(&mut self, key: Bytes, value: Option<Bytes>) -> bool {
        let Some(value) = value else {
            return false;
        };
        let is_full = self.limit.is_reached_with(&key, &value);
        self.rows.push((key, value));
        is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(newer: &[(&str, Option<&str>)], cut: bool, rows: usize) -> (Vec<String>, bool) {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let captured = Captured {
            rows: newer.iter().map(|(key, value)| (bytes(key), value.map(bytes))).collect(),
            is_cut: cut,
        };
        let base = [("a", "1"), ("c", "1"), ("e", "1"), ("g", "1")];
        let ranges = vec![(b"a".to_vec(), b"d".to_vec()), (b"e".to_vec(), b"z".to_vec())];
        let limit = Limit { rows, bytes: usize::MAX, hides_part_metas: false };
        let (rows, more) = captured
            .over(&ranges, limit, |from, to| {
                let (from, to) = (from.to_vec(), to.to_vec());
                base.iter()
                    .filter(move |(key, _)| {
                        from <= key.as_bytes().to_vec() && key.as_bytes().to_vec() < to
                    })
                    .map(|(key, value)| Ok((bytes(key), bytes(value))))
                    .collect::<Vec<_>>()
                    .into_iter()
            })
            .unwrap();
        let rows = rows
            .iter()
            .map(|(key, value)| {
                format!("{}{}", String::from_utf8_lossy(key), String::from_utf8_lossy(value))
            })
            .collect();
        (rows, more)
    }

    fn texts(rows: &[&str]) -> Vec<String> {
        rows.iter().map(|row| String::from(*row)).collect()
    }

    #[test]
    fn layers_hide_the_base_and_tombstones_hide_both() {
        let newer = [("a", None), ("b", Some("2")), ("e", Some("2")), ("h", Some("2"))];
        assert_eq!(merged(&newer, false, 100), (texts(&["b2", "c1", "e2", "g1", "h2"]), false));
    }

    #[test]
    fn nothing_above_a_cut_is_answered() {
        let newer = [("a", None), ("c", Some("2"))];
        assert_eq!(merged(&newer, true, 100), (texts(&["c2"]), true));
    }

    #[test]
    fn a_limit_ends_the_answer_wherever_it_is_reached() {
        let newer = [("b", Some("2")), ("h", Some("2"))];
        assert_eq!(merged(&newer, false, 1), (texts(&["a1"]), true));
        assert_eq!(merged(&newer, false, 2), (texts(&["a1", "b2"]), true));
        assert_eq!(merged(&newer, false, 5), (texts(&["a1", "b2", "c1", "e1", "g1"]), true));
    }
}
