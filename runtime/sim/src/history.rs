//! What functions, ingress clients and egresses saw: all that the checks work from, besides the rows
//! that are left in the end. Nothing here knows how the engine works.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::Address;

use crate::payload::{Ledger, TABLES};

/// A message's or run's number; both count from 1.
pub type Id = u64;

/// Who sent a message.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A client, in this life; `acknowledged` once it was told that the message is durable.
    Ingress { life: u32, acknowledged: bool },
    /// A run, at once.
    Run(Id),
    /// A run, to be delivered when this shard time has come, unless cancelled or replaced.
    Delayed { run: Id, delay_ms: u64 },
}

#[derive(Clone, Debug)]
pub struct Sent {
    pub target: Address,
    pub origin: Origin,
    /// Sends in its name may go on so many times.
    pub hops: u8,
    pub amount: i64,
    pub is_poison: bool,
    /// A question: answered, writes nothing.
    pub reply_to: Option<u64>,
    /// What its target had durably written last when it was sent: an answer must know of it.
    pub floor: Option<Id>,
    /// Its client has lost the connection to whom it asked: nobody can say what became of it.
    pub is_excused: bool,
}

impl Sent {
    #[must_use]
    pub fn new(target: Address, origin: Origin, hops: u8, amount: i64, is_poison: bool) -> Self {
        let (reply_to, floor, is_excused) = (None, None, false);
        Self { target, origin, hops, amount, is_poison, reply_to, floor, is_excused }
    }
}

/// One step of a run's list of delayed messages.
#[derive(Clone, Debug)]
pub enum DelayedStep {
    Send { message: Id, token: Option<String> },
    Cancel { token: String },
}

/// When an answer reached its shard.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Among all answers of the simulation.
    pub order: u64,
    /// The shard's clock, and the latest time that any shard has seen.
    pub now_ms: u64,
    pub latest_ms: u64,
}

/// One call of a function that answered with effects. Whether they became part of history is known in
/// the end: if the address's ledger leads back to it.
#[derive(Clone, Debug)]
pub struct Run {
    pub address: Address,
    /// The ledger that it was given, and what it made of it.
    pub given: Option<Ledger>,
    pub ledger: Ledger,
    /// It only answered questions.
    pub is_read_only: bool,
    pub messages: Vec<Id>,
    /// The shard's clock at the call, and the latest time that any shard had seen.
    pub now_ms: u64,
    pub latest_ms: u64,
    pub done: Option<Done>,
    pub sends: Vec<Id>,
    pub delayed: Vec<DelayedStep>,
    pub egress: Vec<Arc<str>>,
    /// The expiring states it was given, and what it wrote there.
    pub expiring: [Option<Id>; 2],
    pub writes: [Option<Option<Id>>; 2],
    /// What it has read of its tables, before it answered.
    pub looks: Vec<Look>,
    /// The heads of its tables that it was given, and those that it wrote.
    pub heads: [Option<u64>; TABLES.len()],
    pub new_heads: [Option<u64>; TABLES.len()],
    /// What it has changed of them.
    pub changes: Vec<Change>,
}

/// Rows of a table, as a run has found them.
#[derive(Clone, Debug)]
pub struct Look {
    /// Which of [`TABLES`].
    pub place: usize,
    /// These are all rows with `from <= key < upto`.
    pub from: Bytes,
    pub upto: Bytes,
    /// Keys, and the run that wrote each.
    pub found: Vec<(Bytes, Id)>,
    /// The shard's clock then, and the latest time that any shard had seen.
    pub now_ms: u64,
    pub latest_ms: u64,
}

/// A change of a table.
#[derive(Clone, Debug)]
pub enum Change {
    /// All rows are given up; the next ones are of this generation.
    Clear {
        place: usize,
        generation: u64,
    },
    Row {
        place: usize,
        key: Bytes,
        is_put: bool,
    },
}

#[derive(Debug, Default)]
pub struct History {
    sent: Vec<Sent>,
    runs: Vec<Run>,
    pub answers: u64,
    /// Questions answered.
    pub replied: BTreeSet<u64>,
    /// Questions whose clients were told that they are given up.
    pub told: BTreeSet<u64>,
    /// Messages that a call with nothing else has failed on.
    pub failed_alone: BTreeSet<Id>,
    /// Dead letters that somebody wanted to be gone.
    pub discarded: BTreeSet<Id>,
    /// Changes of dead letters that were asked for and not answered, by their tokens.
    pub redeems: BTreeSet<u64>,
    /// Which record of which run each egress number is, and how often it came.
    pub out: BTreeMap<(u16, Arc<str>, u64), (Id, usize)>,
    /// The same the other way round.
    pub out_numbers: BTreeMap<(Id, usize), u64>,
}

impl History {
    pub fn add_sent(&mut self, sent: Sent) -> Id {
        self.sent.push(sent);
        self.sent.len() as u64
    }

    pub fn add_run(&mut self, run: Run) -> Id {
        self.runs.push(run);
        self.runs.len() as u64
    }

    #[must_use]
    pub fn next_run(&self) -> Id {
        self.runs.len() as u64 + 1
    }

    /// A message, if there is one of this id.
    #[must_use]
    pub fn find_sent(&self, id: Id) -> Option<&Sent> {
        self.sent.get((id as usize).checked_sub(1)?)
    }

    #[must_use]
    pub fn sent(&self, id: Id) -> &Sent {
        &self.sent[id as usize - 1]
    }

    pub fn sent_mut(&mut self, id: Id) -> &mut Sent {
        &mut self.sent[id as usize - 1]
    }

    #[must_use]
    pub fn run(&self, id: Id) -> &Run {
        &self.runs[id as usize - 1]
    }

    pub fn run_mut(&mut self, id: Id) -> &mut Run {
        &mut self.runs[id as usize - 1]
    }

    /// All messages with their ids.
    pub fn all_sent(&self) -> impl Iterator<Item = (Id, &Sent)> {
        self.sent.iter().enumerate().map(|(index, sent)| (index as u64 + 1, sent))
    }

    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.sent.len(), self.runs.len())
    }

    /// The runs that lead to a ledger, the last one first.
    pub fn chain(&self, ledger: Option<Ledger>) -> impl Iterator<Item = (Id, &Run)> {
        let mut next = ledger;
        std::iter::from_fn(move || {
            let id = next?.run;
            let run = self.runs.get((id as usize).checked_sub(1)?)?;
            next = run.given;
            Some((id, run))
        })
    }

    /// Whether the run `id` is among those that lead to this ledger.
    #[must_use]
    pub fn leads_to(&self, id: Id, ledger: Option<Ledger>) -> bool {
        self.chain(ledger).any(|(run, _)| run == id)
    }
}
