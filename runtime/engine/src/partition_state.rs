//! What a shard keeps in memory of a partition that it owns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use compact_str::CompactString;
use dormouse_protocol::{Message, Partition};

use crate::channel::{InMark, OutChannel};
use crate::commit::Fence;
use crate::dead::Dead;

#[derive(Debug)]
pub(crate) struct PartitionState {
    pub(crate) fence: Fence,
    /// Number of the last commit appended.
    pub(crate) seq: u64,
    /// The partition's own clock; never falls.
    pub(crate) time_ms: u64,
    /// The last arrival number given out.
    pub(crate) arrival: u64,
    /// Time and arrival as the last commit says them.
    pub(crate) sealed: (u64, u64),
    /// The last one given out before the partition was opened.
    pub(crate) opened_arrival: u64,
    /// Listed among the open commit's parts.
    pub(crate) is_touched: bool,
    /// By sender and by receiver; `None` where nothing was ever sent.
    pub(crate) marks: Vec<Option<InMark>>,
    pub(crate) channels: Vec<Option<Box<OutChannel>>>,
    pub(crate) egress: BTreeMap<Arc<str>, EgressQueue>,
    pub(crate) timers: Timers,
    pub(crate) recovery: Recovery,
    pub(crate) dead: Dead,
    pub(crate) cleaning: Cleaning,
}

impl PartitionState {
    pub(crate) fn new(fence: Fence, partitions: u16) -> Self {
        Self {
            fence,
            seq: 0,
            time_ms: 0,
            arrival: 0,
            sealed: (0, 0),
            opened_arrival: 0,
            is_touched: false,
            marks: (0..partitions).map(|_| None).collect(),
            channels: (0..partitions).map(|_| None).collect(),
            egress: BTreeMap::new(),
            timers: Timers::default(),
            recovery: Recovery::default(),
            dead: Dead::default(),
            cleaning: Cleaning::default(),
        }
    }

    /// Whether nothing sent to `receiver` waits for its confirmation.
    #[inline]
    pub(crate) fn is_drained(&self, receiver: Partition) -> bool {
        match &self.channels[usize::from(receiver.0)] {
            Some(channel) => channel.is_drained(),
            None => true,
        }
    }
}

/// The search for sleeping addresses with pending messages: those that a crash left, and those of
/// messages put aside since, when there was no memory to wake their addresses.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    pub(crate) step: SearchStep,
    /// What the search is going through.
    pub(crate) round: Option<Round>,
    /// Messages put aside that the next round has to find.
    pub(crate) aside: Option<Span>,
    /// The commit that holds the last message put aside.
    pub(crate) commit: u64,
}

/// The deleting of entries that tables and buffers have given up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cleaning {
    /// A step is planned or under way.
    pub(crate) is_busy: bool,
    /// The last commit that gives something up or deletes of it: a read has to see it.
    pub(crate) commit: u64,
    /// Something was given up since the last look at what there is.
    pub(crate) has_new: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SearchStep {
    /// Nothing to look for.
    #[default]
    Done,
    /// Begins when all partitions are open.
    Opened,
    /// Listed among the partitions that wait for room.
    Queued,
    /// Waits until the messages put aside can be read.
    Awaiting,
    Loading,
}

/// Addresses with `cursor <= key < end` have not been looked at.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) cursor: Vec<u8>,
    pub(crate) end: Vec<u8>,
    /// Rows to read next.
    pub(crate) rows: usize,
    /// The one that finds what the last life left.
    pub(crate) is_first: bool,
}

/// From the lowest to the highest address, by the prefix of its pending messages.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) low: Vec<u8>,
    pub(crate) high: Vec<u8>,
}

impl Recovery {
    /// Whether nothing is left to find.
    pub(crate) fn is_done(&self) -> bool {
        self.step == SearchStep::Done
    }

    /// Whether the search may still find messages with this prefix.
    pub(crate) fn covers(&self, prefix: &[u8]) -> bool {
        let is_ahead = |round: &Round| *round.cursor <= *prefix && *prefix < *round.end;
        let is_aside = |span: &Span| *span.low <= *prefix && *prefix <= *span.high;
        self.round.as_ref().is_some_and(is_ahead) || self.aside.as_ref().is_some_and(is_aside)
    }

    /// A message with this prefix was put aside into the commit.
    pub(crate) fn put_aside(&mut self, prefix: &[u8], commit: u64) {
        self.commit = commit;
        match &mut self.aside {
            None => self.aside = Some(Span { low: prefix.to_vec(), high: prefix.to_vec() }),
            Some(span) if *prefix < *span.low => span.low = prefix.to_vec(),
            Some(span) if *prefix > *span.high => span.high = prefix.to_vec(),
            Some(_) => {}
        }
    }
}

/// Unconfirmed records of one egress queue.
#[derive(Debug)]
pub(crate) struct EgressQueue {
    /// The next number to give out; and what it was in the last commit that says so.
    pub(crate) next: u64,
    pub(crate) sealed_next: u64,
    /// Handed over (or about to be, with a commit) and not confirmed.
    pub(crate) unconfirmed: BTreeSet<u64>,
    /// Everything after this number waits in the store, if `spilled`.
    pub(crate) handed: u64,
    pub(crate) spilled: bool,
    pub(crate) loading: bool,
    /// The commit that holds the last record left to the store; and what it was when the present scan
    /// was asked for, if all up to it was readable then.
    pub(crate) spill_commit: u64,
    pub(crate) asked: Option<u64>,
    /// Waits for `spill_commit` to become readable.
    pub(crate) is_awaiting: bool,
    /// Listed among the open commit's heads.
    pub(crate) is_touched: bool,
}

impl EgressQueue {
    /// Everything before this number has left.
    pub(crate) fn first_unconfirmed(&self) -> u64 {
        self.unconfirmed.first().copied().unwrap_or(self.handed + 1)
    }

    /// `handed`: everything up to this number has left.
    pub(crate) fn new(next: u64, handed: u64) -> Self {
        Self {
            next,
            sealed_next: next,
            unconfirmed: BTreeSet::new(),
            handed,
            spilled: handed + 1 < next,
            loading: false,
            spill_commit: 0,
            asked: None,
            is_awaiting: false,
            is_touched: false,
        }
    }
}

/// A position among delayed messages: due time and arrival.
pub(crate) type DueKey = (u64, u64);

/// Delayed messages of a partition: those before `loaded_upto` are in memory, and what memory says of
/// them is the truth; later ones are in the store only.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    pub(crate) near: BTreeMap<DueKey, NearTimer>,
    /// Bytes of the near messages, each with [`NEAR_TIMER_BYTES`].
    pub(crate) near_bytes: usize,
    /// Tokens of near messages, by sender id and token.
    pub(crate) tokens: FxHashMap<(CompactString, CompactString), DueKey>,
    pub(crate) loaded_upto: DueKey,
    pub(crate) loading: bool,
    /// Tokens cancelled or used again while a load is under way: what it read of them is stale.
    pub(crate) touched: FxHashSet<(CompactString, CompactString)>,
    /// Behind the last one that this owner has fired.
    pub(crate) fired: DueKey,
    /// Nothing is left before this, as far as the store was told: where the next start begins to read.
    pub(crate) cursor: DueKey,
    /// Rows deleted behind the cursor by cancellations, since it was last moved past them.
    pub(crate) gone: usize,
    /// Listed among the open commit's cursors.
    pub(crate) is_touched: bool,
    /// The last commit that sends or cancels a message: a read has to see it.
    pub(crate) far_commit: u64,
    /// Under which due time the shard has this partition registered.
    pub(crate) registered_ms: Option<u64>,
}

impl Timers {
    /// When the first message that may fire is due. While a load is under way, those that it may also
    /// bring have to wait for it.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let (key, _) = self.near.first_key_value()?;
        (!self.loading || *key < self.loaded_upto).then_some(key.0)
    }

    pub(crate) fn insert(&mut self, key: DueKey, timer: NearTimer) {
        if let Some(token) = timer.owned_token() {
            self.tokens.insert(token, key);
        }
        self.near_bytes += timer.bytes();
        if let Some(same) = self.near.insert(key, timer) {
            self.near_bytes -= same.bytes();
        }
    }

    /// Takes a near message out, and its token out of the index.
    pub(crate) fn remove(&mut self, key: DueKey) -> Option<NearTimer> {
        let timer = self.near.remove(&key)?;
        self.near_bytes -= timer.bytes();
        if let Some(token) = timer.owned_token() {
            self.tokens.remove(&token);
        }
        Some(timer)
    }

    /// The message that fires next, which is taken out.
    pub(crate) fn pop_first(&mut self) -> Option<(DueKey, NearTimer)> {
        let (key, _) = self.near.first_key_value()?;
        let key = *key;
        self.remove(key).map(|timer| (key, timer))
    }

    /// Nothing that may still fire lies before this.
    fn first_live(&self) -> DueKey {
        let near = self.near.first_key_value().map_or(DUE_END, |(key, _)| *key);
        near.min(self.loaded_upto)
    }

    /// Moves the cursor as far as what is left allows; when many rows behind it are gone, also beyond
    /// `time_ms`, where a message sent later may have to move it back.
    pub(crate) fn move_cursor(&mut self, time_ms: u64, gone_max: usize) {
        let first = self.first_live();
        let wanted = if self.gone >= gone_max { first } else { self.cursor.max((time_ms, 0)) };
        // Moved back, it leaves behind it again what it had passed.
        self.gone = match () {
            () if first < self.cursor => gone_max,
            () if self.gone >= gone_max => 0,
            () => self.gone,
        };
        self.cursor = wanted.min(first);
    }
}

/// Bytes accounted for a near message beside its own: its place in the order and among the tokens.
const NEAR_TIMER_BYTES: usize = 256;

impl NearTimer {
    pub(crate) fn bytes(&self) -> usize {
        self.message.weight() + NEAR_TIMER_BYTES
    }

    /// The sender's id and the token.
    fn owned_token(&self) -> Option<(CompactString, CompactString)> {
        let token = self.token.clone()?;
        let sender = self.message.caller.as_ref().expect("a delayed message has a sender");
        Some((sender.id.clone(), token))
    }
}

/// Beyond every due time.
pub(crate) const DUE_END: DueKey = (u64::MAX, u64::MAX);

#[derive(Debug)]
pub(crate) struct NearTimer {
    pub(crate) token: Option<CompactString>,
    /// Its caller is the sender.
    pub(crate) message: Arc<Message>,
}
