//! Opens the store that the settings choose.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dormouse_store::{
    EmbeddedOptions, EmbeddedStore, MemoryStore, RecoveryReport, ScrubStatus, Store, StoreError,
    stored_partitions,
};

pub use dormouse_store::{ScrubReport, scrub};

use crate::settings::memory::Shares;
use crate::settings::{PARTITIONS_DEFAULT, Settings, StoreKind};

/// A recovery that takes longer says how far it is, so often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// An open store.
#[derive(Debug)]
pub struct OpenStore {
    pub store: Arc<dyn Store>,
    /// What it was made with.
    pub partitions: u16,
    /// What was recovered; `None` for a store that is new with the process.
    pub recovery: Option<RecoveryReport>,
}

/// Opens (or makes) the store; blocks while it recovers.
/// `scrub` is told what the scrub finds as long as the store is open.
pub fn open(settings: &Settings, scrub: Arc<ScrubStatus>) -> Result<OpenStore, StoreError> {
    let chosen = settings.runtime.partitions;
    match settings.store.kind {
        StoreKind::Memory => Ok(OpenStore {
            store: Arc::new(MemoryStore::new()),
            partitions: chosen.unwrap_or(PARTITIONS_DEFAULT),
            recovery: None,
        }),
        StoreKind::Embedded => {
            let directory = &settings.store.data;
            let stored = || stored_partitions(directory);
            let partitions = chosen.or_else(stored).unwrap_or(PARTITIONS_DEFAULT);
            let reported = Mutex::new(Instant::now());
            let mut options = EmbeddedOptions::new(directory, partitions);
            options.log_bytes_max = settings.store.log_bytes_max;
            options.segment_bytes = settings.store.segment_bytes;
            options.dirty_bytes_max = settings.store.dirty_bytes_max;
            let shares = Shares::of(settings.runtime.memory_bytes);
            options.base_cache_bytes = settings.store.cache_bytes;
            options.compaction_bytes = shares.compaction;
            options.unsynced_bytes_max = shares.unsynced;
            options.scrub_interval = settings.store.scrub_interval;
            options.scrub_status = scrub;
            options.progress = Some(Arc::new(move |progress| {
                let mut reported = reported.lock().unwrap_or_else(PoisonError::into_inner);
                if reported.elapsed() >= PROGRESS_INTERVAL {
                    *reported = Instant::now();
                    let (read, total) = (progress.bytes_read >> 20, progress.bytes_total >> 20);
                    eprintln!("recovering: {read} of {total} MiB of the log");
                }
            }));
            let (store, recovery) = EmbeddedStore::open(options)?;
            Ok(OpenStore { store, partitions, recovery: Some(recovery) })
        }
    }
}
