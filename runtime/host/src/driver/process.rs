//! What all shards of a process share: where each partition lives, how to reach it, what is served.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use dormouse_protocol::partition::{HTTP_NAMESPACE, REPLY_NAME};
use dormouse_protocol::{FunctionType, Partition, TypeName};
use dormouse_sdk::egress::{Confirmations, Egress};
use tokio::sync::watch;
use uuid::Uuid;

use crate::driver::gate::Gate;
use crate::driver::inbox::{Inbox, Incoming};
use crate::driver::room::Room;
use crate::metrics::Metrics;
use crate::plan::functions::Functions;
use crate::stall::pulse::Pulse;

/// Separates an egress's id from the name of a queue within it.
pub(crate) const QUEUE_SEPARATOR: char = '#';

/// Digits of a process's name, and how many it has: enough for 62 bits.
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const NAME_DIGITS: usize = 12;

#[derive(Debug)]
pub(crate) struct Process {
    /// Names this process in reply addresses: see [`Process::new_name`].
    pub(crate) name: String,
    pub(crate) reply_type: FunctionType,
    pub(crate) partitions: u16,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) gate: Gate,
    pub(crate) room: Room,
    pub(crate) functions: Functions,
    pub(crate) egresses: BTreeMap<TypeName, Arc<dyn Egress>>,
    /// By the egress's id.
    pub(crate) egress_counts: BTreeMap<String, EgressCounts>,
    pub(crate) metrics: Arc<Metrics>,
    /// One of each shard.
    pub(crate) pulses: Vec<Arc<Pulse>>,
    /// Set when the process is asked to stop: until when requests in flight should be answered.
    pub(crate) stopping: watch::Sender<Option<Instant>>,
    /// Why the process cannot go on, if so.
    pub(crate) failed: watch::Sender<Option<String>>,
}

/// Records of one egress, of all shards.
#[derive(Debug, Default)]
pub(crate) struct EgressCounts {
    delivered: AtomicU64,
    confirmed: AtomicU64,
}

impl EgressCounts {
    pub(crate) fn deliver(&self, count: usize) {
        self.delivered.fetch_add(count as u64, Relaxed);
    }

    /// Records that it has and has not confirmed.
    pub(crate) fn unconfirmed(&self) -> u64 {
        let confirmed = self.confirmed();
        self.delivered.load(Relaxed).saturating_sub(confirmed)
    }

    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed.load(Relaxed)
    }
}

impl Process {
    pub(crate) fn shards(&self) -> usize {
        self.inboxes.len()
    }

    /// The shard that owns a partition.
    pub(crate) fn shard_of(&self, partition: Partition) -> usize {
        usize::from(partition.0) % self.inboxes.len()
    }

    /// The partitions that a shard owns.
    pub(crate) fn partitions_of(&self, shard: usize) -> Vec<Partition> {
        (0..self.partitions).map(Partition).filter(|p| self.shard_of(*p) == shard).collect()
    }

    /// A name that no other process has had. Short, so that a reply address, which every request has and
    /// its message carries along, mostly needs no memory of its own.
    pub(crate) fn new_name() -> String {
        let (first, second) = Uuid::new_v4().as_u64_pair();
        // Version and variant lie at fixed places, in each half at another: all bits are random.
        let mut left = first ^ second;
        let digit = |_| {
            let digit = DIGITS[(left % DIGITS.len() as u64) as usize];
            left /= DIGITS.len() as u64;
            char::from(digit)
        };
        (0..NAME_DIGITS).map(digit).collect()
    }

    pub(crate) fn reply_type() -> FunctionType {
        FunctionType::new(HTTP_NAMESPACE, REPLY_NAME)
    }

    /// Records why the process cannot go on (the first reason stays) and wakes who watches.
    pub(crate) fn fail(&self, reason: &str) {
        self.failed.send_if_modified(|failed| {
            let is_first = failed.is_none();
            failed.get_or_insert_with(|| reason.to_owned());
            is_first
        });
    }
}

impl Confirmations for Process {
    fn confirm(&self, partition: Partition, outbox: &Arc<str>, number: u64) {
        let egress = outbox.split_once(QUEUE_SEPARATOR).map_or(&**outbox, |(egress, _)| egress);
        if let Some(counts) = self.egress_counts.get(egress) {
            counts.confirmed.fetch_add(1, Relaxed);
        }
        let confirmed = Incoming::EgressConfirmed { partition, outbox: outbox.clone(), number };
        self.inboxes[self.shard_of(partition)].push(confirmed);
    }
}
