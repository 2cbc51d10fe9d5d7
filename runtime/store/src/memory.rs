//! The store without a disk: the shards' state alone, durable when appended, gone with the process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use dormouse_protocol::Partition;

use crate::shard::{Backing, Shard};
use crate::signals::lock;
use crate::state::State;
use crate::{ShardStore, Store, StoreError, Waker};

/// Keeps everything in memory. A shard that is opened again with the same partitions finds what it
/// stored; the end of the process is the end of the data.
#[derive(Debug, Default)]
pub struct MemoryStore {
    last: Arc<AtomicU64>,
    shards: Shards,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn open_shard(
        &self,
        shard: usize,
        partitions: &[Partition],
        waker: Waker,
    ) -> Result<Box<dyn ShardStore>, StoreError> {
        let (number, state) = self.shards.open(shard, partitions, |_| State::of_memory())?;
        Ok(Box::new(Shard {
            number,
            state,
            backing: Backing::Memory(Arc::clone(&self.last)),
            waker,
            metas: Vec::new(),
        }))
    }

    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The shards of a store: whose state is where. No partition belongs to two of them.
#[derive(Debug, Default)]
pub(crate) struct Shards(Mutex<HashMap<u16, Owned>>);

#[derive(Debug)]
pub(crate) struct Owned {
    partitions: Vec<Partition>,
    pub(crate) state: Arc<Mutex<State>>,
}

impl Shards {
    /// The state of a shard, made by `make` when the shard is opened for the first time.
    pub(crate) fn open(
        &self,
        shard: usize,
        partitions: &[Partition],
        make: impl FnOnce(&[Partition]) -> State,
    ) -> Result<(u16, Arc<Mutex<State>>), StoreError> {
        let refuse = |problem: String| StoreError::Incompatible {
            path: PathBuf::from(format!("shard {shard}")),
            problem,
        };
        let number = u16::try_from(shard)
            .map_err(|_| refuse(format!("at most {} shards can be opened", u16::MAX)))?;
        let mut partitions = partitions.to_vec();
        partitions.sort_unstable();
        let mut shards = lock(&self.0);
        for (other, owned) in &*shards {
            let is_same = *other == number;
            if is_same && owned.partitions != partitions {
                return Err(refuse(String::from("it was opened with other partitions")));
            }
            let shared = partitions
                .iter()
                .find(|partition| owned.partitions.binary_search(partition).is_ok());
            if let (false, Some(partition)) = (is_same, shared) {
                return Err(refuse(format!("partition {partition} belongs to shard {other}")));
            }
        }
        let owned = shards.entry(number).or_insert_with(|| Owned {
            state: Arc::new(Mutex::new(make(&partitions))),
            partitions,
        });
        Ok((number, Arc::clone(&owned.state)))
    }

    /// Runs `with` on the states of all shards while none can be added.
    pub(crate) fn with_all<T>(&self, with: impl FnOnce(&[Arc<Mutex<State>>]) -> T) -> T {
        let shards = lock(&self.0);
        let states: Vec<_> = shards.values().map(|owned| Arc::clone(&owned.state)).collect();
        with(&states)
    }
}
