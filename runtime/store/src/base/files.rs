//! The files of the base as they lie on disk: `current` names a version file, which names the tables;
//! each states the checksum of all bytes of the next. lsm-tree does not check them as a whole and
//! names no file when something is wrong, so this is done here: at a start for the files that say
//! which tables there are, and for the tables themselves when a read fails and by the scrub.

use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use crate::StoreError;

const CURRENT: &str = "current";
const TABLES: &str = "tables";
/// Number of the version 8, checksum of its file 16, kind of checksum 1.
const CURRENT_BYTES: usize = 25;
/// Bytes of a table read at once.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;
pub(crate) const RESTORE: &str = "restore the whole data directory from a copy, or choose an empty one to start as a new application";

/// One table as the version file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableFile {
    pub(crate) path: PathBuf,
    /// XXH3 (128 bits) of all bytes.
    pub(crate) checksum: u128,
    /// Added to the sequence numbers of its rows.
    pub(crate) seqno: u64,
}

/// Whether a base was ever made in `base`: it has the file that names its newest version.
pub(crate) fn exists(base: &Path) -> bool {
    base.join(CURRENT).exists()
}

/// Checks the files that say which tables there are, and that each of these is there.
pub(crate) fn tables(base: &Path) -> Result<Vec<TableFile>, StoreError> {
    let path = base.join(CURRENT);
    let current = read(&path)?;
    let current: [u8; CURRENT_BYTES] = current.try_into().map_err(|current: Vec<u8>| {
        let bytes = current.len();
        damaged(&path, &format!("it has {bytes} bytes instead of {CURRENT_BYTES}"))
    })?;
    let (number, checksum) = (le(&current[..8]), le(&current[8..24]));
    let version = base.join(format!("v{number}"));
    let bytes = match read(&version) {
        Err(StoreError::Missing { path: version, .. }) => {
            let problem = format!(
                "{} names it; one of the two is damaged or lost; {RESTORE}",
                path.display()
            );
            return Err(StoreError::Missing { path: version, problem });
        }
        read => read?,
    };
    if xxh3_128(&bytes) != checksum || current[24] != 0 {
        let problem =
            format!("it has not the checksum that {} states: one of the two", path.display());
        return Err(damaged(&version, &problem));
    }
    let tables = parse(base, &version, &bytes)?;
    check_names(base, &tables)?;
    Ok(tables)
}

/// The tables that the version file `version` with these bytes names.
fn parse(base: &Path, version: &Path, bytes: &[u8]) -> Result<Vec<TableFile>, StoreError> {
    let unreadable = || damaged(version, "it cannot be read although its checksum fits");
    let archive = sfa::Reader::from_reader(&mut Cursor::new(bytes)).map_err(|_| unreadable())?;
    let entry = archive.toc().section(b"tables").ok_or_else(unreadable)?;
    let (from, length) = (entry.pos() as usize, entry.len() as usize);
    let mut rest =
        from.checked_add(length).and_then(|to| bytes.get(from..to)).ok_or_else(unreadable)?;
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at_checked(count).ok_or_else(unreadable)?;
        rest = left;
        Ok(le(taken))
    };
    let mut tables = Vec::new();
    for _level in 0..take(1)? {
        for _run in 0..take(1)? {
            for _table in 0..take(4)? {
                let path = base.join(TABLES).join(take(8)?.to_string());
                let _kind_of_checksum = take(1)?;
                let (checksum, seqno) = (take(16)?, take(8)? as u64);
                tables.push(TableFile { path, checksum, seqno });
            }
        }
    }
    Ok(tables)
}

/// Every table is there, and nothing that the tree would stumble over.
fn check_names(base: &Path, tables: &[TableFile]) -> Result<(), StoreError> {
    let directory = base.join(TABLES);
    for table in tables {
        if !table.path.is_file() {
            let problem = format!("rows of the base are in it; {RESTORE}");
            return Err(StoreError::Missing { path: table.path.clone(), problem });
        }
    }
    let Ok(entries) = std::fs::read_dir(&directory) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let is_table = entry.file_name().to_str().is_some_and(|name| name.parse::<u64>().is_ok());
        if !is_table || entry.path().is_dir() {
            let problem =
                String::from("is not a file of the base and must not be here; move it away");
            return Err(StoreError::Incompatible { path: entry.path(), problem });
        }
    }
    Ok(())
}

/// Reads all bytes of a table; `pace` is told how many were read after each chunk, and says whether
/// to go on. Whether the bytes are those that were written: `None` when it was not to go on.
pub(crate) fn is_whole(
    table: &TableFile,
    mut pace: impl FnMut(usize) -> bool,
) -> Result<Option<bool>, StoreError> {
    let io = |error| StoreError::io(&table.path, error);
    let mut file = File::open(&table.path).map_err(io)?;
    let mut hasher = Xxh3Default::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let bytes = file.read(&mut chunk).map_err(io)?;
        if bytes == 0 {
            return Ok(Some(hasher.digest128() == table.checksum));
        }
        hasher.update(&chunk[..bytes]);
        if !pace(bytes) {
            return Ok(None);
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => StoreError::Missing {
            path: path.to_path_buf(),
            problem: format!("without it the base cannot be read; {RESTORE}"),
        },
        _ => StoreError::io(path, error),
    })
}

fn damaged(path: &Path, problem: &str) -> StoreError {
    let problem = format!("{problem}; {RESTORE}");
    StoreError::DamagedFile { path: path.to_path_buf(), problem }
}

/// A little-endian number of at most 16 bytes.
fn le(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |number, byte| (number << 8) | u128::from(*byte))
}
