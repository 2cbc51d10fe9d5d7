//! What a shard asks of durable storage, and the two stores that live in this process: memory, and
//! the embedded one (a group-commit log that is the authority, an LSM base written behind it).

use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use dormouse_engine::{Commit, Opened};
use dormouse_protocol::Partition;

/// A position in the one write order of the process. Everything at or below the durable position
/// survives a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

/// Rows in key order.
pub type Rows = Vec<(Bytes, Bytes)>;

/// The answer of a read; ready at once where no disk is needed.
pub type ReadFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>>>>;

/// Called from the store's own threads whenever the durable position moved or the store broke.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Why the store cannot answer. Each names the file or directory and what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{path}: locked by another process; stop it, or choose another --data directory", path = path.display())]
    Locked { path: PathBuf },
    #[error("{path}: {problem}", path = path.display())]
    Incompatible { path: PathBuf, problem: String },
    #[error("{path} at offset {offset}: damaged: {problem}", path = path.display())]
    Damaged {
        path: PathBuf,
        offset: u64,
        problem: String,
    },
    #[error("{path}: {source}", path = path.display())]
    Io {
        path: PathBuf,
        source: Arc<std::io::Error>,
    },
    /// A write or sync failed: nothing is accepted any more, the process has to restart.
    #[error("the store stopped after a failed write: {cause}")]
    Poisoned { cause: String },
}

/// The store of a process; each shard opens its own handle.
pub trait Store: Debug + Send + Sync {
    /// Opens the handle of one shard; called on that shard's own thread, once per shard.
    /// `partitions` are those that this shard owns.
    fn open_shard(
        &self,
        shard: usize,
        partitions: &[Partition],
        waker: Waker,
    ) -> Result<Box<dyn ShardStore>, StoreError>;

    /// Writes and syncs everything appended so far, stops the store's threads, releases the lock.
    fn close(&self) -> Result<(), StoreError>;
}

/// One shard's handle. Used by one thread; no call waits for the disk.
pub trait ShardStore: Debug {
    /// What is stored of a partition: its meta rows and its last commit's [`dormouse_engine::PartMeta`].
    fn open(&mut self, partition: Partition) -> ReadFuture<Opened>;

    /// Takes the commit in the process's one write order. Reads of this shard see it from now on; it
    /// is never refused later. An empty commit gets the position of the last one appended by anyone.
    fn append(&mut self, commit: &Commit) -> Result<Lsn, StoreError>;

    /// Everything up to here survives a crash. An error once the store is poisoned.
    fn durable(&self) -> Result<Lsn, StoreError>;

    /// The values of many keys, in the order asked.
    fn get(&mut self, keys: Vec<Vec<u8>>) -> ReadFuture<Vec<Option<Bytes>>>;

    /// Rows with `from <= key < to`, in order, until `rows_max` rows or about `bytes_max` bytes (at
    /// least one row when there is one). The flag tells whether there may be more.
    fn scan(
        &mut self,
        from: Vec<u8>,
        to: Vec<u8>,
        rows_max: usize,
        bytes_max: usize,
    ) -> ReadFuture<(Rows, bool)>;

    /// Whether the shard should stop starting work until the store has caught up (dirty bytes at
    /// their bound). The waker is called when that ends.
    fn is_saturated(&self) -> bool;
}
