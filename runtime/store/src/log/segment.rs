//! One file of the log: a header of 64 bytes, records, then zeros or what an earlier life of the file
//! left. Made by the thread that prepares segments, written by the sync thread alone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::log::record::Seed;

pub(crate) const MAGIC: [u8; 8] = *b"DORMLOG\x01";
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
/// How the names of segments end.
pub(crate) const SEGMENT_SUFFIX: &str = ".log";
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// What the front of a segment says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    pub(crate) epoch: u64,
    /// What was durable when it was made.
    pub(crate) durable: u64,
    /// Number of the segment whose records come before those of this one; 0: there is none.
    pub(crate) previous: u64,
    /// Length of the file.
    pub(crate) bytes: u64,
}

impl SegmentHeader {
    pub(crate) fn seed(&self) -> Seed {
        Seed::new(self.number, self.epoch)
    }

    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.durable.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.previous.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.bytes.to_be_bytes());
        let checksum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..SEGMENT_HEADER_BYTES)?;
        let number_at = |at: usize| {
            header[at..at + 8].iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
        };
        let is_whole = crc32fast::hash(&header[..60]).to_be_bytes() == header[60..];
        (is_whole && header[..8] == MAGIC).then(|| Self {
            number: number_at(8),
            epoch: number_at(16),
            durable: number_at(24),
            previous: number_at(32),
            bytes: number_at(40),
        })
    }
}

/// The name of segment `number`.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:020}{SEGMENT_SUFFIX}")
}

/// The name under which a segment that is not needed any more waits for its next life.
pub(crate) fn free_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("free-{number:020}"))
}

/// A segment that takes records.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) seed: Seed,
    /// Where the next record goes.
    pub(crate) offset: u64,
    /// Size of the file: all of it written once, so that a sync has no allocation to record.
    pub(crate) bytes: u64,
    pub(crate) number: u64,
    file: File,
    faults: Faults,
}

/// How to make a segment: where, how big, and from which file that is not needed any more.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) bytes: u64,
    pub(crate) recycled: Option<PathBuf>,
}

impl Segment {
    /// Makes a segment; `header` without its length. Under its name it has a valid header and its full
    /// size, also after a crash.
    pub(crate) fn create(
        plan: Plan<'_>,
        mut header: SegmentHeader,
        faults: &Faults,
    ) -> Result<Self, StoreError> {
        let path = plan.dir.join(segment_name(header.number));
        let (made, fill) = match plan.recycled {
            Some(recycled) => (recycled, false),
            None => (plan.dir.join(format!("new-{:020}", header.number)), true),
        };
        let io = |error| StoreError::io(&made, error);
        let file =
            OpenOptions::new().write(true).create(fill).truncate(fill).open(&made).map_err(io)?;
        if fill {
            fill_with_zeros(&file, plan.bytes).map_err(io)?;
        }
        header.bytes = file.metadata().map_err(io)?.len();
        file.write_all_at(&header.encode(), 0).map_err(io)?;
        file.sync_all().map_err(io)?;
        std::fs::rename(&made, &path).map_err(io)?;
        sync_directory(plan.dir)?;
        Ok(Self {
            path,
            seed: header.seed(),
            offset: SEGMENT_HEADER_BYTES as u64,
            bytes: header.bytes,
            number: header.number,
            file,
            faults: faults.clone(),
        })
    }

    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.offset + bytes as u64 <= self.bytes
    }

    /// Writes sealed records behind those that are there.
    pub(crate) fn write(&mut self, records: &[u8]) -> Result<(), StoreError> {
        self.faults
            .check(Step::Write)
            .and_then(|()| self.file.write_all_at(records, self.offset))
            .map_err(|error| StoreError::io(&self.path, error))?;
        self.offset += records.len() as u64;
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.faults
            .check(Step::Sync)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| StoreError::io(&self.path, error))
    }
}

fn fill_with_zeros(file: &File, bytes: u64) -> io::Result<()> {
    let mut written = 0;
    while written < bytes {
        let chunk = (bytes - written).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..chunk as usize], written)?;
        written += chunk;
    }
    Ok(())
}

pub(crate) fn sync_directory(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| StoreError::io(dir, error))
}

/// Where a test can make the disk fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Write,
    Sync,
}

/// Failures of the disk that a test has asked for; none outside of tests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    #[cfg(test)]
    injected: std::sync::Arc<(std::sync::Mutex<Injected>, std::sync::Condvar)>,
}

#[cfg(test)]
#[derive(Debug, Default)]
struct Injected {
    fails: Option<Step>,
    /// Syncs wait until this is over.
    holds_syncs: bool,
}

#[cfg(test)]
impl Faults {
    /// The next such step fails, and only that one.
    pub(crate) fn fail_once(&self, step: Step) {
        crate::signals::lock(&self.injected.0).fails = Some(step);
    }

    pub(crate) fn hold_syncs(&self, holds: bool) {
        crate::signals::lock(&self.injected.0).holds_syncs = holds;
        self.injected.1.notify_all();
    }

    fn check(&self, step: Step) -> io::Result<()> {
        let injected = crate::signals::lock(&self.injected.0);
        let mut injected = self
            .injected
            .1
            .wait_while(injected, |injected| step == Step::Sync && injected.holds_syncs)
            .expect("no test panics while it holds the lock");
        if injected.fails == Some(step) {
            injected.fails = None;
            return Err(io::Error::other(format!("injected failure of {step:?}")));
        }
        Ok(())
    }
}

#[cfg(not(test))]
impl Faults {
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the shape of the version for tests"
    )]
    fn check(&self, _: Step) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_segment_header_never_change() {
        let header = SegmentHeader { number: 3, epoch: 2, durable: 77, previous: 1, bytes: 4_096 };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        for bit in 0..SEGMENT_HEADER_BYTES * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&changed), None, "bit {bit}");
        }
    }

    // Computed by another implementation, from docs/format.md.
    const GOLDEN: &str = "444f524d4c4f470100000000000000030000000000000002000000000000004d\
                          000000000000000100000000000010000000000000000000000000003b60708d";
}
