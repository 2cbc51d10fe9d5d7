//! A deterministic simulator of the engine: one seed makes a world of shards, a store, a network,
//! functions, clients and egresses, with delays, failures, crashes and restarts, and checks that the
//! promises hold: every message takes effect once, in order, nothing leaves before it is durable,
//! nothing gets stuck. A failure is replayed by its seed.
//!
//! Read in this order: [`scenario`] → [`world`] → [`history`] → `check`.

mod disk;
pub mod history;
pub mod kept;
pub mod payload;
pub mod rng;
pub mod scenario;
pub mod shrink;
pub mod store;
pub mod trace;
pub mod world;

mod check;
mod panics;

use shrink::Overrides;
use world::World;

/// What came of one seed.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    pub result: Result<Summary, String>,
    /// Empty unless asked for.
    pub trace: Vec<String>,
    pub trace_hash: u64,
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub messages: usize,
    pub runs: usize,
    pub lives: usize,
    /// Partitions opened, at starts and by shards that took them over.
    pub openings: u64,
    /// Commits that the store refused.
    pub refusals: u64,
    pub steps: u64,
}

impl Summary {
    pub fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.runs += other.runs;
        self.lives += other.lives;
        self.openings += other.openings;
        self.refusals += other.refusals;
        self.steps += other.steps;
    }
}

/// Runs the simulation of a seed; a panic of the engine is a failure like any other.
#[must_use]
pub fn run(seed: u64, keeps_trace: bool) -> Outcome {
    run_with(seed, &Overrides::default(), keeps_trace)
}

/// Runs the simulation of a seed with some values of its scenario overridden.
#[must_use]
pub fn run_with(seed: u64, overrides: &Overrides, keeps_trace: bool) -> Outcome {
    let mut world = World::new(seed, overrides, keeps_trace);
    let result = panics::catch(|| world.run()).map(|()| world.summary());
    let (trace, trace_hash) = world.finish();
    Outcome { seed, result, trace, trace_hash }
}
