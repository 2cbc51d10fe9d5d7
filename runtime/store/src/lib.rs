//! What a shard asks of durable storage, and the two stores that live in this process: memory, and
//! the embedded one (a group-commit log that is the authority, an LSM base written behind it). The
//! host's driver calls them; `docs/format.md` describes the files.

mod base;
mod checkpoint;
#[cfg(feature = "conformance")]
pub mod conformance;
mod embedded;
mod error;
mod keyed;
mod log;
mod memory;
mod merge;
mod outboxes;
mod overlay;
mod pace;
mod port;
mod reader;
mod scrub;
mod shard;
mod signals;
mod state;

pub use embedded::directory::stored_partitions;
pub use embedded::{EmbeddedOptions, EmbeddedStore, ProgressCallback, RecoveryReport};
pub use error::StoreError;
pub use log::recover::{RecoveryProgress, TailCut};
pub use memory::MemoryStore;
pub use port::{Lsn, ReadFuture, Rows, ShardStore, Store, Waker};
pub use scrub::{
    SCRUB_BYTES_PER_SECOND_MAX, SCRUB_BYTES_PER_SECOND_MIN, ScrubReport, ScrubStatus, scrub,
};
