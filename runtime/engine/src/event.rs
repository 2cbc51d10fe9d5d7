//! Everything that can move a shard.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::{Effects, EntryRead, InvokeError, Message, Partition, StateSpec};

use crate::action::{GetFor, ScanFor};
use crate::channel::Frame;
use crate::commit::{Fence, Opened};

/// Names the submitter of an ingress message; chosen by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubmitToken(pub u64);

/// One invocation under way: an activation's slot and the generation that makes it unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvocationId {
    pub slot: u32,
    pub generation: u32,
}

#[derive(Debug)]
pub enum Event {
    /// A partition that this shard owns from now on, as stored.
    Opened { partition: Partition, fence: Fence, opened: Opened },
    /// All partitions of all shards are open: channels and recovery may begin. Also after one that was
    /// opened later.
    Started,
    /// The store has refused a commit or a read of this partition, where partitions commit alone:
    /// another shard owns it, or a commit is missing. It is forgotten, and may be opened again. What
    /// the store has still to say about commits and reads asked for before must not follow.
    Refused { partition: Partition },
    /// This partition was opened elsewhere: what was sent to it and not confirmed is offered again.
    Moved { partition: Partition },
    /// A message from an ingress. With a token, [`crate::Action::Accepted`] follows when durable.
    Submit { message: Message, token: Option<SubmitToken> },
    /// From another partition's owner.
    Frame(Frame),
    /// The answer to [`crate::Action::Get`], in the order asked.
    Got { purpose: GetFor, values: Vec<Option<Bytes>> },
    /// The answer to [`crate::Action::Scan`].
    Scanned { purpose: ScanFor, rows: Vec<(Bytes, Bytes)>, more: bool },
    /// A function that runs wants to know entries of its tables or buffers; answered by
    /// [`crate::Action::Rows`]. One at a time for each invocation.
    Read { id: InvocationId, read: EntryRead },
    /// The answer to [`crate::Action::Invoke`].
    Done { id: InvocationId, result: Result<Completed, InvokeError> },
    /// The store has taken the commit in its order: reads see it, it is not refused later.
    Appended { scope: u32, number: u64 },
    /// This commit and all before it of the scope survive a crash.
    Durable { scope: u32, number: u64 },
    /// A record has left through its egress.
    EgressConfirmed { partition: Partition, outbox: Arc<str>, number: u64 },
    /// Replay or discard these dead letters of a partition, rows as read. [`crate::Action::Redeemed`]
    /// follows when that is durable, unless the partition is refused; the next ones of the partition
    /// must not be read before.
    Redeem { partition: Partition, rows: Vec<(Bytes, Bytes)>, redeem: Redeem, token: SubmitToken },
}

/// What becomes of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redeem {
    /// Their messages go to their addresses again, behind those that are there.
    Replay,
    /// They are gone.
    Discard,
}

/// What an invocation came to, checked by the driver.
#[derive(Debug)]
pub enum Completed {
    /// It ran. `outboxes` names the queue of each egress record.
    Effects { effects: Box<Effects>, outboxes: Vec<Arc<str>> },
    /// It needs these states as well.
    Incomplete(Vec<StateSpec>),
}
