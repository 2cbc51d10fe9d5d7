//! What the engine alone costs per message of a keyed counter: no store, no function, no thread.
//!
//! `cargo run --release -p dormouse-engine --example counter -- [KEYS]` feeds messages to 50,000
//! instances in a random order, answers each invocation with a new count, seals every 1,024 messages,
//! and prints the best and the middle of many short rounds, so that a busy machine is seen through.

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
        };
        Declared::Served { specs: Some(vec![spec]) }
    }
}

struct Rig {
    shard: Shard,
    actions: Vec<Action>,
    invoked: u64,
    bytes: usize,
}

impl Rig {
    fn new() -> Self {
        let limits = Limits { memory_bytes_max: 1 << 30, ..Limits::default() };
        let scoping = Scoping::Shard;
        let config = ShardConfig { partitions: PARTITIONS, scoping, is_prefix: true, limits };
        let mut shard = Shard::new(config, Box::new(OneCounter));
        for partition in 0..PARTITIONS {
            let (partition, fence) = (Partition(partition), Fence::default());
            shard.handle(Event::Opened { partition, fence, opened: Opened::default() });
        }
        shard.handle(Event::Started);
        Self { shard, actions: Vec::new(), invoked: 0, bytes: 0 }
    }

    /// Does what the engine asks until it asks for nothing more.
    fn act(&mut self) {
        while self.shard.has_actions() {
            let mut actions = std::mem::take(&mut self.actions);
            self.shard.take_actions(&mut actions);
            for action in actions.drain(..) {
                match action {
                    Action::Invoke { id, invocation } => {
                        self.invoked += invocation.messages.len() as u64;
                        let count = self.invoked.to_le_bytes();
                        let value = Some(Bytes::copy_from_slice(&count));
                        let state = vec![StateMutation { spec: 0, value }];
                        let effects = Effects { state, ..Effects::default() };
                        let completed = Completed::Effects { effects, outboxes: Vec::new() };
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

fn main() {
    let keys: usize = std::env::args().nth(1).and_then(|keys| keys.parse().ok()).unwrap_or(50_000);
    let function_type = FunctionType::new("bench", "counter");
    let addresses: Vec<Address> =
        (0..keys).map(|key| Address::new(function_type, format!("k{key:06}"))).collect();
    let mut rig = Rig::new();
    let mut random = 1_u64;
    let mut rounds = Vec::new();
    let mut now_ms = 1_000;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for n in 0..PER_ROUND {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let target = addresses[(random >> 33) as usize % keys].clone();
            let value = TypedValue {
                typename: "bench/payload".into(),
                has_value: true,
                value: Bytes::copy_from_slice(&[7; 100]),
                metadata: None,
            };
            let message = Message { target, caller: None, value };
            rig.shard.handle(Event::Submit { message, token: None });
            rig.act();
            if n % PER_COMMIT == PER_COMMIT - 1 {
                now_ms += 1;
                rig.shard.advance(now_ms);
                rig.shard.seal();
                rig.act();
            }
        }
        rounds.push(began.elapsed().as_nanos() as f64 / PER_ROUND as f64);
    }
    assert_eq!(rig.invoked, (ROUNDS * PER_ROUND) as u64);
    rounds.sort_by(f64::total_cmp);
    let (best, middle) = (rounds[0], rounds[ROUNDS / 2]);
    let per_message = rig.bytes as f64 / (ROUNDS * PER_ROUND) as f64;
    println!(
        "{keys} keys: best {best:.0} ns, middle {middle:.0} ns, {per_message:.0} bytes per message"
    );
}
