//! What a store says when it cannot: each message names the file or directory and what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the store cannot answer. Each names the file or directory and what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has the directory open.
    #[error("{path}: locked by another process; stop it, or choose another --data directory", path = path.display())]
    Locked { path: PathBuf },
    /// Made by another version, or for other settings.
    #[error("{path}: {problem}", path = path.display())]
    Incompatible { path: PathBuf, problem: String },
    /// What was durable cannot be read any more.
    #[error("{path} at offset {offset}: damaged: {problem}", path = path.display())]
    Damaged { path: PathBuf, offset: u64, problem: String },
    /// A file cannot be what was written; `problem` says what is wrong and what to do.
    #[error("{path}: damaged: {problem}", path = path.display())]
    DamagedFile { path: PathBuf, problem: String },
    /// A file or directory that was there before is gone.
    #[error("{path} is missing: {problem}", path = path.display())]
    Missing { path: PathBuf, problem: String },
    /// The operating system refused.
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: Arc<io::Error> },
    /// A write or sync failed: nothing is accepted any more, the process has to restart.
    #[error("the store stopped after a failed write: {cause}")]
    Poisoned { cause: String },
    /// The commit cannot be stored as it is; nothing of it was taken.
    #[error("the commit cannot be stored: {problem}")]
    Unstorable { problem: String },
}

impl StoreError {
    /// Whether what was stored is not there any more, or not as it was.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::DamagedFile { .. } | Self::Missing { .. })
    }

    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source: Arc::new(source) }
    }
}
