//! One shard: the owner of some partitions and of everything that concerns them. This file only
//! dispatches; each stage has its own.

use std::collections::{BTreeSet, VecDeque};

use dormouse_protocol::{FunctionType, Partition};

use crate::action::{Action, GetFor, ScanFor};
use crate::activations::Activations;
use crate::breakage::{Breakage, breaks};
use crate::codec::{DecodeError, put_varint};
use crate::event::Event;
use crate::limits::Limits;
use crate::partition_state::PartitionState;
use crate::questions::Questions;
use crate::scope::{Scope, Scoping};
use crate::types::{Catalog, Types};

/// What a shard is told once.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Number of partitions of the application.
    pub partitions: u16,
    pub scoping: Scoping,
    /// A commit accepted at append is never refused alone, and what is durable is a prefix of what was
    /// appended, over all scopes of the process: messages may flow between shards at append.
    pub is_prefix: bool,
    pub limits: Limits,
}

/// Scratch space that is kept for the next value, in bytes.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

/// Counters of a shard, growing from zero; gauges say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages put into mailboxes (in memory or pending).
    pub messages_accepted: u64,
    /// Messages whose effects were applied.
    pub messages_finished: u64,
    pub invocations: u64,
    pub invocations_failed: u64,
    pub messages_sent: u64,
    pub delayed_sent: u64,
    pub delayed_fired: u64,
    /// Cancellations asked for, whether or not something was left to cancel.
    pub cancellations: u64,
    pub egress_sent: u64,
    /// Gauge: records handed to egresses and not confirmed.
    pub egress_unconfirmed: u64,
    pub replies: u64,
    pub commits: u64,
    pub commit_ops: u64,
    pub commit_bytes: u64,
    /// Messages that a repeat brought a second time.
    pub duplicates_dropped: u64,
    /// Gauge: addresses whose last invocation failed, also while they are tried again.
    pub blocked: u64,
    /// Messages that became dead letters, that were dropped, and failed calls after which there was no
    /// room for a dead letter.
    pub messages_buried: u64,
    pub messages_dropped: u64,
    pub burials_refused: u64,
    /// Gauge: dead letters of the shard's partitions.
    pub dead_letters: u64,
    /// Messages to types that nobody serves.
    pub unserved: u64,
    /// Gauge: messages in mailboxes in memory, and their bytes.
    pub mailbox_messages: u64,
    pub mailbox_bytes: u64,
    /// Gauge: messages put aside into the store by this process and not read back, and their bytes.
    pub spilled_messages: u64,
    pub spilled_bytes: u64,
    pub evictions: u64,
}

/// The state machine of one shard.
#[derive(Debug)]
pub struct Shard {
    pub(crate) config: ShardConfig,
    pub(crate) now_ms: u64,
    pub(crate) parts: Vec<Option<Box<PartitionState>>>,
    pub(crate) activations: Activations,
    pub(crate) types: Types,
    pub(crate) scopes: Vec<Scope>,
    /// Types with activations that wait for a place among the invocations in flight.
    pub(crate) ready: VecDeque<FunctionType>,
    pub(crate) in_flight: usize,
    /// Activations woken by recovery that have not caught up.
    pub(crate) recovering: usize,
    /// Partitions with pending messages to look for, and those among them that wait for room.
    pub(crate) searching: usize,
    pub(crate) searches: VecDeque<Partition>,
    /// Partitions in which entries that were given up can be deleted.
    pub(crate) cleanings: VecDeque<Partition>,
    /// Blocked activations, by when they are tried again.
    pub(crate) retries: BTreeSet<(u64, u32, u32)>,
    /// Partitions, by when their next delayed message is due.
    pub(crate) due: BTreeSet<(u64, Partition)>,
    pub(crate) questions: Questions,
    /// When handshakes that hang stop holding up others, at most one entry for each type: (time, type).
    pub(crate) handshake_gates: VecDeque<(u64, FunctionType)>,
    /// When the sweep came by last.
    pub(crate) swept_ms: u64,
    pub(crate) actions: Vec<Action>,
    pub(crate) stats: Stats,
    /// Scratch space for keys and values.
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Shard {
    #[must_use]
    pub fn new(config: ShardConfig, catalog: Box<dyn Catalog>) -> Self {
        config.limits.check();
        assert!(config.partitions >= 1);
        let scopes = match config.scoping {
            Scoping::Shard => 1,
            Scoping::Partition => usize::from(config.partitions),
        };
        Self {
            now_ms: 0,
            parts: (0..config.partitions).map(|_| None).collect(),
            activations: Activations::default(),
            types: Types::new(catalog),
            scopes: (0..scopes).map(|_| Scope::new()).collect(),
            ready: VecDeque::new(),
            in_flight: 0,
            recovering: 0,
            searching: 0,
            searches: VecDeque::new(),
            cleanings: VecDeque::new(),
            retries: BTreeSet::new(),
            due: BTreeSet::new(),
            questions: Questions::default(),
            handshake_gates: VecDeque::new(),
            swept_ms: 0,
            actions: Vec::new(),
            stats: Stats::default(),
            key: Vec::with_capacity(128),
            value: Vec::with_capacity(256),
            config,
        }
    }

    /// Takes one event. What it leads to is in [`Shard::take_actions`].
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Submit { message, token } => self.submit(message, token),
            Event::Done { id, result } => self.done(id, result),
            Event::Read { id, read } => self.read(id, read),
            Event::Frame(frame) => self.frame(frame),
            Event::Appended { scope, number } => self.appended(scope, number),
            Event::Durable { scope, number } => self.durable(scope, number),
            Event::EgressConfirmed { partition, outbox, number } => {
                self.egress_confirmed(partition, &outbox, number);
            }
            Event::Got { purpose, values } => {
                let got = match purpose {
                    GetFor::State { id, first } => self.state_loaded(id, first, &values),
                    GetFor::Entry { id, spec, key } => self.entry_read(id, spec, key, &values),
                    GetFor::Tokens { partition, rows, upto } => {
                        self.tokens_loaded(partition, &rows, upto, &values)
                    }
                };
                self.halt_on(got);
            }
            Event::Scanned { purpose, rows, more } => {
                let scanned = match purpose {
                    ScanFor::Mail { id } => self.mail_loaded(id, &rows, more),
                    ScanFor::Entries { id, spec } => self.page_read(id, spec, &rows, more),
                    ScanFor::Cleared { partition } => self.cleared_found(partition, &rows),
                    ScanFor::ClearedEntries { partition, note } => {
                        self.delete_cleared(partition, &note, &rows, more);
                        Ok(())
                    }
                    ScanFor::Recovery { partition } => {
                        self.recovery_scanned(partition, &rows, more)
                    }
                    ScanFor::Timers { partition } => self.timers_scanned(partition, &rows, more),
                    ScanFor::Outbox { partition, receiver } => {
                        self.outbox_loaded(partition, receiver, &rows, more)
                    }
                    ScanFor::Egress { partition, outbox } => {
                        self.egress_loaded(partition, &outbox, &rows, more)
                    }
                };
                self.halt_on(scanned);
            }
            Event::Redeem { partition, rows, redeem, token } => {
                let redeemed = self.redeem(partition, &rows, redeem, token);
                self.halt_on(redeemed);
            }
            Event::Opened { partition, fence, opened } => {
                let opened = self.open(partition, fence, &opened);
                self.halt_on(opened);
            }
            Event::Started => self.start_all(),
            Event::Refused { partition } => self.refused(partition),
            Event::Moved { partition } => self.moved(partition),
        }
    }

    /// Moves the shard's clock (milliseconds since 1970; a step back is ignored) and does what is due.
    pub fn advance(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        self.write_questions();
        self.open_handshake_gates();
        self.retry_due();
        self.fire_due();
        self.sweep();
        self.search_more();
    }

    /// Only moves the clock: what follows happens at this time, as what an invocation asks for does when
    /// it has ended long after the last [`Shard::advance`].
    pub fn observe(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// When [`Shard::advance`] has to be called next, at the latest.
    #[must_use]
    pub fn next_wake_ms(&self) -> Option<u64> {
        let retry = self.retries.first().map(|(at, _, _)| *at);
        let due = self.due.first().map(|(at, _)| *at);
        let gate = self.handshake_gates.front().map(|(at, _)| *at);
        let places = self.config.limits.commits_in_flight_max;
        let may_seal = self.scopes.iter().filter(|scope| scope.in_flight.len() < places);
        let trims = may_seal.filter_map(|scope| scope.open.trims_at_ms).min();
        let question = self.questions.next_ms();
        [retry, due, gate, trims, question, self.next_sweep_ms()].into_iter().flatten().min()
    }

    /// Whether invocations are under way, so that a stop should wait for them.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether everything sealed has become durable and nothing but trims waits to be sealed: a start
    /// finds out again what is confirmed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.questions.is_empty()
            && self.scopes.iter().all(|scope| scope.in_flight.is_empty() && scope.open.is_empty())
    }

    /// Whether something of the shard itself waits to read what the open commit writes.
    #[must_use]
    pub fn has_readers(&self) -> bool {
        self.scopes.iter().any(Scope::has_readers)
    }

    /// Whether something but trims waits to be sealed.
    #[must_use]
    pub fn has_unsealed(&self) -> bool {
        self.scopes.iter().any(|scope| !scope.open.is_empty())
    }

    /// Whether somebody waits for what the open commit holds: another shard, an ingress, an egress, a
    /// function that reads entries.
    #[must_use]
    pub fn has_releases(&self) -> bool {
        self.scopes.iter().any(|scope| scope.open.has_releases() || scope.is_awaited())
    }

    /// Bytes collected and not sealed: operations, and values that states were given.
    #[must_use]
    pub fn open_bytes(&self) -> usize {
        let opens = self.scopes.iter().map(|scope| &scope.open);
        opens.map(|open| open.ops.as_bytes().len() + open.dirty_bytes).sum()
    }

    /// The actions since the last call, in order; swaps them with `empty`, which keeps its capacity.
    #[inline]
    pub fn take_actions(&mut self, empty: &mut Vec<Action>) {
        debug_assert!(empty.is_empty());
        std::mem::swap(&mut self.actions, empty);
    }

    #[must_use]
    #[inline]
    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Awake instances.
    #[must_use]
    pub fn awake(&self) -> usize {
        self.activations.len()
    }

    /// Bytes accounted for awake instances.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.activations.memory
    }

    /// Delayed messages that are in memory, of all partitions.
    #[must_use]
    pub fn near_timers(&self) -> usize {
        self.parts.iter().flatten().map(|part| part.timers.near.len()).sum()
    }

    /// Whether recovery has found every address with pending messages.
    #[must_use]
    pub fn is_recovered(&self) -> bool {
        self.searching == 0
    }

    #[inline]
    pub(crate) fn part(&mut self, partition: Partition) -> &mut PartitionState {
        self.parts[usize::from(partition.0)].as_deref_mut().expect("the partition is owned")
    }

    /// Takes messages out of the account of the mailboxes.
    pub(crate) fn leave_mailbox(&mut self, partition: Partition, messages: u64, bytes: u64) {
        let held = (self.stats.mailbox_messages, self.stats.mailbox_bytes);
        let left = held.0.checked_sub(messages).zip(held.1.checked_sub(bytes));
        let Some((messages_left, bytes_left)) = left else {
            panic!(
                "partition {partition}: {messages} messages of {bytes} bytes leave mailboxes that hold \
                 {} of {}",
                held.0, held.1
            );
        };
        (self.stats.mailbox_messages, self.stats.mailbox_bytes) = (messages_left, bytes_left);
    }

    #[inline]
    pub(crate) fn scope_index(&self, partition: Partition) -> usize {
        match self.config.scoping {
            Scoping::Shard => 0,
            Scoping::Partition => usize::from(partition.0),
        }
    }

    #[inline]
    pub(crate) fn scope(&mut self, partition: Partition) -> &mut Scope {
        let index = self.scope_index(partition);
        &mut self.scopes[index]
    }

    /// The partition's own time: the wall clock, unless a former owner's was ahead.
    #[inline]
    pub(crate) fn time_ms(&mut self, partition: Partition) -> u64 {
        let now_ms = self.now_ms;
        let part = self.part(partition);
        if breaks(Breakage::ReviveExpired) {
            return now_ms;
        }
        part.time_ms = part.time_ms.max(now_ms);
        part.time_ms
    }

    /// Lists the partition among the open commit's parts.
    #[inline]
    pub(crate) fn touch(&mut self, partition: Partition) {
        let part = self.part(partition);
        if !part.is_touched {
            part.is_touched = true;
            self.scope(partition).open.parts.push(partition);
        }
    }

    /// Puts a record of `partition` into the open commit; the key is in `self.key`.
    #[inline]
    pub(crate) fn put(&mut self, partition: Partition, value: &[u8]) {
        self.touch(partition);
        let index = self.scope_index(partition);
        self.scopes[index].open.ops.put(&self.key, value);
    }

    /// Puts with the value in `self.value`.
    #[inline]
    pub(crate) fn put_scratch(&mut self, partition: Partition) {
        let value = std::mem::take(&mut self.value);
        self.put(partition, &value);
        // The memory of a long one is not kept.
        if value.capacity() <= SCRATCH_BYTES_MAX {
            self.value = value;
        }
    }

    /// Puts a row of numbers: a mark or a head.
    pub(crate) fn put_numbers(&mut self, partition: Partition, numbers: &[u64]) {
        self.value.clear();
        numbers.iter().for_each(|number| put_varint(&mut self.value, *number));
        self.put_scratch(partition);
    }

    /// Deletes the record of `partition` whose key is in `self.key`.
    pub(crate) fn delete(&mut self, partition: Partition) {
        self.touch(partition);
        let index = self.scope_index(partition);
        self.scopes[index].open.ops.delete(&self.key);
    }

    pub(crate) fn halt_on(&mut self, result: Result<(), DecodeError>) {
        if let Err(error) = result {
            self.actions.push(Action::Halt(error.to_string()));
        }
    }
}
