//! Measures appends: `cargo run --release -p dormouse-store --example append -- [memory|DIR]
//! [commits] [ops per commit] [keys]`. One shard thread overwrites states as fast as it can, then as
//! many queue entries are inserted and deleted.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_engine::{Commit, Fence, PartMeta, keys};
use dormouse_protocol::{Address, FunctionType, Partition};
use dormouse_store::{EmbeddedOptions, EmbeddedStore, Lsn, MemoryStore, ShardStore, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next().unwrap_or_else(|| String::from("memory"));
    let mut number = |default: u64| -> Result<u64, Box<dyn Error>> {
        Ok(arguments.next().map_or(Ok(default), |text| text.parse())?)
    };
    let (commits, ops, keys) = (number(20_000)?, number(100)?, number(10_000)?);
    let store: Arc<dyn Store> = if place == "memory" {
        Arc::new(MemoryStore::new())
    } else {
        let (store, report) = EmbeddedStore::open(EmbeddedOptions::new(&place, 128))?;
        println!("opened {place}: {report:?}");
        store
    };
    let mut shard = store.open_shard(0, &[Partition(0)], Arc::new(|| {}))?;
    let mut bench = Bench { shard: &mut *shard, seq: 0, stalls: 0 };
    bench.run("state overwrites", commits, ops, |commit, at| {
        commit.ops.put(&state_key(at % keys), &[7; 100]);
    })?;
    bench.run("queue inserts and deletes", commits, ops, |commit, at| {
        let key = pending_key(at / 2 + 1);
        if at % 2 == 0 {
            commit.ops.put(&key, &[7; 100]);
        } else {
            commit.ops.delete(&key);
        }
    })?;
    store.close()?;
    Ok(())
}

struct Bench<'a> {
    shard: &'a mut dyn ShardStore,
    seq: u64,
    stalls: u64,
}

impl Bench<'_> {
    fn run(
        &mut self,
        what: &str,
        commits: u64,
        ops: u64,
        fill: impl Fn(&mut Commit, u64),
    ) -> Result<(), Box<dyn Error>> {
        let batch: u64 = 1_000;
        let mut taken = Duration::ZERO;
        let mut slowest = Duration::ZERO;
        let began = Instant::now();
        let mut last = Lsn::default();
        for first in (0..commits).step_by(batch as usize) {
            let commits: Vec<Commit> =
                (first..first + batch).map(|at| self.commit(at * ops, ops, &fill)).collect();
            for commit in &commits {
                let start = Instant::now();
                last = self.shard.append(commit)?;
                let elapsed = start.elapsed();
                taken += elapsed;
                slowest = slowest.max(elapsed);
                while self.shard.is_saturated() {
                    self.stalls += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        while self.shard.durable()? < last {
            std::thread::sleep(Duration::from_micros(50));
        }
        let count = (commits * ops) as f64;
        println!(
            "{what}: {:.2} M ops/s in append ({:.0} ns each, slowest commit {slowest:?}), {:.2} M durable ops/s in all, {} ms saturated",
            count / taken.as_secs_f64() / 1e6,
            taken.as_nanos() as f64 / count,
            count / began.elapsed().as_secs_f64() / 1e6,
            self.stalls,
        );
        Ok(())
    }

    fn commit(&mut self, first: u64, ops: u64, fill: impl Fn(&mut Commit, u64)) -> Commit {
        self.seq += 1;
        let mut commit = Commit { number: self.seq, ..Commit::default() };
        commit.parts.push(PartMeta {
            partition: Partition(0),
            fence: Fence::default(),
            seq: self.seq,
            time_ms: self.seq,
            arrival: first,
        });
        for at in first..first + ops {
            fill(&mut commit, at);
        }
        commit
    }
}

fn address(id: u64) -> Address {
    let function_type = FunctionType::parse("example/counter").expect("a valid type");
    Address::new(function_type, &*id.to_string())
}

fn state_key(id: u64) -> Vec<u8> {
    let mut key = Vec::new();
    keys::state_prefix(&mut key, Partition(0), &address(id));
    key.extend_from_slice(b"count");
    key
}

fn pending_key(arrival: u64) -> Vec<u8> {
    let mut key = Vec::new();
    keys::pending(&mut key, Partition(0), &address(arrival % 100), arrival);
    key
}
