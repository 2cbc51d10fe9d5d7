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
use crate::store::{ScopeId, Store};
use crate::trace::Trace;

mod actions;
mod functions;
mod ingress;
mod lives;
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
    Submit,
    Crash,
    Restart,
    ClockStep,
    /// No more faults.
    Calm,
}

impl What {
    /// Whether a crash ends it.
    fn dies(&self) -> bool {
        match self {
            Self::Deliver { .. } | Self::Turn { .. } | Self::Read { .. } => true,
            Self::Show { .. } | Self::Sync { .. } => true,
            Self::Submit | Self::Crash | Self::Restart | Self::ClockStep | Self::Calm => false,
        }
    }
}

/// An event on its way to a shard; with the run whose answer it is.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) event: Event,
    pub(crate) run: Option<Id>,
}

#[derive(Debug)]
pub(crate) enum Read {
    Get(GetFor, Vec<Vec<u8>>),
    Scan(ScanFor, ScanRange),
}

/// Things that keep their order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Scope(ScopeId),
    Pair(u16, u16),
    Log(usize),
}

/// A shard and what its driver would know of it.
#[derive(Debug)]
struct Slot {
    shard: Shard,
    inbox: VecDeque<Item>,
    turn_at: Option<u64>,
    now_ms: u64,
    /// Invocations that nobody has answered, by slot and generation.
    running: BTreeMap<(u32, u32), (Address, usize)>,
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
    /// Commits per scope: the last one appended, the last one known durable.
    commits: BTreeMap<ScopeId, (u64, u64)>,
    /// The last ledger that each address was heard to write.
    ledgers: BTreeMap<Address, Ledger>,
    /// After a failed batch, the next one is a single message.
    failed: BTreeSet<Address>,
    busy: BTreeSet<Address>,
    /// Egress records handed over and not confirmed, and the last number, by queue.
    out: BTreeMap<(u16, Arc<str>), (BTreeSet<u64>, u64)>,
}

#[derive(Debug)]
pub struct World {
    pub(crate) scenario: Scenario,
    pub(crate) store: Store,
    pub(crate) history: History,
    pub(crate) trace: Trace,
    rng: Rng,
    time_us: u64,
    queue: BTreeMap<(u64, u64), What>,
    order: u64,
    slots: Vec<Slot>,
    owners: Vec<usize>,
    life: Life,
    life_number: u32,
    is_down: bool,
    clock_offset_ms: i64,
    /// The latest time that any shard has seen.
    latest_ms: u64,
    is_calm: bool,
    calm_at_us: u64,
    submits_left: u64,
    /// Whether one function type is not served even in the end.
    never_serves_later: bool,
    steps: u64,
}

impl World {
    #[must_use]
    pub fn new(seed: u64, submits_max: u64, keeps_lines: bool) -> Self {
        let mut rng = Rng::new(seed);
        let scenario = Scenario::draw(&mut rng, submits_max);
        let store = Store::new(scenario.partitions, scenario.is_prefix);
        let mut trace = Trace::new(keeps_lines);
        trace.line(format_args!("seed {seed}: {scenario:?}"));
        let submits_left = scenario.submits;
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
            owners: Vec::new(),
            life: Life::default(),
            life_number: 0,
            is_down: true,
            clock_offset_ms: 0,
            latest_ms: 0,
            is_calm: false,
            calm_at_us: 0,
            submits_left,
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
            self.step(what)?;
        }
        self.check_rest()?;
        crate::check::check(self)
    }

    /// How much happened.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let (messages, runs) = self.history.counts();
        Summary { messages, runs, lives: self.life_number as usize, steps: self.steps }
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
                let event = self.read(read);
                self.deliver_at(self.time_us, shard, event);
                Ok(())
            }
            What::Show { log } => self.show(log),
            What::Sync { log } => self.sync(log),
            What::Submit => self.submit(),
            What::Crash => self.crash(),
            What::Restart => self.restart(),
            What::ClockStep => {
                let step_ms = self.rng.below(20_000) as i64 - 10_000;
                self.clock_offset_ms += step_ms;
                self.trace.line(format_args!("{} clock steps by {step_ms} ms", self.time_us));
                Ok(())
            }
            What::Calm => self.calm(),
        }
    }

    fn at(&mut self, at_us: u64, what: What) {
        self.order += 1;
        self.queue.insert((at_us, self.order), what);
    }

    fn deliver_at(&mut self, at_us: u64, shard: usize, event: Event) {
        self.at(at_us, What::Deliver { shard, item: Item { event, run: None } });
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

    fn clock_ms(&self) -> u64 {
        (BEGIN_MS + self.time_us / 1_000).saturating_add_signed(self.clock_offset_ms)
    }

    /// At rest, nothing waits inside the shards.
    fn check_rest(&self) -> Result<(), String> {
        for (index, slot) in self.slots.iter().enumerate() {
            let (shard, stats) = (&slot.shard, slot.shard.stats());
            let is_idle = shard.in_flight() == 0 && stats.mailbox_messages == 0;
            let is_known = shard.is_settled() && shard.is_recovered() && stats.blocked == 0;
            if !is_idle || !is_known || stats.mailbox_bytes != 0 {
                return Err(format!("shard {index} is stuck: {stats:?}"));
            }
        }
        Ok(())
    }

    fn take_actions(&mut self, shard: usize) -> Vec<Action> {
        let mut actions = Vec::new();
        self.slots[shard].shard.take_actions(&mut actions);
        actions
    }
}
