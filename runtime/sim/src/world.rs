//! The world of one seed, single-threaded: shards of the engine, their store, the network between them,
//! functions, clients, egresses, clocks and crashes. Everything happens at a simulated time taken from
//! one queue; all delays and faults come from one seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use dormouse_engine::{Action, Event, GetFor, Limits, ScanFor, ScanRange, Shard};
use dormouse_protocol::Address;

use crate::Summary;
use crate::history::{History, Id};
use crate::payload::Ledger;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::shrink::Overrides;
use crate::store::{Store, Ticket};
use crate::trace::Trace;

mod actions;
mod entries;
mod functions;
mod ingress;
pub(crate) mod letters;
mod lives;
mod owners;
mod releases;
mod turn;

/// Milliseconds since 1970 at which every simulation begins.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// Steps after which a simulation is taken to run in a circle.
const STEPS_MAX: u64 = 400_000;

/// Simulated microseconds after the last fault in which everything has to come to rest.
const CALM_US_MAX: u64 = 120_000_000;

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum What {
    /// For a shard's inbox.
    Deliver {
        shard: usize,
        item: Item,
    },
    Turn {
        shard: usize,
    },
    /// A read that the store answers as of then.
    Read {
        shard: usize,
        read: Read,
    },
    /// The store takes the next commit of a log, or makes some durable.
    Show {
        log: usize,
    },
    Sync {
        log: usize,
    },
    /// With the message that it repeats, if it does.
    Submit {
        again: Option<Id>,
    },
    /// Of a shard that may not be the owner any more.
    AskFormer {
        partition: u16,
        former: usize,
    },
    /// A shard opens a partition; if `must`, somebody has to.
    Open {
        partition: u16,
        shard: usize,
        must: bool,
    },
    /// Somebody looks for the dead letters of a partition.
    Letters {
        partition: u16,
    },
    Fault(Fault),
    Restart,
    /// No more faults.
    Calm,
}

/// What goes wrong at a time that the seed has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Crash,
    /// A crash after a few more actions.
    CrashAtAction,
    DiskFailure,
    DiskStall,
    ClockStep,
    Pause,
    Takeover,
    Death,
    Failover,
}

impl What {
    /// Whether the crash of all processes ends it.
    fn dies(&self) -> bool {
        match self {
            Self::Deliver { .. } | Self::Turn { .. } | Self::Read { .. } => true,
            Self::Show { .. } | Self::Sync { .. } => true,
            Self::Open { .. } | Self::AskFormer { .. } => true,
            Self::Submit { .. } | Self::Letters { .. } => false,
            Self::Fault(_) | Self::Restart | Self::Calm => false,
        }
    }

    /// Whether the death of one shard ends it.
    fn dies_with(&self, dead: usize) -> bool {
        match self {
            Self::Deliver { shard, .. } | Self::Turn { shard } | Self::Read { shard, .. } => {
                *shard == dead
            }
            _ => false,
        }
    }
}

/// An event on its way to a shard; with the run whose answer it is.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) event: Event,
    pub(crate) run: Option<Id>,
    /// The partition and the opening of it that the event is about, if a later one ends it.
    pub(crate) tenure: Option<(u16, u64)>,
}

/// A read, and by which opening of the partition its owner goes.
#[derive(Debug)]
pub(crate) struct Read {
    purpose: Purpose,
    partition: u16,
    tenure: u64,
}

#[derive(Debug)]
pub(crate) enum Purpose {
    Get(GetFor, Vec<Vec<u8>>),
    Scan(ScanFor, ScanRange),
}

/// Things that keep their order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Scope(usize, u32),
    Pair(u16, u16),
    Log(usize),
}

/// A shard and what its driver would know of it.
#[derive(Debug)]
struct Slot {
    shard: Shard,
    /// The partitions that the shard takes for its own, by the opening that it knows.
    owned: BTreeMap<u16, u64>,
    /// By partition: whom the shard sends to, as it has heard.
    known_owners: Vec<usize>,
    /// By channel, sender and receiver: the shards that have sent on it. They hear the answers.
    peers: BTreeMap<(u16, u16), BTreeSet<usize>>,
    /// Messages that clients wait for, with their partition.
    unanswered: BTreeMap<Id, u16>,
    paused_until_us: u64,
    /// How far its clock is off the others'.
    skew_ms: i64,
    inbox: VecDeque<Item>,
    turn_at: Option<u64>,
    now_ms: u64,
    /// Those that read entries before they answer.
    reading: BTreeMap<(u32, u32), entries::Reading>,
    /// Invocations that nobody has answered, by slot and generation, with their messages.
    running: BTreeMap<(u32, u32), (Address, Vec<Id>)>,
    /// Partitions whose dead letters are being changed, by what they were asked with.
    redeeming: BTreeMap<u16, u64>,
}

/// What only the present life of the process knows.
#[derive(Debug, Default)]
struct Life {
    limits: Limits,
    later_is_served: bool,
    /// The store says at once that it has taken a commit.
    appends_at_once: bool,
    lanes: BTreeMap<Lane, u64>,
    syncing: BTreeSet<usize>,
    /// Commits by shard, scope and opening: the last one appended, the last one known durable.
    commits: BTreeMap<(usize, u32, u64), (u64, u64)>,
    /// The last ledger that each address was heard to write. (This and the rest by opening: a former
    /// owner knows nothing of what a later one does.)
    ledgers: BTreeMap<(u64, Address), Ledger>,
    /// After a failed batch, the next one is a single message.
    failed: BTreeSet<(u64, Address)>,
    busy: BTreeSet<(u64, Address)>,
    /// Egress records by queue.
    out: BTreeMap<(u64, Arc<str>), Out>,
}

/// The records of an egress queue.
#[derive(Debug, Default)]
struct Out {
    unconfirmed: BTreeSet<u64>,
    last: u64,
    /// Confirmed to a former owner, before this one has handed them over.
    early: BTreeSet<u64>,
}

#[derive(Debug)]
pub struct World {
    pub(crate) scenario: Scenario,
    pub(crate) store: Store,
    pub(crate) history: History,
    pub(crate) trace: Trace,
    rng: Rng,
    time_us: u64,
    /// Boxed: events are long, and an insert moves its neighbours.
    queue: BTreeMap<(u64, u64), Box<What>>,
    order: u64,
    slots: Vec<Slot>,
    /// After so many more actions, everything dies.
    actions_left: Option<u64>,
    disk_fails: bool,
    stalled_until_us: u64,
    /// By partition: the shard that opened it last.
    owners: Vec<usize>,
    life: Life,
    life_number: u32,
    is_down: bool,
    clock_offset_ms: i64,
    /// The latest time that any shard has seen.
    latest_ms: u64,
    is_calm: bool,
    calm_at_us: u64,
    /// Whether one function type is not served even in the end.
    never_serves_later: bool,
    steps: u64,
}

impl World {
    #[must_use]
    pub fn new(seed: u64, overrides: &Overrides, keeps_lines: bool) -> Self {
        let scenario = Scenario::of(seed, overrides);
        let mut rng = Rng::new(seed ^ (1 + scenario.salt).rotate_left(48));
        let store = Store::new(scenario.partitions as u16, scenario.is_prefix == 1);
        let mut trace = Trace::new(keeps_lines);
        trace.line(format_args!("seed {seed}: {scenario:?}"));
        let never_serves_later = rng.chance(200);
        Self {
            scenario,
            store,
            history: History::default(),
            trace,
            rng,
            time_us: 0,
            queue: BTreeMap::new(),
            order: 0,
            slots: Vec::new(),
            actions_left: None,
            disk_fails: false,
            stalled_until_us: 0,
            owners: Vec::new(),
            life: Life::default(),
            life_number: 0,
            is_down: true,
            clock_offset_ms: 0,
            latest_ms: 0,
            is_calm: false,
            calm_at_us: 0,
            never_serves_later,
            steps: 0,
        }
    }

    /// Runs until nothing is left to happen, then checks what came of it.
    pub fn run(&mut self) -> Result<(), String> {
        self.plan();
        while let Some(((at_us, _), what)) = self.queue.pop_first() {
            self.time_us = at_us;
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err("it runs in a circle: too many steps".to_owned());
            }
            if self.is_calm && at_us > self.calm_at_us + CALM_US_MAX {
                return Err("it does not come to rest after the last fault".to_owned());
            }
            self.step(*what)?;
        }
        self.check_rest()?;
        crate::check::check(self)
    }

    /// The latest time that any shard has seen.
    pub(crate) fn latest_ms(&self) -> u64 {
        self.latest_ms
    }

    /// How much happened.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let (messages, runs) = self.history.counts();
        let (openings, refusals) = (self.store.openings, self.store.refusals);
        let lives = self.life_number as usize;
        Summary { messages, runs, lives, openings, refusals, steps: self.steps }
    }

    /// The trace and its hash.
    #[must_use]
    pub fn finish(self) -> (Vec<String>, u64) {
        self.trace.finish()
    }

    fn step(&mut self, what: What) -> Result<(), String> {
        match what {
            What::Deliver { shard, item } => {
                self.slots[shard].inbox.push_back(item);
                let delay_us = self.rng.below(50);
                self.turn_in(shard, delay_us);
                Ok(())
            }
            What::Turn { shard } => self.turn(shard),
            What::Read { shard, read } => {
                self.answer_read(shard, self.time_us, read);
                Ok(())
            }
            What::Show { log } => self.show(log),
            What::Sync { log } => self.sync(log),
            What::Submit { again } => self.submit(again),
            What::AskFormer { partition, former } => {
                self.ask(partition, former);
                Ok(())
            }
            What::Open { partition, shard, must } => self.open(partition, shard, must),
            What::Letters { partition } => {
                self.letters(partition);
                Ok(())
            }
            What::Fault(fault) => self.fault(fault),
            What::Restart => self.restart(),
            What::Calm => self.calm(),
        }
    }

    fn at(&mut self, at_us: u64, what: What) {
        self.order += 1;
        self.queue.insert((at_us, self.order), Box::new(what));
    }

    fn deliver_at(&mut self, at_us: u64, shard: usize, event: Event) {
        let item = Item { event, run: None, tenure: None };
        self.at(at_us, What::Deliver { shard, item });
    }

    /// The store's answer to a shard; where partitions change hands, nobody else's.
    fn deliver_to(&mut self, ticket: Ticket, at_us: u64, event: Event) {
        let partition = self.commits_alone().then_some((ticket.scope as u16, ticket.tenure));
        let item = Item { event, run: None, tenure: partition };
        self.at(at_us, What::Deliver { shard: ticket.shard, item });
    }

    /// Whether each partition commits alone.
    fn commits_alone(&self) -> bool {
        self.scenario.is_prefix == 0
    }

    /// A time `delay_us` from now, but not before what took the same lane earlier.
    fn in_lane(&mut self, lane: Lane, delay_us: u64) -> u64 {
        let last = self.life.lanes.entry(lane).or_default();
        *last = (*last).max(self.time_us + delay_us);
        *last
    }

    fn turn_in(&mut self, shard: usize, delay_us: u64) {
        let at_us = self.time_us + delay_us;
        let turn_at = &mut self.slots[shard].turn_at;
        if turn_at.is_none_or(|turn_at| turn_at > at_us) {
            *turn_at = Some(at_us);
            self.at(at_us, What::Turn { shard });
        }
    }

    fn clock_ms(&self, shard: usize) -> u64 {
        let offset_ms = self.clock_offset_ms + self.slots[shard].skew_ms;
        (BEGIN_MS + self.time_us / 1_000).saturating_add_signed(offset_ms)
    }

    /// At rest, nothing waits inside the shards.
    fn check_rest(&self) -> Result<(), String> {
        for (index, slot) in self.slots.iter().enumerate() {
            let (shard, stats) = (&slot.shard, slot.shard.stats());
            let waits = [
                ("invocations are in flight", shard.in_flight() > 0),
                ("messages are in mailboxes", stats.mailbox_messages + stats.mailbox_bytes > 0),
                ("commits are not durable", !shard.is_settled()),
                ("pending messages are not found", !shard.is_recovered()),
                (
                    "given up entries are not deleted",
                    self.scenario.entries > 0 && !shard.is_clean(),
                ),
                ("addresses are blocked", stats.blocked > 0),
                ("egress records are not confirmed", stats.egress_unconfirmed > 0),
            ];
            if let Some((what, _)) = waits.iter().find(|(_, waits)| *waits) {
                return Err(format!("shard {index} is stuck: {what}: {stats:?}"));
            }
        }
        self.check_letters()
    }

    fn take_actions(&mut self, shard: usize) -> Vec<Action> {
        let mut actions = Vec::new();
        self.slots[shard].shard.take_actions(&mut actions);
        actions
    }
}
