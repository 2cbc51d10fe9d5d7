//! What the engine alone costs per message of a keyed counter: no store, no function, no thread.
//!
//! `cargo run --release -p dormouse-engine --example counter -- [KEYS]` has one instance send to 50,000
//! others in a random order, 128 messages at a time, answers each invocation with a new count, seals every
//! 1,024 messages, and prints the best and the middle of many short rounds, so that a busy machine is seen
//! through.

use std::time::Instant;

use bytes::Bytes;
use dormouse_engine::{
    Action, Catalog, Completed, Declared, Event, Fence, Limits, Opened, Scoping, Shard, ShardConfig,
};
use dormouse_protocol::{
    Address, Effects, Expiration, FunctionType, Message, Partition, StateMutation, StateSpec,
    TypedValue,
};

const PARTITIONS: u16 = 64;
const BATCH: usize = 128;
const PER_COMMIT: usize = 1_024;
const PER_ROUND: usize = 64 * PER_COMMIT;
const ROUNDS: usize = 60;

#[derive(Debug)]
struct OneCounter;

impl Catalog for OneCounter {
    fn declare(&mut self, _: FunctionType) -> Declared {
        let spec = StateSpec {
            name: "count".into(),
            typename: "io.statefun.types/long".into(),
            expiration: Expiration::Never,
            has_entries: false,
        };
        Declared::Served { specs: Some(vec![spec]) }
    }
}

struct Rig {
    shard: Shard,
    generator: Address,
    counters: Vec<Address>,
    random: u64,
    actions: Vec<Action>,
    counted: u64,
    bytes: usize,
}

impl Rig {
    fn new(keys: usize) -> Self {
        let limits = Limits { memory_bytes_max: 1 << 30, ..Limits::default() };
        let scoping = Scoping::Shard;
        let config = ShardConfig { partitions: PARTITIONS, scoping, is_prefix: true, limits };
        let mut shard = Shard::new(config, Box::new(OneCounter));
        for partition in 0..PARTITIONS {
            let (partition, fence) = (Partition(partition), Fence::default());
            shard.handle(Event::Opened { partition, fence, opened: Opened::default() });
        }
        shard.handle(Event::Started);
        let counter = FunctionType::new("bench", "counter");
        Self {
            shard,
            generator: Address::new(FunctionType::new("bench", "generator"), "g"),
            counters: (0..keys).map(|key| Address::new(counter, format!("k{key:06}"))).collect(),
            random: 1,
            actions: Vec::new(),
            counted: 0,
            bytes: 0,
        }
    }

    fn send(&mut self) -> Effects {
        let messages = (0..BATCH).map(|_| {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let counter = (self.random >> 33) as usize % self.counters.len();
            (self.counters[counter].clone(), payload())
        });
        Effects { messages: messages.collect(), ..Effects::default() }
    }

    fn count(&mut self) -> Effects {
        self.counted += 1;
        let value = Some(Bytes::copy_from_slice(&self.counted.to_le_bytes()));
        Effects { state: [StateMutation { spec: 0, value }].into(), ..Effects::default() }
    }

    /// Lets the generator send `messages`.
    fn run(&mut self, messages: usize) {
        for _ in 0..messages / BATCH {
            let message =
                Message { target: self.generator.clone(), caller: None, value: payload() };
            self.shard.handle(Event::Submit { message, token: None });
            self.act();
        }
    }

    /// Does what the engine asks until it asks for nothing more.
    fn act(&mut self) {
        while self.shard.has_actions() {
            let mut actions = std::mem::take(&mut self.actions);
            self.shard.take_actions(&mut actions);
            for action in actions.drain(..) {
                match action {
                    Action::Invoke { id, invocation } => {
                        let is_generator = invocation.target == self.generator;
                        let effects = if is_generator { self.send() } else { self.count() };
                        let completed =
                            Completed::Effects { effects: effects.into(), outboxes: Vec::new() };
                        self.shard.handle(Event::Done { id, result: Ok(completed) });
                    }
                    Action::Append { scope, commit } => {
                        self.bytes += commit.ops.as_bytes().len();
                        let number = commit.number;
                        self.shard.handle(Event::Appended { scope, number });
                        self.shard.handle(Event::Durable { scope, number });
                    }
                    Action::Get { purpose, keys } => {
                        let values = vec![None; keys.len()];
                        self.shard.handle(Event::Got { purpose, values });
                    }
                    Action::Scan { purpose, .. } => {
                        let (rows, more) = (Vec::new(), false);
                        self.shard.handle(Event::Scanned { purpose, rows, more });
                    }
                    _ => {}
                }
            }
            self.actions = actions;
        }
    }
}

fn payload() -> TypedValue {
    TypedValue {
        typename: "bench/payload".into(),
        has_value: true,
        value: Bytes::copy_from_slice(&[7; 100]),
        metadata: None,
    }
}

fn main() {
    let keys: usize = std::env::args().nth(1).and_then(|keys| keys.parse().ok()).unwrap_or(50_000);
    let mut rig = Rig::new(keys);
    let mut rounds = Vec::new();
    for round in 0..ROUNDS as u64 {
        let began = Instant::now();
        for _ in 0..PER_ROUND / PER_COMMIT {
            rig.run(PER_COMMIT);
            rig.shard.advance(1_000 + round);
            rig.shard.seal();
            rig.act();
        }
        rounds.push(began.elapsed().as_nanos() as f64 / PER_ROUND as f64);
    }
    // Messages to one counter that came together are one batch.
    assert!(rig.shard.stats().messages_finished > (ROUNDS * PER_ROUND) as u64);
    rounds.sort_by(f64::total_cmp);
    let (best, middle) = (rounds[0], rounds[ROUNDS / 2]);
    let per_message = rig.bytes as f64 / (ROUNDS * PER_ROUND) as f64;
    println!(
        "{keys} keys: best {best:.0} ns, middle {middle:.0} ns, {per_message:.0} bytes per message"
    );
}
