//! What a shard asks of durable storage: the two traits that every store implements. The driver of a
//! shard calls them; no call waits for the disk, except `close`.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use dormouse_engine::{Commit, Opened};
use dormouse_protocol::Partition;

use crate::StoreError;

/// A position in the one write order of the process. Everything at or below the durable position
/// survives a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

/// Rows in key order.
pub type Rows = Vec<(Bytes, Bytes)>;

/// The answer of a read; ready at once where no disk is needed.
pub type ReadFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>>>>;

/// Called whenever the durable position moved, the store broke, or saturation ended: from the
/// store's own threads, or (the memory store, durable at once) at the end of an append.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

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

    /// The shard's thread is about to wait for events: what it has appended need not wait for more from
    /// it. A hint, from that thread; without it a commit becomes durable a little later.
    fn rests(&self, _shard: usize) {}

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

    /// The values of many keys, in the order asked, until they have about `bytes_max` bytes together (at
    /// least that of the first key); the others have to be asked for again. All as of this call, whatever
    /// is appended before the answer is there.
    fn get(&mut self, keys: Vec<Vec<u8>>, bytes_max: usize) -> ReadFuture<Vec<Option<Bytes>>>;

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
