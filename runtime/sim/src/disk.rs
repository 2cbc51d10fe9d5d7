//! A file of records as a disk keeps it: what was synced stays; of what was written since, a crash
//! keeps any of its sectors, in no order. What is found at the next start is what a reader finds that
//! goes on until a record is not whole.

use dormouse_engine::Commit;

use crate::rng::Rng;

/// Bytes that reach the disk together or not at all. Small, so that most records span several.
const SECTOR: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Disk {
    bytes: Vec<u8>,
    synced: usize,
    /// Where each record ends.
    ends: Vec<usize>,
}

impl Disk {
    pub(crate) fn write(&mut self, commit: &Commit) {
        let mut body = Vec::with_capacity(commit.ops.as_bytes().len() + 64);
        for part in &commit.parts {
            body.extend_from_slice(&part.partition.0.to_be_bytes());
            body.extend_from_slice(&part.seq.to_be_bytes());
        }
        body.extend_from_slice(commit.ops.as_bytes());
        self.bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(&checksum(&body).to_be_bytes());
        self.bytes.extend_from_slice(&body);
        self.ends.push(self.bytes.len());
    }

    /// The first `count` records are on the disk.
    pub(crate) fn sync(&mut self, count: usize) {
        let end = count.checked_sub(1).map_or(0, |last| self.ends[last]);
        self.synced = self.synced.max(end);
    }

    /// The machine stops: how many records are whole, and follow each other from the beginning.
    pub(crate) fn crash(&mut self, rng: &mut Rng) -> usize {
        // Nothing, everything, or any of the sectors were kept.
        let kept = rng.pick(&[0, 1_000, 500, 900]);
        let mut at = self.synced;
        while at < self.bytes.len() {
            let end = (at / SECTOR + 1) * SECTOR;
            let end = end.min(self.bytes.len());
            if !rng.chance(kept) {
                self.bytes[at..end].fill(0);
            }
            at = end;
        }
        self.whole()
    }

    fn whole(&self) -> usize {
        let (mut at, mut count) = (0, 0);
        while let Some((head, rest)) = self.bytes[at..].split_at_checked(8) {
            let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let sum = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
            match rest.get(..len) {
                Some(body) if checksum(body) == sum => (at, count) = (at + 8 + len, count + 1),
                _ => break,
            }
        }
        count
    }
}

/// FNV-1a; never 0 for an empty body, so that a sector of zeros is no record.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(records: u64, synced: usize) -> Disk {
        let mut disk = Disk::default();
        for number in 1..=records {
            let mut commit = Commit { number, ..Commit::default() };
            commit.ops.put(&number.to_be_bytes(), &[7; 150]);
            disk.write(&commit);
        }
        disk.sync(synced);
        disk
    }

    #[test]
    fn synced_records_stay_and_torn_ones_end_the_log() {
        let mut counts = std::collections::BTreeSet::new();
        for seed in 0..200 {
            counts.insert(disk(10, 4).crash(&mut Rng::new(seed)));
        }
        assert_eq!(counts.first(), Some(&4), "what was synced is never lost");
        assert_eq!(counts.last(), Some(&10), "what was not may be kept");
        assert!(counts.len() > 4, "some are kept in part: {counts:?}");
    }
}
