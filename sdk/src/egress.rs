//! Where records leave. What a function sends to an egress waits in the sender's partition until the
//! egress confirms it; after a crash what was not confirmed is handed over again, in order.

use std::fmt::Debug;
use std::sync::Arc;

use dormouse_protocol::{Address, Partition, TypedValue};

use crate::ingress::{Lane, LocalFuture, OpenError};

/// A sink of records, bound by a module.
pub trait Egress: Debug + Send + Sync {
    /// As for [`crate::ingress::Ingress::open`].
    fn open(&self) -> Result<Option<String>, OpenError>;

    /// Looks at a record before the invocation that sent it is committed: the name of the queue
    /// within this egress that it belongs to (at most 100 bytes; empty when there is only one), or why
    /// the egress cannot take it, which fails the sender.
    fn check(&self, value: &TypedValue) -> Result<String, String>;

    /// Whether it still has the queue of this name, which [`Egress::check`] named in an earlier run:
    /// records for a queue that is gone are refused at start, not forgotten.
    fn has_queue(&self, name: &str) -> bool;

    /// Takes over durable records, in order per partition and queue. Called on shards' threads; must
    /// not block. A bounded number is unconfirmed at a time; more come as receipts are confirmed.
    fn deliver(&self, entries: Vec<EgressEntry>);

    /// Serves on one shard's thread until [`Lane::stopped`].
    fn serve(self: Arc<Self>, lane: Lane) -> LocalFuture<()>;
}

/// One durable record.
#[derive(Debug)]
pub struct EgressEntry {
    /// The queue that [`Egress::check`] named.
    pub queue: String,
    /// The instance that sent it.
    pub sender: Address,
    /// The record.
    pub value: TypedValue,
    /// To be confirmed once the record has left.
    pub receipt: Receipt,
}

/// Names one durable record; confirming it lets the runtime forget the record.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The partition that holds the record.
    pub partition: Partition,
    /// Number within partition and queue, growing by one.
    pub number: u64,
    /// The queue's name in the runtime.
    pub outbox: Arc<str>,
    /// Where the confirmation goes.
    pub confirmations: Arc<dyn Confirmations>,
}

impl Receipt {
    /// The record has left. May be called on any thread, in any order, once per entry.
    pub fn confirm(self) {
        self.confirmations.confirm(self.partition, &self.outbox, self.number);
    }
}

/// What the runtime implements behind [`Receipt`].
pub trait Confirmations: Debug + Send + Sync {
    /// The record with this number has left.
    fn confirm(&self, partition: Partition, outbox: &Arc<str>, number: u64);
}
