//! What the process counts, and every metric's name. Each shard writes to a struct of its own with
//! relaxed atomics, so that counting costs the hot path a plain load and store; the admin listener
//! reads them and renders Prometheus text ([`render`]).

pub mod histogram;
pub mod process;
pub mod render;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use dormouse_protocol::FunctionType;
use dormouse_store::ScrubStatus;

use crate::metrics::histogram::Histogram;
use crate::stall::Stalls;

/// Metrics of the process: one entry per shard.
#[derive(Debug)]
pub struct Metrics {
    shards: Vec<Arc<ShardMetrics>>,
    /// What the store's scrub has read and found.
    pub scrub: Arc<ScrubStatus>,
    /// What stands still.
    pub stalls: Arc<Stalls>,
}

/// Counts of one shard. **Written by that shard's thread only**: a counter is a relaxed load and a
/// relaxed store, so a second writer would lose counts.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    pub work: WorkMetrics,
    pub effects: EffectMetrics,
    pub commits: CommitMetrics,
    pub ingress: IngressMetrics,
    pub load: LoadMetrics,
    functions: Mutex<BTreeMap<FunctionType, Arc<FunctionMetrics>>>,
}

/// What functions were given.
#[derive(Debug, Default)]
pub struct WorkMetrics {
    /// Messages whose effects went into a commit.
    pub messages: Counter,
    /// Calls of functions, successful or not.
    pub invocations: Counter,
    pub invocation_failures: Counter,
    /// Failed calls after which there was no room for a dead letter.
    pub burials_refused: Counter,
    /// Messages, and addresses found at the start, whose type nobody serves.
    pub unserved: Counter,
    /// From the call to its answer, in nanoseconds.
    pub invocation_nanos: Histogram,
}

/// What functions asked for.
#[derive(Debug, Default)]
pub struct EffectMetrics {
    pub messages: Counter,
    pub delayed: Counter,
    pub cancellations: Counter,
    pub egress_records: Counter,
    pub replies: Counter,
    /// Replies that came too late, twice, or after a restart.
    pub replies_dropped: Counter,
}

/// What was handed to the store.
#[derive(Debug, Default)]
pub struct CommitMetrics {
    pub commits: Counter,
    pub bytes: Counter,
    pub operations: Counter,
    /// Bytes per commit.
    pub size: Histogram,
    /// Age of the oldest commit that is not durable yet, in nanoseconds.
    pub durable_lag_nanos: Gauge,
}

/// What came in.
#[derive(Debug, Default)]
pub struct IngressMetrics {
    pub accepted: Counter,
    pub rejected: Counter,
    /// From the submission of a message until it is durable, in nanoseconds.
    pub durable_nanos: Histogram,
}

/// What is held at the moment.
#[derive(Debug, Default)]
pub struct LoadMetrics {
    pub backlog_messages: Gauge,
    pub backlog_bytes: Gauge,
    pub awake_instances: Gauge,
    pub blocked_addresses: Gauge,
    pub dead_letters: Gauge,
    pub in_flight: Gauge,
    pub egress_unconfirmed: Gauge,
}

/// Counts of one function type on one shard.
#[derive(Debug, Default)]
pub struct FunctionMetrics {
    pub invocations: Counter,
    pub messages: Counter,
    /// Calls that succeeded.
    pub ended: Counter,
    pub failures: Counter,
    /// Messages that were given up: kept as dead letters, and not kept.
    pub dead_letters: Counter,
    pub dropped: Counter,
}

/// A number that only grows. One writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that goes up and down. One writer.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Metrics {
    /// For a process with so many shards.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Arc::default()).collect(),
            scrub: Arc::default(),
            stalls: Arc::default(),
        }
    }

    /// The counts of one shard, by its number.
    ///
    /// # Panics
    /// When there is no such shard.
    #[must_use]
    pub fn shard(&self, index: usize) -> Arc<ShardMetrics> {
        Arc::clone(&self.shards[index])
    }

    /// All shards, in order.
    #[must_use]
    pub fn shards(&self) -> &[Arc<ShardMetrics>] {
        &self.shards
    }
}

impl ShardMetrics {
    /// The counts of a function type. To be asked for once and kept: it takes a lock.
    #[must_use]
    pub fn function(&self, function_type: FunctionType) -> Arc<FunctionMetrics> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(functions.entry(function_type).or_default())
    }

    pub(crate) fn each_function(&self, mut visit: impl FnMut(FunctionType, &FunctionMetrics)) {
        let functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        for (function_type, counts) in functions.iter() {
            visit(*function_type, counts);
        }
    }
}

impl Counter {
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed) + count, Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Gauge {
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
