//! Measures how long a commit takes until it is durable, first without checkpoints and then while they
//! run: `cargo run --release -p dormouse-store --example lag -- DIR [seconds] [ops per commit] [keys]`.
//! Two shards append a commit each millisecond: states of 50 to 950 bytes, a third of the operations on
//! a queue. DIR is new or empty.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_engine::{Commit, keys};
use dormouse_protocol::{Address, FunctionType, Partition};
use dormouse_store::{EmbeddedOptions, EmbeddedStore, Lsn, Store};

const SHARDS: u16 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next().ok_or("a directory is needed")?;
    let mut number = |default: u64| -> Result<u64, Box<dyn Error>> {
        Ok(arguments.next().map_or(Ok(default), |text| text.parse())?)
    };
    let (seconds, ops, keys) = (number(20)?, number(60)?, number(200_000)?);
    let mut without = EmbeddedOptions::new(Path::new(&place).join("without"), 128);
    without.log_bytes_max = u64::MAX / 2;
    without.dirty_bytes_max = u64::MAX / 2;
    let with = EmbeddedOptions::new(Path::new(&place).join("with"), 128);
    let load = Load { during: Duration::from_secs(seconds), ops, keys };
    measure("without checkpoints", without, load)?;
    measure("with checkpoints", with, load)
}

#[derive(Clone, Copy)]
struct Load {
    during: Duration,
    ops: u64,
    keys: u64,
}

fn measure(what: &str, options: EmbeddedOptions, load: Load) -> Result<(), Box<dyn Error>> {
    let (store, _) = EmbeddedStore::open(options)?;
    let threads: Vec<_> = (0..SHARDS)
        .map(|shard| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || run(&*store, shard, load))
        })
        .collect();
    let (mut lags, mut appends, mut stalls) = (Vec::new(), Vec::new(), 0);
    for thread in threads {
        let (lag, append, stalled) = thread.join().expect("no measurement panics");
        lags.extend(lag);
        appends.extend(append);
        stalls += stalled;
    }
    print(&format!("{what}: append"), appends);
    print(&format!("{what}: until durable"), lags);
    println!("{what}: {stalls} times saturated");
    store.close()?;
    Ok(())
}

fn run(store: &dyn Store, shard: u16, load: Load) -> (Vec<Duration>, Vec<Duration>, u64) {
    let thread = std::thread::current();
    let waker = Arc::new(move || thread.unpark());
    let mut handle =
        store.open_shard(usize::from(shard), &[Partition(shard)], waker).expect("the shard opens");
    let (mut lags, mut appends) = (Vec::new(), Vec::new());
    let mut waiting: Vec<(Lsn, Instant)> = Vec::new();
    let began = Instant::now();
    let mut next = began;
    let (mut at, mut stalls) = (0, 0);
    while began.elapsed() < load.during {
        let now = Instant::now();
        if now >= next {
            next += Duration::from_millis(1);
            stalls += u64::from(handle.is_saturated());
            let commit = commit(shard, &mut at, load.ops, load.keys);
            let start = Instant::now();
            let lsn = handle.append(&commit).expect("the store works");
            appends.push(start.elapsed());
            waiting.push((lsn, start));
        }
        let durable = handle.durable().expect("the store works");
        let done = waiting.iter().take_while(|(lsn, _)| *lsn <= durable).count();
        lags.extend(waiting.drain(..done).map(|(_, start)| start.elapsed()));
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
    }
    (lags, appends, stalls)
}

fn commit(shard: u16, at: &mut u64, ops: u64, keys: u64) -> Commit {
    let mut commit = Commit::default();
    let mut key = Vec::new();
    let partition = Partition(shard);
    for _ in 0..ops / 3 {
        *at += 1;
        let hot = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys;
        let function_type = FunctionType::parse("example/counter").expect("a valid type");
        let address = Address::new(function_type, &*hot.to_string());
        keys::state_prefix(&mut key, partition, &address);
        key.extend_from_slice(b"count");
        commit.ops.put(&key, &vec![7; 50 + (hot % 900) as usize]);
        keys::pending(&mut key, partition, &address, *at);
        commit.ops.put(&key, &[7; 100]);
        // The message of some commits ago is done.
        let done = at.saturating_sub(200).wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys;
        let address = Address::new(function_type, &*done.to_string());
        keys::pending(&mut key, partition, &address, at.saturating_sub(200));
        commit.ops.delete(&key);
    }
    commit
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!(
        "{what}: {} commits, p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
        times.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}
