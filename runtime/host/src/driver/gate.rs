//! Holds ingresses back while the backlog of the process is at its bound, or the store has more changes
//! in memory than it may. Only ingresses: messages between functions are never refused, or a cycle of
//! them would stand still.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;

/// Messages in the store may be so many times the bytes that messages in memory may be.
const SPILLED_FACTOR: u64 = 64;

#[derive(Debug)]
pub(crate) struct Gate {
    /// Bytes of accepted messages in memory.
    memory_bytes_max: u64,
    shards: Vec<Load>,
    opened: Notify,
}

#[derive(Debug, Default)]
struct Load {
    /// Submitted and not yet taken by the shard.
    queued_bytes: AtomicU64,
    memory_bytes: AtomicU64,
    spilled_bytes: AtomicU64,
    /// As the shard's last turn saw it; the store makes each shard take a turn when it ends.
    is_saturated: AtomicBool,
}

impl Gate {
    pub(crate) fn new(shards: usize, memory_bytes_max: u64) -> Self {
        let shards = (0..shards).map(|_| Load::default()).collect();
        Self { memory_bytes_max, shards, opened: Notify::new() }
    }

    /// Whether the store has held up a shard at its last turn.
    pub(crate) fn is_saturated(&self) -> bool {
        self.shards.iter().any(|load| load.is_saturated.load(Relaxed))
    }

    pub(crate) fn is_open(&self) -> bool {
        let (mut memory, mut spilled) = (0, 0);
        for load in &self.shards {
            if load.is_saturated.load(Relaxed) {
                return false;
            }
            memory += load.queued_bytes.load(Relaxed) + load.memory_bytes.load(Relaxed);
            spilled += load.spilled_bytes.load(Relaxed);
        }
        memory < self.memory_bytes_max && spilled < self.memory_bytes_max * SPILLED_FACTOR
    }

    /// Waits until the backlog is below its bound.
    pub(crate) async fn pass(&self) {
        while !self.is_open() {
            let opened = self.opened.notified();
            if self.is_open() {
                return;
            }
            opened.await;
        }
    }

    pub(crate) fn queued(&self, shard: usize, bytes: usize) {
        self.shards[shard].queued_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn taken(&self, shard: usize, bytes: usize) {
        self.shards[shard].queued_bytes.fetch_sub(bytes as u64, Relaxed);
    }

    /// Whether the store is saturated, as a turn of the shard sees it.
    pub(crate) fn saturated(&self, shard: usize, is_saturated: bool) {
        let was = self.shards[shard].is_saturated.swap(is_saturated, Relaxed);
        if was && !is_saturated && self.is_open() {
            self.opened.notify_waiters();
        }
    }

    /// What the shard holds after a turn. Lets waiting ingresses go on when that opens the gate.
    pub(crate) fn publish(&self, shard: usize, memory_bytes: u64, spilled_bytes: u64) {
        let load = &self.shards[shard];
        let was = load.memory_bytes.swap(memory_bytes, Relaxed);
        let spilled_was = load.spilled_bytes.swap(spilled_bytes, Relaxed);
        if (memory_bytes < was || spilled_bytes < spilled_was) && self.is_open() {
            self.opened.notify_waiters();
        }
    }
}
