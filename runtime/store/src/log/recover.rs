//! Reads the log after a start: replays whole records in order, tells a torn tail (which is cut) from
//! damage (which is reported), and leaves the files so that what was cut never comes back.
//!
//! A record that cannot be read is damage if anything states that it was durable: a later record, a
//! later segment's header, or the checkpoint in the base. Otherwise it is the tail. A whole record
//! behind a bad one proves nothing: sectors that were not synced reach the disk in any order.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::checkpoint::Covered;
use crate::log::chain::{Files, Found, find_files};
use crate::log::read_ahead::ReadAhead;
use crate::log::record::{ALIGNMENT, Header, Kind};
use crate::log::segment::{SEGMENT_HEADER_BYTES, SEGMENT_SUFFIX, segment_name};
use crate::log::segments::{Existing, Last, Sealed};

/// What to do about a log that is not whole.
pub(crate) const RESTORE_ALL: &str = "restore the whole data directory from a copy, or choose an empty one to start as a new application";

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

/// Replays the log in `dir` into `sink`. The base holds what `covered` says.
pub(crate) fn replay(
    dir: &Path,
    covered: Covered,
    sink: &mut impl Sink,
) -> Result<Replayed, StoreError> {
    let files = find_files(dir)?;
    let (mut replayed, end) = read_log(dir, &files, covered, sink)?;
    for path in &files.half_made {
        std::fs::remove_file(path).map_err(|error| StoreError::io(path, error))?;
    }
    if let Some((at, offset)) = end {
        let kept = &files.chain[at];
        sync(&kept.path)?;
        // A log without a record begins anew.
        let number = if replayed.last_lsn == 0 { 0 } else { kept.header.number };
        replayed.existing.last = Some(Last { path: kept.path.clone(), number, end: offset });
    }
    replayed.existing.free = files.free;
    Ok(replayed)
}

/// Reads the log in `dir` and changes nothing: what [`replay`] would find. Without `covered` it is taken
/// to go on where the base ends, whose position cannot be read.
pub(crate) fn inspect(
    dir: &Path,
    covered: Option<Covered>,
    sink: &mut impl Sink,
) -> Result<Replayed, StoreError> {
    let files = find_files(dir)?;
    let covered = covered.unwrap_or_else(|| {
        let first = files.chain.iter().find_map(|segment| segment.first_lsn);
        let floor = first.map_or(0, |first| first.saturating_sub(1));
        Covered { floor, top: floor }
    });
    // All records: those that the base has too are still in the log.
    Ok(read_log(dir, &files, covered, sink)?.0)
}

/// Reads all records; the second answer is where they end: a segment of the chain and an offset in it.
fn read_log(
    dir: &Path,
    files: &Files,
    covered: Covered,
    sink: &mut impl Sink,
) -> Result<(Replayed, Option<(usize, u64)>), StoreError> {
    let segments = &files.chain[..];
    let checkpoint = covered.floor;
    let start = start_of(dir, segments, checkpoint)?;
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
        Some((at, _)) => Some(ReadAhead::within(segments, |ahead| replay.run(ahead, at, sink))?),
        None => None,
    };
    let headers = || segments.iter().chain(&files.dead).map(|segment| segment.header);
    let mut replayed = Replayed {
        last_lsn: (replay.expected - 1).max(checkpoint),
        records: replay.records,
        record_bytes: replay.record_bytes,
        cut: None,
        existing: Existing {
            sealed: Vec::new(),
            free: Vec::new(),
            next_number: headers().map(|header| header.number).max().unwrap_or(0) + 1,
            epoch: headers().map(|header| header.epoch).max().unwrap_or(0) + 1,
            last: None,
        },
    };
    let mut last_in = replay.last_in;
    if let Some((at, offset)) = end {
        let bytes = cut_bytes(segments, at, offset)?;
        let (path, lsn) = (segments[at].path.clone(), replay.expected);
        replayed.cut = (bytes > 0).then_some(TailCut { path, offset, lsn, bytes });
        // No record of those behind is needed: the set gives them up once the next segment exists,
        // so that there is always one that says how far the epochs have come.
        last_in[at + 1..].fill(0);
    }
    let sealed = |segment: &Found, last_lsn| Sealed {
        path: segment.path.clone(),
        number: segment.header.number,
        last_lsn,
    };
    replayed.existing.sealed = segments.iter().zip(last_in).map(|(s, l)| sealed(s, l)).collect();
    replayed.existing.sealed.extend(files.dead.iter().map(|segment| sealed(segment, 0)));
    Ok((replayed, end))
}

/// The segment to begin with and the position of its first record; `None` for an empty log.
fn start_of(
    dir: &Path,
    segments: &[Found],
    checkpoint: u64,
) -> Result<Option<(usize, u64)>, StoreError> {
    let needed = checkpoint + 1;
    let Some(oldest) = segments.first() else {
        if checkpoint == 0 {
            return Ok(None);
        }
        return Err(missing(dir, &format!("*{SEGMENT_SUFFIX}"), checkpoint));
    };
    let readable =
        segments.iter().enumerate().find_map(|(at, segment)| Some((at, segment.first_lsn?)));
    let previous = oldest.header.previous;
    match readable {
        Some((at, first)) if first <= needed => Ok(Some((at, first))),
        Some((0, first)) if previous == 0 => {
            let problem = format!("the first segment begins with record {first}; {RESTORE_ALL}");
            Err(damaged(&oldest.path, SEGMENT_HEADER_BYTES as u64, problem))
        }
        Some((0, _)) => Err(missing(dir, &segment_name(previous), checkpoint)),
        Some(_) => Ok(Some((0, needed))),
        // The segment of the last durable record is never given up.
        None if previous > 0 && !has_headers(oldest)? => {
            Err(missing(dir, &segment_name(previous), checkpoint))
        }
        None => Ok(Some((0, checkpoint.max(1)))),
    }
}

fn has_headers(segment: &Found) -> Result<bool, StoreError> {
    let bytes = read(&segment.path)?;
    Ok(headers_from(segment, &bytes, SEGMENT_HEADER_BYTES).next().is_some())
}

fn missing(dir: &Path, name: &str, checkpoint: u64) -> StoreError {
    let error = StoreError::Missing {
        path: dir.join(name),
        problem: format!(
            "the base has everything up to record {checkpoint}, and the log does not go on from there (or the base is not the one that belongs to this log); {RESTORE_ALL}"
        ),
    };
    tracing::error!(%error, "damage");
    error
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
                // Those between have no record. They stay as long as those before them.
                self.last_in[at..next].fill(self.expected - 1);
                at = next;
                continue;
            }
            let claim = claim_after(&segments[at], &bytes, offset)
                .max(segments[at].header.durable)
                .max(claim_of(&segments[at + 1..])?)
                .max(self.covered.top);
            if claim >= self.expected {
                return Err(self.damage(&segments[at..], &bytes, offset, claim)?);
            }
            return Ok((at, offset as u64));
        }
    }

    /// What is wrong with the record at `offset` of the first of `segments`, whose bytes are `bytes`.
    fn damage(
        &self,
        segments: &[Found],
        bytes: &[u8],
        offset: usize,
        claim: u64,
    ) -> Result<StoreError, StoreError> {
        let lsn = self.expected;
        let (path, offset) = locate(segments, bytes, offset, lsn)?;
        let held = match Header::read(&bytes[offset.min(bytes.len())..], &segments[0].seed) {
            Some(header) if path == segments[0].path && header.lsn == lsn => match header.kind {
                Kind::Commit => {
                    format!("a commit of shard {}, {} bytes", header.shard, header.body_bytes)
                }
                Kind::Mark => String::from("a mark"),
            },
            _ => String::from("its header cannot be read either"),
        };
        let problem = format!(
            "record {lsn} ({held}) cannot be read, but everything up to {claim} was durable; {RESTORE_ALL}"
        );
        Ok(damaged(path, offset as u64, problem))
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

/// The highest position that anything in whole segments states as durable. A record in one says so
/// of all those in the segments before.
fn claim_of(segments: &[Found]) -> Result<u64, StoreError> {
    let mut claim = 0;
    for segment in segments {
        let bytes = read(&segment.path)?;
        let before = segment.first_lsn.map_or(0, |first| first.saturating_sub(1));
        claim = claim.max(segment.header.durable).max(before).max(claim_after(
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

fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| StoreError::io(path, error))
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(|error| StoreError::io(path, error))
}

pub(crate) fn damaged(path: &Path, offset: u64, problem: String) -> StoreError {
    tracing::error!(path = %path.display(), offset, %problem, "damage");
    StoreError::Damaged { path: path.to_path_buf(), offset, problem }
}
