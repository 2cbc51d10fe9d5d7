//! The data directory: who may open it, and whether this version of the program can read it. The lock
//! is held as long as the store is open.
//!
//! `version` is the last file made, so where it is there are a log and a base: whatever is missing
//! then was lost, and is never taken for a new application. Until then `version.new` stands for it.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::StoreError;
use crate::log::segment::{SEGMENT_SUFFIX, sync_directory};

const FORMAT_VERSION: u32 = 1;
const TITLE: &str = "dormouse embedded store";
const VERSION_FILE: &str = "version";
/// The version file of a directory that is being made.
const UNFINISHED_FILE: &str = "version.new";
const LOCK_FILE: &str = "lock";
const LOG_DIRECTORY: &str = "log";
const BASE_DIRECTORY: &str = "base";
/// What a new file system brings along.
const LOST_AND_FOUND: &str = "lost+found";

/// An open data directory.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) log: PathBuf,
    pub(crate) base: PathBuf,
    pub(crate) application: Uuid,
    /// No commit was ever accepted: the directory is being made.
    pub(crate) is_new: bool,
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Locks `path`, which is made if it is not there, and checks that it fits.
    pub(crate) fn open(path: &Path, partitions: u16) -> Result<Self, StoreError> {
        make(path)?;
        // Before the lock, so that no file is left in a directory that is not ours.
        refuse_foreign(path)?;
        let lock = take_lock(&path.join(LOCK_FILE), path)?;
        let version = path.join(VERSION_FILE);
        let found = read(&version)?;
        let mut directory = Self {
            log: path.join(LOG_DIRECTORY),
            base: path.join(BASE_DIRECTORY),
            application: Uuid::nil(),
            is_new: found.is_none(),
            path: path.to_path_buf(),
            _lock: lock,
        };
        directory.application = match found {
            Some(text) => {
                let application = check(&version, &text, partitions)?;
                directory.require_all()?;
                application
            }
            None => directory.begin(partitions)?,
        };
        Ok(directory)
    }

    /// Opens a directory with whatever number of partitions it was made with.
    pub(crate) fn open_existing(path: &Path) -> Result<Self, StoreError> {
        let partitions = stored_partitions(path);
        if !path.join(VERSION_FILE).exists() && !path.join(LOG_DIRECTORY).exists() {
            return Err(StoreError::Incompatible {
                path: path.to_path_buf(),
                problem: String::from(
                    "is not a data directory of Dormouse: it has no file \"version\"",
                ),
            });
        }
        Self::open(path, partitions.unwrap_or_default())
    }

    /// Makes what is needed before `version` may be there, as often as a crash cuts it short.
    fn begin(&self, partitions: u16) -> Result<Uuid, StoreError> {
        let unfinished = self.path.join(UNFINISHED_FILE);
        let begun = read(&unfinished)?;
        let application = match begun.map(|text| check(&unfinished, &text, partitions)) {
            Some(Ok(application)) => application,
            _ if self.log.exists() || self.base.exists() => {
                return Err(self.version_is_missing());
            }
            _ => write(&unfinished, partitions)?,
        };
        sync_directory(&self.path)?;
        make_inside(&self.log)?;
        make_inside(&self.base)?;
        sync_directory(&self.path)?;
        Ok(application)
    }

    fn version_is_missing(&self) -> StoreError {
        missing(
            &self.path.join(VERSION_FILE),
            "there are data beside it; restore it from a copy, or choose another --data directory",
        )
    }

    /// There are data, which there never are before `version` is.
    pub(crate) fn refuse_unfinished(&self) -> Result<(), StoreError> {
        if self.is_new { Err(self.version_is_missing()) } else { Ok(()) }
    }

    /// Log and base are there: makes the directory one that has both. Nothing may have been accepted
    /// before, and everything may be afterwards.
    pub(crate) fn finish(&self) -> Result<(), StoreError> {
        if !self.is_new {
            return Ok(());
        }
        let unfinished = self.path.join(UNFINISHED_FILE);
        std::fs::rename(&unfinished, self.path.join(VERSION_FILE))
            .map_err(|error| StoreError::io(&unfinished, error))?;
        sync_directory(&self.path)
    }

    /// Where `version` is, log and base are.
    fn require_all(&self) -> Result<(), StoreError> {
        let restore = "the data directory was in use before; restore it from a copy as a whole, or choose an empty --data directory to start as a new application";
        for part in [&self.log, &self.base] {
            if !part.is_dir() {
                return Err(missing(part, restore));
            }
        }
        let entries =
            std::fs::read_dir(&self.log).map_err(|error| StoreError::io(&self.log, error))?;
        let has_segment = entries
            .flatten()
            .any(|entry| entry.file_name().to_str().is_some_and(|n| n.ends_with(SEGMENT_SUFFIX)));
        if has_segment {
            return Ok(());
        }
        Err(missing(&self.log.join(format!("*{SEGMENT_SUFFIX}")), restore))
    }
}

/// The number of partitions that a data directory was made with; `None` when there is none yet (or
/// its version file cannot be understood, which opening it reports).
#[must_use]
pub fn stored_partitions(directory: &Path) -> Option<u16> {
    let text = std::fs::read_to_string(directory.join(VERSION_FILE)).ok()?;
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return None;
    }
    lines.find_map(|line| line.strip_prefix("partitions "))?.parse().ok()
}

fn missing(path: &Path, problem: &str) -> StoreError {
    StoreError::Missing { path: path.to_path_buf(), problem: String::from(problem) }
}

fn unusable(path: &Path, problem: String) -> StoreError {
    StoreError::Incompatible { path: path.to_path_buf(), problem }
}

/// Makes the data directory, not those above it: an unmounted disk is not replaced by a new directory.
fn make(path: &Path) -> Result<(), StoreError> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => {
            return Err(unusable(
                path,
                String::from("is a file, not a directory; choose another --data directory"),
            ));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(denied(path, error)),
    }
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = path.parent().unwrap_or(path);
            Err(unusable(
                path,
                format!(
                    "cannot be made, because {} does not exist; make or mount it, or choose another --data directory",
                    parent.display()
                ),
            ))
        }
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(denied(path, error)),
        _ => Ok(()),
    }
}

fn make_inside(path: &Path) -> Result<(), StoreError> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(denied(path, error)),
        _ => Ok(()),
    }
}

/// Says what to do about what the operating system refuses because of who we are or where it is.
fn denied(path: &Path, error: std::io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => unusable(
            path,
            format!(
                "cannot be written ({error}); give the user that runs this program the right to write there, or choose another --data directory"
            ),
        ),
        ErrorKind::NotADirectory => unusable(
            path,
            String::from("lies below a file, not a directory; choose another --data directory"),
        ),
        _ => StoreError::io(path, error),
    }
}

/// Without a version file of ours, a directory may hold what a start of ours that was cut short left,
/// and nothing else.
fn refuse_foreign(path: &Path) -> Result<(), StoreError> {
    if path.join(VERSION_FILE).exists() {
        return Ok(());
    }
    let ours =
        [LOCK_FILE, UNFINISHED_FILE, LOG_DIRECTORY, BASE_DIRECTORY, LOST_AND_FOUND].map(Some);
    for entry in std::fs::read_dir(path).map_err(|error| denied(path, error))? {
        let name = entry.map_err(|error| StoreError::io(path, error))?.file_name();
        if !ours.contains(&name.to_str()) {
            return Err(unusable(
                path,
                format!(
                    "holds {name:?} and no file \"version\", so it is not a data directory of Dormouse; choose an empty or another --data directory"
                ),
            ));
        }
    }
    Ok(())
}

fn take_lock(path: &Path, directory: &Path) -> Result<File, StoreError> {
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| denied(path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: directory.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(StoreError::io(path, error)),
    }
}

/// The bytes of a file, `None` when it is not there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(denied(path, error)),
    }
}

fn write(path: &Path, partitions: u16) -> Result<Uuid, StoreError> {
    let application = Uuid::new_v4();
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let fields = format!(
        "{TITLE}\nformat {FORMAT_VERSION}\napplication {application}\npartitions {partitions}\ncreated {created}\n"
    );
    let text = format!("{fields}{}\n", checksum_line(&fields));
    let io = |error| denied(path, error);
    let mut file = File::create(path).map_err(io)?;
    file.write_all(text.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    Ok(application)
}

/// Checks the version file; returns the application's id.
fn check(path: &Path, bytes: &[u8], partitions: u16) -> Result<Uuid, StoreError> {
    let damaged = |problem: String| StoreError::DamagedFile {
        path: path.to_path_buf(),
        problem: format!("{problem}; restore it from a copy"),
    };
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    if text.lines().next() != Some(TITLE) {
        return Err(unusable(
            path,
            format!(
                "does not begin with {TITLE:?}: it is damaged (restore it from a copy), or this is not a data directory of Dormouse (choose another --data directory)"
            ),
        ));
    }
    // Title, format and checksum are where they are in every format to come.
    let (fields, checksum) = text
        .strip_suffix('\n')
        .and_then(|text| text.rsplit_once('\n'))
        .ok_or_else(|| damaged(String::from("it ends early")))?;
    let expected = checksum_line(&format!("{fields}\n"));
    if checksum != expected {
        return Err(damaged(format!("it ends with {checksum:?}, its lines have {expected:?}")));
    }
    let mut lines = fields.lines().skip(1);
    let mut field = |name: &str| {
        lines
            .next()
            .and_then(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .ok_or_else(|| damaged(format!("it has no line {name:?} where it should be")))
    };
    let format = field("format")?;
    if format != FORMAT_VERSION.to_string() {
        return Err(unusable(
            path,
            format!(
                "the directory has format {format}, this program reads and writes format {FORMAT_VERSION}; use the version that made it"
            ),
        ));
    }
    let application = field("application")?;
    let application = Uuid::parse_str(application)
        .map_err(|_| damaged(format!("{application:?} is not the id of an application")))?;
    let made_with = field("partitions")?;
    if made_with != partitions.to_string() {
        return Err(unusable(
            path,
            format!(
                "the directory was made with {made_with} partitions and cannot be opened with {partitions}: the number decides where each address lives; leave --partitions out or set it to {made_with}"
            ),
        ));
    }
    Ok(application)
}

fn checksum_line(fields: &str) -> String {
    format!("checksum {:08x}", crc32fast::hash(fields.as_bytes()))
}
