//! The files in the log's directory: which segments follow each other, which are left from an earlier
//! recovery, and whether each is as long as it was made. Recovery reads them next.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::log::record::{HEADER_BYTES, Header, Seed};
use crate::log::recover::{RESTORE_ALL, damaged};
use crate::log::segment::{SEGMENT_HEADER_BYTES, SEGMENT_SUFFIX, SegmentHeader};

/// Bytes read at once when only the header of a segment's first record is wanted.
const FRONT_BYTES: usize = SEGMENT_HEADER_BYTES + HEADER_BYTES;

#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) seed: Seed,
    pub(crate) bytes: u64,
    pub(crate) first_lsn: Option<u64>,
}

/// What is in the log's directory.
#[derive(Debug)]
pub(crate) struct Files {
    /// The segments that follow each other up to the newest one.
    pub(crate) chain: Vec<Found>,
    /// Segments that an earlier recovery has cut, and was to give up.
    pub(crate) dead: Vec<Found>,
    pub(crate) free: Vec<PathBuf>,
    pub(crate) half_made: Vec<PathBuf>,
}

/// The files in `dir`.
pub(crate) fn find_files(dir: &Path) -> Result<Files, StoreError> {
    let io = |error| StoreError::io(dir, error);
    let mut files =
        Files { chain: Vec::new(), dead: Vec::new(), free: Vec::new(), half_made: Vec::new() };
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_default();
        if name.starts_with("free-") {
            files.free.push(path);
        } else if name.starts_with("new-") {
            files.half_made.push(path);
        } else if let Some(number) = name.strip_suffix(SEGMENT_SUFFIX) {
            segments.push(open_segment(path.clone(), number.parse().ok())?);
        }
    }
    segments.sort_by_key(|segment| segment.header.number);
    let mut next = segments.last().map(|newest| newest.header.number);
    for segment in segments.into_iter().rev() {
        if next == Some(segment.header.number) {
            next = Some(segment.header.previous);
            files.chain.push(segment);
        } else {
            files.dead.push(segment);
        }
    }
    files.chain.reverse();
    for (at, segment) in files.chain.iter().enumerate() {
        check_length(segment, files.chain.get(at + 1))?;
    }
    Ok(files)
}

/// A segment is shorter than it says only where a recovery has cut it, which made the next one.
fn check_length(segment: &Found, next: Option<&Found>) -> Result<(), StoreError> {
    let is_cut = next.is_some_and(|next| next.header.epoch > segment.header.epoch);
    if is_cut || segment.bytes >= segment.header.bytes {
        return Ok(());
    }
    let (found, expected) = (segment.bytes, segment.header.bytes);
    let problem = format!("the file ends here, but it had {expected} bytes; {RESTORE_ALL}");
    Err(damaged(&segment.path, found, problem))
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
                format!(
                    "the header of the segment cannot be read or is that of another one; {RESTORE_ALL}"
                ),
            )
        })?;
    let seed = header.seed();
    let first = Header::read(&front[SEGMENT_HEADER_BYTES..], &seed);
    Ok(Found { path, header, seed, bytes, first_lsn: first.map(|first| first.lsn) })
}
