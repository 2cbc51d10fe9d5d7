//! The tables of the base as point reads go through them: an unchanging list, newest first, made anew
//! whenever the tree has changed. A checkpoint leaves a run that may hold any key, and there are many of
//! them at a time; one look says which of them may hold a key, so that a read touches no other.

use std::sync::Arc;

use lsm_tree::table::filter::standard_bloom::Builder;
use lsm_tree::{AbstractTree, AnyTree, SeqNo, Table, TableId, UserValue};
use rustc_hash::FxHashMap;

/// Runs that one look tells apart: bits of a mask.
const SLOTS: u32 = u32::BITS;
/// Places where a key leaves the bit of its run.
const PLACES: u32 = 2;
/// A run that would leave more bits than one place in so many has a filter of its own only.
const ROOM: usize = 2;
/// So many times the places that the first run needs are made, for longer ones that follow.
const SPARE: usize = 16;

/// What point reads look at.
#[derive(Debug)]
pub(crate) struct Runs {
    /// Tables that a checkpoint has written, newest first, each with the bit of its run, if it has one.
    fresh: Vec<(Table, Option<u32>)>,
    /// Deeper levels: tables in the order of their keys.
    deeper: Vec<Vec<Table>>,
    masks: Masks,
    seqno: SeqNo,
}

/// The keys of one checkpoint, while it is written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    hashes: Vec<u64>,
}

/// Which runs may hold a key: the runs whose bits are at all of its places.
#[derive(Clone, Debug)]
struct Masks {
    /// None while no table has a bit.
    places: Arc<[u32]>,
    places_max: usize,
    /// Of each table that has a bit.
    bits: FxHashMap<TableId, u32>,
}

impl Written {
    pub(crate) fn note(&mut self, key: &[u8]) {
        self.hashes.push(Builder::get_hash(key));
    }
}

impl Runs {
    /// The tables of `tree`, with so much memory for [`Masks`]; tables that are there already have none.
    pub(crate) fn open(tree: &AnyTree, mask_bytes: u64) -> Self {
        let places_max = (mask_bytes / 4).max(1).next_power_of_two() as usize;
        Self::of(tree, Masks { places: Arc::default(), places_max, bits: FxHashMap::default() })
    }

    /// The tables after a step of compaction.
    pub(crate) fn after_compaction(&self, tree: &AnyTree) -> Self {
        Self::of(tree, self.masks.kept(tree))
    }

    /// The tables after a checkpoint that has written these.
    pub(crate) fn after_checkpoint(
        &self,
        tree: &AnyTree,
        tables: &[Table],
        written: &Written,
    ) -> Self {
        Self::of(tree, self.masks.kept(tree).with(tables, written))
    }

    fn of(tree: &AnyTree, masks: Masks) -> Self {
        let version = tree.current_version();
        let bit = |table: &Table| masks.bits.get(&table.id()).copied();
        let fresh = version.l0().iter().flat_map(|run| run.iter());
        let fresh = fresh.map(|table| (table.clone(), bit(table))).collect();
        let deeper = version.iter_levels().skip(1).flat_map(|level| level.iter());
        let deeper = deeper.map(|run| run.to_vec()).collect();
        // Whatever this version holds is older.
        let seqno = tree.get_highest_seqno().map_or(0, |highest| highest + 1);
        Self { fresh, deeper, masks, seqno }
    }

    /// The newest value of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> lsm_tree::Result<Option<UserValue>> {
        let hash = Builder::get_hash(key);
        let mask = self.masks.of(hash);
        let fresh = self.fresh.iter().filter(|(_, bit)| bit.is_none_or(|bit| mask & bit != 0));
        let fresh = fresh.map(|(table, _)| table);
        let deeper = self.deeper.iter().filter_map(|tables| {
            let at = tables.partition_point(|table| &**table.metadata.key_range.max() < key);
            tables.get(at)
        });
        let mut tables = fresh.chain(deeper).filter(|table| {
            let range = &table.metadata.key_range;
            &**range.min() <= key && key <= &**range.max()
        });
        tables
            .find_map(|table| table.get(key, self.seqno, hash).transpose())
            .transpose()
            .map(|found| found.filter(|row| !row.is_tombstone()).map(|row| row.value))
    }
}

impl Masks {
    /// Where a key with this hash has its bits.
    fn at(hash: u64, places: usize) -> [usize; PLACES as usize] {
        // The halves are independent, and unlike what the tables' own filters take first.
        let spread = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        [(spread >> 32) as usize & (places - 1), (spread >> 8) as u32 as usize & (places - 1)]
    }

    fn of(&self, hash: u64) -> u32 {
        if self.places.is_empty() {
            return 0;
        }
        let at = Self::at(hash, self.places.len());
        at.into_iter().fold(u32::MAX, |mask, place| mask & self.places[place])
    }

    /// Without the bits of tables that are merged.
    fn kept(&self, tree: &AnyTree) -> Self {
        let version = tree.current_version();
        let fresh = version.l0().iter().flat_map(|run| run.iter()).map(Table::id);
        let bits: FxHashMap<_, _> =
            fresh.filter_map(|id| Some((id, *self.bits.get(&id)?))).collect();
        let used = |bits: &FxHashMap<_, u32>| bits.values().fold(0, |used, bit| used | bit);
        let (before, kept) = (used(&self.bits), used(&bits));
        let places = if before == kept {
            Arc::clone(&self.places)
        } else if kept == 0 {
            Arc::default()
        } else {
            self.places.iter().map(|mask| mask & kept).collect()
        };
        Self { places, bits, ..*self }
    }

    /// With these tables, which one checkpoint has written. Without a bit that is free, or when there are
    /// too many rows, they keep none: reads then ask their own filters.
    fn with(self, tables: &[Table], written: &Written) -> Self {
        let used = self.bits.values().fold(0, |used, bit| used | bit);
        let needed = written.hashes.len() * PLACES as usize * ROOM;
        let count = match self.places.len() {
            0 => (needed * SPARE).next_power_of_two().min(self.places_max),
            count => count,
        };
        if used == u32::MAX || needed > count {
            return self;
        }
        let bit = 1 << (!used).trailing_zeros().min(SLOTS - 1);
        let mut places = self.places.to_vec();
        places.resize(count, 0);
        for hash in &written.hashes {
            for place in Self::at(*hash, places.len()) {
                places[place] |= bit;
            }
        }
        let mut bits = self.bits;
        bits.extend(tables.iter().map(|table| (table.id(), bit)));
        Self { places: places.into(), bits, places_max: self.places_max }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use bytes::Bytes;

    use super::*;
    use crate::base::Base;

    const KEYS: u64 = 2_000;

    fn open(place: &Path, is_new: bool) -> Arc<Base> {
        let base = Base::open(place, 1 << 20, is_new).unwrap();
        // Masks of 8,192 places.
        Arc::new(base.with_compaction_of(128 << 10))
    }

    fn key(number: u64) -> Vec<u8> {
        format!("s{number:05}").into_bytes()
    }

    fn number(at: u64) -> u64 {
        at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
    }

    /// One checkpoint that puts or deletes `count` keys.
    fn write(
        base: &Base,
        rows: &mut BTreeMap<Vec<u8>, Option<Vec<u8>>>,
        (round, count): (u64, u64),
    ) {
        let of_round = (0..count).map(|at| number(round << 16 | at));
        let changes: BTreeMap<_, _> = of_round
            .map(|drawn| {
                (
                    key(drawn % KEYS),
                    (!drawn.is_multiple_of(7)).then(|| round.to_be_bytes().to_vec()),
                )
            })
            .collect();
        base.ingest(changes.iter().map(|(key, value)| (&key[..], value.as_deref()))).unwrap();
        rows.extend(changes);
    }

    fn check(base: &Arc<Base>, rows: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) {
        let snapshot = base.snapshot();
        for at in 0..KEYS {
            let expected = rows.get(&key(at)).cloned().flatten().map(Bytes::from);
            assert_eq!(snapshot.get(&key(at)).unwrap(), expected, "{at}");
        }
    }

    #[test]
    fn the_newest_row_is_found_whatever_was_merged() {
        let place = tempfile::tempdir().unwrap();
        let mut rows = BTreeMap::new();
        for start in 0..3 {
            let base = open(place.path(), start == 0);
            check(&base, &rows);
            for round in 0..50 {
                // Now and then too many for the masks.
                let count = if round % 9 == 5 { 4 * KEYS } else { 100 };
                write(&base, &mut rows, (start << 8 | round, count));
                if number(round).is_multiple_of(3) {
                    base.compact().unwrap();
                }
                check(&base, &rows);
            }
        }
    }

    #[test]
    fn a_snapshot_reads_what_was_there_when_it_was_taken() {
        let place = tempfile::tempdir().unwrap();
        let (base, mut rows) = (open(place.path(), true), BTreeMap::new());
        write(&base, &mut rows, (0, KEYS));
        let (before, snapshot) = (rows.clone(), base.snapshot());
        for round in 1..40 {
            write(&base, &mut rows, (round, 500));
            base.compact().unwrap();
        }
        for (key, value) in before {
            assert_eq!(snapshot.get(&key).unwrap(), value.map(Bytes::from));
        }
        check(&base, &rows);
    }

    #[test]
    fn one_look_rules_out_the_runs_that_do_not_hold_a_key() {
        let place = tempfile::tempdir().unwrap();
        let (base, mut rows) = (open(place.path(), true), BTreeMap::new());
        for round in 0..40 {
            write(&base, &mut rows, (round, 100));
        }
        let runs = Arc::clone(&base.snapshot().runs);
        let told_apart = runs.fresh.iter().filter(|(_, bit)| bit.is_some()).count();
        assert_eq!((runs.fresh.len(), told_apart), (40, SLOTS as usize));
        let bits = |key: &str| runs.masks.of(Builder::get_hash(key.as_bytes())).count_ones();
        let taken_for_held: u32 = (0..1_000).map(|at| bits(&format!("x{at}"))).sum();
        // Each run of 100 keys has bits at 2.5 % of the places.
        assert!(taken_for_held < 1_000 * SLOTS / 100, "{taken_for_held}");
        while base.compact().unwrap() {}
        assert!(base.snapshot().runs.masks.bits.is_empty(), "all runs were merged");
        write(&base, &mut rows, (41, 100));
        let runs = Arc::clone(&base.snapshot().runs);
        let set = runs.masks.places.iter().filter(|mask| **mask != 0).count();
        assert!((1..=200).contains(&set), "{set} places: bits of merged runs are left");
    }
}
