//! What other threads, and other tasks of the same thread, bring to a shard. Bounded by those who put
//! in: submits by the backlog gate, frames by the channels' windows, confirmations by the egress
//! windows.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dormouse_engine::{Completed, Frame, InvocationId, ScanFor};
use dormouse_protocol::{EntryRead, FunctionType, InvokeError, Message, Partition, TypedValue};
use dormouse_sdk::ingress::SubmitError;
use dormouse_store::{Rows, StoreError};
use tokio::sync::{Notify, oneshot};

use crate::driver::dead::Question;
use crate::driver::reads::Batch;

/// Tells the submitter that its message is durable.
pub(crate) type Acknowledge = oneshot::Sender<Result<(), SubmitError>>;

/// From any thread.
#[derive(Debug)]
pub(crate) enum Incoming {
    Submit {
        message: Message,
        acknowledge: Acknowledge,
    },
    Frames(Vec<Frame>),
    EgressConfirmed {
        partition: Partition,
        outbox: Arc<str>,
        number: u64,
    },
    /// To requests of this lane, by their numbers.
    Replies(Vec<(u64, TypedValue)>),
    /// The call of this type that has waited longest is to be named.
    NameLongest {
        function_type: FunctionType,
    },
    /// About dead letters.
    Dead(Box<Question>),
    /// Every shard has opened its partitions.
    Start,
    /// Start nothing new, settle what is under way, and end; calls that last longer are given up.
    Stop {
        stops_at: Instant,
    },
}

/// From tasks of the shard's own thread.
#[derive(Debug)]
pub(crate) enum Local {
    Submit {
        message: Message,
        acknowledge: Acknowledge,
    },
    Done {
        id: InvocationId,
        result: Result<Completed, InvokeError>,
        nanos: u64,
    },
    Read {
        id: InvocationId,
        read: EntryRead,
    },
    Got {
        batch: Batch,
        values: Result<Vec<Option<bytes::Bytes>>, StoreError>,
    },
    Scanned {
        purpose: ScanFor,
        result: Result<(Rows, bool), StoreError>,
    },
    /// Rows of dead letters.
    Dead(Result<(Rows, bool), StoreError>),
}

/// The queue of one shard that other threads write to.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: Mutex<Vec<Incoming>>,
    /// Something is to be done; also stored while nobody waits.
    notify: Notify,
    /// A notification is on its way already.
    is_notified: AtomicBool,
    /// The shard has nothing to do.
    rests: AtomicBool,
}

impl Inbox {
    pub(crate) fn push(&self, incoming: Incoming) {
        self.lock().push(incoming);
        self.wake();
    }

    /// Makes the shard take a turn.
    pub(crate) fn wake(&self) {
        if !self.is_notified.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    /// Takes everything; `empty` keeps its capacity. Whatever else a turn looks at because it may have
    /// been woken for it (what is durable), it looks at after this: news from before it would otherwise
    /// be missed by the turn, and news that came in between would find the notification still set, and
    /// wake nobody.
    pub(crate) fn take(&self, empty: &mut Vec<Incoming>) {
        debug_assert!(empty.is_empty());
        self.is_notified.swap(false, Ordering::AcqRel);
        std::mem::swap(&mut *self.lock(), empty);
    }

    /// Whether the shard has nothing to do until something is put in.
    pub(crate) fn rests(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }

    pub(crate) fn set_rests(&self, rests: bool) {
        self.rests.store(rests, Ordering::Relaxed);
    }

    pub(crate) async fn notified(&self) {
        self.notify.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Incoming>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue of one shard that tasks of its own thread write to.
pub(crate) type LocalQueue = VecDeque<Local>;
