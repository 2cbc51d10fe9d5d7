//! The data directory: who may open it, and whether this version of the program can read it. The
//! version file is the first thing made, the lock is held as long as the store is open.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::StoreError;
use crate::log::segment::sync_directory;

const FORMAT_VERSION: u32 = 1;
const TITLE: &str = "dormouse embedded store";
const VERSION_FILE: &str = "version";
const LOCK_FILE: &str = "lock";
const LOG_DIRECTORY: &str = "log";
const BASE_DIRECTORY: &str = "base";

/// An open data directory.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) log: PathBuf,
    pub(crate) base: PathBuf,
    pub(crate) application: Uuid,
    pub(crate) is_new: bool,
    _lock: File,
}

impl Directory {
    /// Locks `path`, which is made if it is not there, and checks that it fits.
    pub(crate) fn open(path: &Path, partitions: u16) -> Result<Self, StoreError> {
        make(path)?;
        let lock = take_lock(&path.join(LOCK_FILE), path)?;
        let log = path.join(LOG_DIRECTORY);
        let base = path.join(BASE_DIRECTORY);
        let version = path.join(VERSION_FILE);
        let (application, is_new) = match std::fs::read_to_string(&version) {
            Ok(text) => (check(&version, &text, partitions)?, false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if log.exists() || base.exists() {
                    return Err(StoreError::Incompatible {
                        path: version,
                        problem: String::from(
                            "is missing although there are data beside it; restore it from a copy, or choose another --data directory",
                        ),
                    });
                }
                (write(path, &version, partitions)?, true)
            }
            Err(error) => return Err(StoreError::io(&version, error)),
        };
        make(&log)?;
        make(&base)?;
        sync_directory(path)?;
        Ok(Self { log, base, application, is_new, _lock: lock })
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

fn make(path: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(path).map_err(|error| StoreError::io(path, error))
}

fn take_lock(path: &Path, directory: &Path) -> Result<File, StoreError> {
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| StoreError::io(path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: directory.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(StoreError::io(path, error)),
    }
}

fn write(directory: &Path, version: &Path, partitions: u16) -> Result<Uuid, StoreError> {
    let application = Uuid::new_v4();
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let text = format!(
        "{TITLE}\nformat {FORMAT_VERSION}\napplication {application}\npartitions {partitions}\ncreated {created}\n"
    );
    let new = directory.join("version.new");
    let io = |error| StoreError::io(&new, error);
    let mut file = File::create(&new).map_err(io)?;
    file.write_all(text.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    std::fs::rename(&new, version).map_err(io)?;
    sync_directory(directory)?;
    Ok(application)
}

/// Checks the version file; returns the application's id.
fn check(path: &Path, text: &str, partitions: u16) -> Result<Uuid, StoreError> {
    let refuse = |problem: String| StoreError::Incompatible { path: path.to_path_buf(), problem };
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return Err(refuse(format!(
            "does not begin with {TITLE:?}; this is not a data directory of Dormouse, choose another --data directory"
        )));
    }
    let mut field = |name: &str| {
        lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' ')).ok_or_else(|| {
            refuse(format!("has no line {name:?} where it should be; restore it from a copy"))
        })
    };
    let format = field("format")?;
    if format != FORMAT_VERSION.to_string() {
        return Err(refuse(format!(
            "the directory has format {format}, this program reads and writes format {FORMAT_VERSION}; use the version that made it"
        )));
    }
    let application = field("application")?;
    let application = Uuid::parse_str(application).map_err(|_| {
        refuse(format!("{application:?} is not the id of an application; restore it from a copy"))
    })?;
    let made_with = field("partitions")?;
    if made_with != partitions.to_string() {
        return Err(refuse(format!(
            "the directory was made with {made_with} partitions and cannot be opened with {partitions}: the number decides where each address lives; leave --partitions out or set it to {made_with}"
        )));
    }
    Ok(application)
}
