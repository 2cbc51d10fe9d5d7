//! Both stores pass the suite; the embedded one with limits so small that checkpoints and segments
//! change all the time.

use std::sync::Arc;
use std::time::Duration;

use dormouse_store::{EmbeddedOptions, EmbeddedStore, MemoryStore, Store};

mod memory {
    use super::*;

    dormouse_store::conformance_tests!(|| -> Arc<dyn Store> { Arc::new(MemoryStore::new()) });
}

mod embedded {
    use super::*;

    dormouse_store::conformance_tests!(|| -> Arc<dyn Store> {
        let directory = tempfile::tempdir().unwrap().keep();
        Arc::new(Temporary::open(EmbeddedOptions::new(&directory, 8)))
    });
}

mod embedded_with_small_limits {
    use super::*;

    dormouse_store::conformance_tests!(|| -> Arc<dyn Store> {
        let directory = tempfile::tempdir().unwrap().keep();
        let mut options = EmbeddedOptions::new(&directory, 8);
        options.log_bytes_max = 256 << 10;
        options.segment_bytes = 64 << 10;
        options.dirty_bytes_max = 32 << 10;
        options.base_cache_bytes = 64 << 10;
        options.checkpoint_after_idle = Duration::from_millis(5);
        Arc::new(Temporary::open(options))
    });
}

/// A store whose directory goes with it.
#[derive(Debug)]
struct Temporary {
    store: Arc<EmbeddedStore>,
    directory: std::path::PathBuf,
}

impl Temporary {
    fn open(options: EmbeddedOptions) -> Self {
        let directory = options.directory.clone();
        let (store, report) = EmbeddedStore::open(options).expect("the store opens");
        assert!(report.is_new);
        Self { store, directory }
    }
}

impl Store for Temporary {
    fn open_shard(
        &self,
        shard: usize,
        partitions: &[dormouse_protocol::Partition],
        waker: dormouse_store::Waker,
    ) -> Result<Box<dyn dormouse_store::ShardStore>, dormouse_store::StoreError> {
        self.store.open_shard(shard, partitions, waker)
    }

    fn close(&self) -> Result<(), dormouse_store::StoreError> {
        self.store.close()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = self.store.close();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
