//! Everything a shard may ask of the outside.

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use dormouse_protocol::{Address, EntryPage, Invocation, Partition, TypedValue};

use crate::channel::Frame;
use crate::commit::Commit;
use crate::event::{InvocationId, SubmitToken};

/// Long ones are boxed: each goes through some queues.
#[derive(Debug)]
pub enum Action {
    /// Read these keys; answered by [`crate::Event::Got`].
    Get { purpose: GetFor, keys: Vec<Vec<u8>> },
    /// Read `from <= key < to` in order; answered by [`crate::Event::Scanned`].
    Scan { purpose: ScanFor, range: ScanRange },
    /// Call a function; answered by [`crate::Event::Done`].
    Invoke { id: InvocationId, invocation: Box<Invocation> },
    /// What a running function has read; the answer to [`crate::Event::Read`].
    Rows { id: InvocationId, page: EntryPage },
    /// Hand to the store, in this order per scope.
    Append { scope: u32, commit: Commit },
    /// Bring to the owner of `frame.to`, in order per sender and receiver.
    Frame(Frame),
    /// The message submitted with this token is durable.
    Accepted(SubmitToken),
    /// A message to a volatile reply address (`dormouse.http/reply`), by the address's id.
    Reply { id: CompactString, value: TypedValue },
    /// A durable record for an egress; [`crate::Event::EgressConfirmed`] follows some day.
    Egress(Box<EgressOut>),
    /// An invocation failed: its address is blocked, and tried again after a pause.
    Blocked { address: Address, error: String, failures: u32, retry_in_ms: u64 },
    /// A message was given up, durably: its address goes on.
    GivenUp { partition: Partition, address: Address, error: String, attempts: u32, fate: Fate },
    /// What was asked for with this token is durable.
    Redeemed(SubmitToken),
    /// A stored record cannot be read: the process has to stop before it does harm.
    Halt(String),
}

/// What became of a message that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is a dead letter with this number in its partition.
    DeadLetter {
        number: u64,
    },
    Dropped,
}

/// A durable egress record.
#[derive(Clone, Debug)]
pub struct EgressOut {
    pub partition: Partition,
    pub outbox: Arc<str>,
    pub number: u64,
    pub sender: Address,
    pub value: TypedValue,
}

/// A range of keys and how much of it to read at most (at least one row when there is one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanRange {
    pub from: Vec<u8>,
    pub to: Vec<u8>,
    pub rows_max: usize,
    pub bytes_max: usize,
}

/// What a get is for; echoed in its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GetFor {
    /// The states of a waking instance, from this spec on.
    State { id: InvocationId, first: usize },
    /// An entry that a running function reads.
    Entry { id: InvocationId, spec: u16, key: Bytes },
    /// The tokens of scanned delayed messages.
    Tokens { partition: Partition, rows: Vec<TokenRow>, upto: (u64, u64) },
}

/// A delayed message that waits under a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    pub due_ms: u64,
    pub arrival: u64,
    pub id: CompactString,
    pub token: CompactString,
}

/// What a scan is for; echoed in its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanFor {
    /// The pending messages of an address.
    Mail { id: InvocationId },
    /// Entries that a running function reads.
    Entries { id: InvocationId, spec: u16 },
    /// What a partition has given up of tables and buffers.
    Cleared { partition: Partition },
    /// The entries that were given up by the note with this key.
    ClearedEntries { partition: Partition, note: Bytes },
    /// The addresses of a partition that have pending messages.
    Recovery { partition: Partition },
    /// Delayed messages beyond those in memory.
    Timers { partition: Partition },
    /// Outbox entries beyond those in memory.
    Outbox { partition: Partition, receiver: Partition },
    /// Egress entries beyond those handed over.
    Egress { partition: Partition, outbox: Arc<str> },
}
