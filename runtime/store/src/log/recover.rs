//! Reads the log after a start: replays whole records in order, tells a torn tail (which is cut) from
//! damage (which is reported), and leaves the files so that what was cut never comes back.
//!
//! A record that cannot be read is damage if anything states that it was durable: a later record, a
//! later segment's header, or the checkpoint in the base. Otherwise it is the tail. A whole record
//! behind a bad one proves nothing: sectors that were not synced reach the disk in any order.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::checkpoint::Covered;
use crate::log::read_ahead::ReadAhead;
use crate::log::record::{ALIGNMENT, Header, Kind, Seed};
use crate::log::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::log::segments::{Existing, Sealed};

/// Bytes read at once when only the header of a segment's first record is wanted.
const FRONT_BYTES: usize = SEGMENT_HEADER_BYTES + crate::log::record::HEADER_BYTES;

/// How far a recovery has come.
#[derive(Clone, Copy, Debug)]
pub struct RecoveryProgress {
    /// Bytes of log files read so far.
    pub bytes_read: u64,
    /// Bytes of all log files.
    pub bytes_total: u64,
}

/// What was cut off the end of the log: written, but never durable, hence never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailCut {
    /// The segment in which the cut is.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// Position of the first commit that is gone.
    pub lsn: u64,
    /// Bytes that were recognized as records and cut.
    pub bytes: u64,
}

/// What reading the log found.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) last_lsn: u64,
    pub(crate) records: u64,
    pub(crate) record_bytes: u64,
    pub(crate) cut: Option<TailCut>,
    pub(crate) existing: Existing,
}

/// Receives the commits of the log in order.
pub(crate) trait Sink {
    /// Takes the body of one record; an error says what is wrong with it.
    fn take(&mut self, lsn: u64, body: &[u8]) -> Result<(), StoreError>;
    /// Everything up to `lsn` was taken and is durable.
    fn is_durable_up_to(&mut self, lsn: u64) -> Result<(), StoreError>;
    fn progress(&mut self, progress: RecoveryProgress);
}

/// A segment that a start found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    header: SegmentHeader,
    seed: Seed,
    bytes: u64,
    first_lsn: Option<u64>,
}

/// Replays the log in `dir` into `sink`. The base holds what `covered` says.
pub(crate) fn replay(
    dir: &Path,
    covered: Covered,
    sink: &mut impl Sink,
) -> Result<Replayed, StoreError> {
    let checkpoint = covered.floor;
    let (segments, free) = find_segments(dir)?;
    let start = start_of(dir, &segments, checkpoint)?;
    let mut replay = Replay {
        covered,
        expected: start.map_or(checkpoint + 1, |(_, expected)| expected),
        records: 0,
        record_bytes: 0,
        last_in: vec![0; segments.len()],
        progress: RecoveryProgress {
            bytes_read: 0,
            bytes_total: segments.iter().map(|segment| segment.bytes).sum(),
        },
    };
    let end = match start {
        Some((at, _)) => Some(ReadAhead::within(&segments, |ahead| replay.run(ahead, at, sink))?),
        None => None,
    };
    let last_lsn = replay.expected - 1;
    let highest = segments.last().map(|segment| segment.header);
    let existing = Existing {
        sealed: Vec::new(),
        free,
        next_number: highest.map_or(1, |header| header.number + 1),
        epoch: segments.iter().map(|segment| segment.header.epoch).max().unwrap_or(0) + 1,
    };
    let mut replayed = Replayed {
        last_lsn: last_lsn.max(checkpoint),
        records: replay.records,
        record_bytes: replay.record_bytes,
        cut: None,
        existing,
    };
    if let Some((at, offset)) = end {
        let bytes = cut_bytes(&segments, at, offset)?;
        replayed.cut = (bytes > 0).then(|| TailCut {
            path: segments[at].path.clone(),
            offset,
            lsn: last_lsn + 1,
            bytes,
        });
        replayed.existing.sealed = keep(&segments[..=at], &replay.last_in, offset)?;
        // No record of these is needed: the set gives them up once the next segment exists, so that
        // there is always one that says how far the epochs have come.
        let cut = segments[at + 1..].iter().map(|segment| Sealed {
            path: segment.path.clone(),
            number: segment.header.number,
            last_lsn: 0,
        });
        replayed.existing.sealed.extend(cut);
    }
    Ok(replayed)
}

/// The segment to begin with and the position of its first record; `None` for an empty log.
fn start_of(
    dir: &Path,
    segments: &[Found],
    checkpoint: u64,
) -> Result<Option<(usize, u64)>, StoreError> {
    let needed = checkpoint + 1;
    let readable =
        segments.iter().enumerate().find_map(|(at, segment)| Some((at, segment.first_lsn?)));
    match readable {
        Some((at, first)) if first <= needed => Ok(Some((at, first))),
        Some((0, first)) => Err(damaged(
            dir,
            0,
            format!(
                "the log begins with record {first}, but records from {needed} on are needed: segment files are missing, or the base is not the one that belongs to this log; restore the whole data directory from a copy"
            ),
        )),
        None if segments.is_empty() && checkpoint > 0 => Err(damaged(
            dir,
            0,
            String::from(
                "all segment files are missing, and with them commits that were durable; restore them from a copy",
            ),
        )),
        None if segments.is_empty() => Ok(None),
        _ => Ok(Some((0, needed))),
    }
}

/// Makes what stays durable, and cuts the last segment. Those before it are synced already.
fn keep(segments: &[Found], last_in: &[u64], offset: u64) -> Result<Vec<Sealed>, StoreError> {
    if let Some(last) = segments.last() {
        let file = OpenOptions::new().write(true).open(&last.path);
        file.and_then(|file| {
            file.set_len(offset)?;
            file.sync_all()
        })
        .map_err(|error| StoreError::io(&last.path, error))?;
    }
    let sealed = segments.iter().zip(last_in).map(|(segment, last)| Sealed {
        path: segment.path.clone(),
        number: segment.header.number,
        last_lsn: *last,
    });
    Ok(sealed.collect())
}

struct Replay {
    covered: Covered,
    /// The position that comes next.
    expected: u64,
    records: u64,
    record_bytes: u64,
    /// Position of the last record replayed from each segment.
    last_in: Vec<u64>,
    progress: RecoveryProgress,
}

impl Replay {
    /// Replays segments from `at` on; the answer is where the log ends: a segment and an offset in it.
    fn run(
        &mut self,
        ahead: &mut ReadAhead<'_>,
        mut at: usize,
        sink: &mut impl Sink,
    ) -> Result<(usize, u64), StoreError> {
        let segments = ahead.segments;
        loop {
            let bytes = ahead.take(at)?;
            sink.is_durable_up_to(self.expected - 1)?;
            let offset = self.replay_segment(&segments[at], &bytes, sink)?;
            self.last_in[at] = self.expected - 1;
            self.progress.bytes_read += segments[at].bytes;
            sink.progress(self.progress);
            let next = (at + 1..segments.len())
                .find(|next| segments[*next].first_lsn == Some(self.expected));
            if let Some(next) = next {
                ahead.give_back(bytes);
                at = next;
                continue;
            }
            let claim = claim_after(&segments[at], &bytes, offset)
                .max(segments[at].header.durable)
                .max(claim_of(&segments[at + 1..])?)
                .max(self.covered.top);
            if claim >= self.expected {
                let (path, offset) = locate(&segments[at..], &bytes, offset, self.expected)?;
                return Err(damaged(
                    path,
                    offset as u64,
                    format!(
                        "record {} cannot be read, but everything up to {claim} was durable; restore the file from a copy, or start with an empty directory",
                        self.expected
                    ),
                ));
            }
            return Ok((at, offset as u64));
        }
    }

    /// Replays one segment; returns the offset behind its last whole record.
    fn replay_segment(
        &mut self,
        segment: &Found,
        bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Result<usize, StoreError> {
        let mut offset = SEGMENT_HEADER_BYTES;
        while let Some(header) = Header::read(&bytes[offset.min(bytes.len())..], &segment.seed) {
            let record = &bytes[offset..];
            if header.lsn != self.expected || record.len() < header.record_bytes() {
                break;
            }
            let Some(body) = header.body(record) else {
                break;
            };
            if header.kind == Kind::Commit && header.lsn > self.covered.floor {
                sink.take(header.lsn, body).map_err(|error| match error {
                    StoreError::Unstorable { problem } => {
                        damaged(&segment.path, offset as u64, problem)
                    }
                    other => other,
                })?;
                self.records += 1;
                self.record_bytes += header.record_bytes() as u64;
            }
            self.expected += 1;
            offset += header.record_bytes();
        }
        Ok(offset)
    }
}

/// Where the damaged record is: at `offset` of the first segment, unless nothing follows there and the
/// next segment goes on with the record after it, behind something that cannot be read.
fn locate<'a>(
    segments: &'a [Found],
    bytes: &[u8],
    offset: usize,
    lsn: u64,
) -> Result<(&'a Path, usize), StoreError> {
    if let [first, next, ..] = segments
        && headers_from(first, bytes, offset).next().is_none()
        && headers_from(next, &read(&next.path)?, SEGMENT_HEADER_BYTES)
            .next()
            .is_some_and(|(at, header)| at > SEGMENT_HEADER_BYTES && header.lsn == lsn + 1)
    {
        return Ok((&next.path, SEGMENT_HEADER_BYTES));
    }
    Ok((&segments[0].path, offset))
}

/// The headers in `bytes` from `offset` on, wherever one may begin.
fn headers_from<'a>(
    segment: &'a Found,
    bytes: &'a [u8],
    offset: usize,
) -> impl Iterator<Item = (usize, Header)> + 'a {
    (offset..bytes.len())
        .step_by(ALIGNMENT)
        .filter_map(|at| Some((at, Header::read(&bytes[at..], &segment.seed)?)))
}

/// The highest position that any header in the rest of a segment states as durable.
fn claim_after(segment: &Found, bytes: &[u8], offset: usize) -> u64 {
    headers_from(segment, bytes, offset).map(|(_, header)| header.durable).max().unwrap_or(0)
}

/// The highest position that anything in whole segments states as durable.
fn claim_of(segments: &[Found]) -> Result<u64, StoreError> {
    let mut claim = 0;
    for segment in segments {
        let bytes = read(&segment.path)?;
        claim = claim.max(segment.header.durable).max(claim_after(
            segment,
            &bytes,
            SEGMENT_HEADER_BYTES,
        ));
    }
    Ok(claim)
}

/// Bytes of everything recognized behind the end of the log.
fn cut_bytes(segments: &[Found], at: usize, offset: u64) -> Result<u64, StoreError> {
    let mut sum = 0;
    for (index, segment) in segments.iter().enumerate().skip(at) {
        let bytes = read(&segment.path)?;
        let start = if index == at { offset as usize } else { SEGMENT_HEADER_BYTES };
        let end = headers_from(segment, &bytes, start)
            .map(|(found, header)| (found + header.record_bytes()).min(bytes.len()))
            .max();
        sum += end.map_or(0, |end| end - start) as u64;
    }
    Ok(sum)
}

/// The segments in `dir` by number, and files that wait for reuse. Half-made files are removed.
fn find_segments(dir: &Path) -> Result<(Vec<Found>, Vec<PathBuf>), StoreError> {
    let io = |error| StoreError::io(dir, error);
    let mut segments = Vec::new();
    let mut free = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_default();
        if name.starts_with("free-") {
            free.push(path);
        } else if name.starts_with("new-") {
            std::fs::remove_file(&path).map_err(|error| StoreError::io(&path, error))?;
        } else if let Some(number) = name.strip_suffix(".log") {
            segments.push(open_segment(path.clone(), number.parse().ok())?);
        }
    }
    segments.sort_by_key(|segment| segment.header.number);
    Ok((segments, free))
}

fn open_segment(path: PathBuf, number: Option<u64>) -> Result<Found, StoreError> {
    use std::io::Read;

    let io = |error| StoreError::io(&path, error);
    let file = File::open(&path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    let mut front = Vec::with_capacity(FRONT_BYTES);
    file.take(FRONT_BYTES as u64).read_to_end(&mut front).map_err(io)?;
    let header = SegmentHeader::decode(&front)
        .filter(|header| Some(header.number) == number)
        .ok_or_else(|| {
            damaged(
                &path,
                0,
                String::from("the header of the segment cannot be read or is that of another one; restore the file from a copy"),
            )
        })?;
    let seed = header.seed();
    let first = Header::read(&front[SEGMENT_HEADER_BYTES..], &seed);
    Ok(Found { path, header, seed, bytes, first_lsn: first.map(|first| first.lsn) })
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(|error| StoreError::io(path, error))
}

fn damaged(path: &Path, offset: u64, problem: String) -> StoreError {
    tracing::error!(path = %path.display(), offset, %problem, "damage");
    StoreError::Damaged { path: path.to_path_buf(), offset, problem }
}
