//! A deterministic simulator of the engine: one seed makes a world of shards, a store, a network,
//! functions, clients and egresses, with delays, failures, crashes and restarts, and checks that the
//! promises hold: every message takes effect once, in order, nothing leaves before it is durable,
//! nothing gets stuck. A failure is replayed by its seed.
//!
//! Read in this order: [`scenario`] → [`world`] → [`history`] → `check`.

pub mod history;
pub mod payload;
pub mod rng;
pub mod scenario;
pub mod store;
pub mod trace;
pub mod world;

mod check;
mod panics;

use world::World;

/// Messages submitted by one seed at most.
pub const SUBMITS_MAX: u64 = 60;

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
    pub steps: u64,
}

impl Summary {
    pub fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.runs += other.runs;
        self.lives += other.lives;
        self.steps += other.steps;
    }
}

/// The seeds of `seeds.txt`: each failed once.
#[must_use]
pub fn kept_seeds() -> Vec<u64> {
    let lines = include_str!("../seeds.txt").lines();
    let words =
        lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split(' ').next());
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Runs the simulation of a seed; a panic of the engine is a failure like any other.
#[must_use]
pub fn run(seed: u64, keeps_trace: bool) -> Outcome {
    let mut world = World::new(seed, SUBMITS_MAX, keeps_trace);
    let result = panics::catch(|| world.run()).map(|()| world.summary());
    let (trace, trace_hash) = world.finish();
    Outcome { seed, result, trace, trace_hash }
}
