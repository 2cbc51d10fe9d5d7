//! When commits are sealed while calls are under way elsewhere: what nobody waits for is collected, and
//! written all the same when nothing more comes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dormouse_engine::{Commit, Opened};
use dormouse_protocol::{Address, FunctionType, Message, Partition};
use dormouse_sdk::ingress::Lane;
use dormouse_sdk::{Context, FunctionError, IntoValue as _, State, function};
use dormouse_store::{Lsn, MemoryStore, ReadFuture, Rows, ShardStore, Store, StoreError, Waker};

use crate::application::{Application, ask, begin};

/// Only a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Calls one after the other, none of which anybody waits for.
const HOPS: i64 = 2_000;
/// Whatever else wakes an idle shard does so about once a second.
const SOON: Duration = Duration::from_millis(500);

const NOTE: State<String> = State::new("note");

static IS_FREE: AtomicBool = AtomicBool::new(false);

/// A call that stays under way until the test lets it go.
async fn lasting(ctx: &mut Context, number: i64) -> Result<(), FunctionError> {
    while !IS_FREE.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ctx.reply(number)
}

/// Passes on to the next one, as a call that is answered elsewhere.
async fn hop(ctx: &mut Context, left: i64) -> Result<(), FunctionError> {
    tokio::task::yield_now().await;
    if left == 0 {
        return Ok(ctx.set(&NOTE, format!("the last hop was at {}", ctx.id()))?);
    }
    ctx.send(("test/hop", left.to_string()), left - 1)
}

async fn prompt(ctx: &mut Context, number: i64) -> Result<(), FunctionError> {
    ctx.reply(number)
}

function! { "test/lasting", lasting }
function! { "test/hop", states: [NOTE], hop }
function! { "test/prompt", prompt }

/// How many commits came to the store, and what was in them.
#[derive(Debug, Default)]
struct Written {
    commits: AtomicUsize,
    bytes: Mutex<Vec<u8>>,
}

impl Written {
    /// Waits until a commit has brought this text.
    async fn has(&self, text: &str) {
        let begun = Instant::now();
        let is_there = || {
            let bytes = self.bytes.lock().unwrap();
            bytes.windows(text.len()).any(|part| part == text.as_bytes())
        };
        while !is_there() {
            assert!(begun.elapsed() < PATIENCE, "`{text}` is not written");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[derive(Debug)]
struct Watched(MemoryStore, Arc<Written>);

#[derive(Debug)]
struct WatchedShard(Box<dyn ShardStore>, Arc<Written>);

impl Store for Watched {
    fn open_shard(
        &self,
        shard: usize,
        partitions: &[Partition],
        waker: Waker,
    ) -> Result<Box<dyn ShardStore>, StoreError> {
        let inner = self.0.open_shard(shard, partitions, waker)?;
        Ok(Box::new(WatchedShard(inner, Arc::clone(&self.1))))
    }

    fn close(&self) -> Result<(), StoreError> {
        self.0.close()
    }
}

impl ShardStore for WatchedShard {
    fn open(&mut self, partition: Partition) -> ReadFuture<Opened> {
        self.0.open(partition)
    }

    fn append(&mut self, commit: &Commit) -> Result<Lsn, StoreError> {
        self.1.commits.fetch_add(1, Ordering::Relaxed);
        self.1.bytes.lock().unwrap().extend_from_slice(commit.ops.as_bytes());
        self.0.append(commit)
    }

    fn durable(&self) -> Result<Lsn, StoreError> {
        self.0.durable()
    }

    fn get(&mut self, keys: Vec<Vec<u8>>, bytes_max: usize) -> ReadFuture<Vec<Option<Bytes>>> {
        self.0.get(keys, bytes_max)
    }

    fn scan(
        &mut self,
        from: Vec<u8>,
        to: Vec<u8>,
        rows_max: usize,
        bytes_max: usize,
    ) -> ReadFuture<(Rows, bool)> {
        self.0.scan(from, to, rows_max, bytes_max)
    }

    fn is_saturated(&self) -> bool {
        self.0.is_saturated()
    }
}

/// A message whose sender waits for no reply: nothing but its effects is to be written.
async fn send_hop(lane: &Lane, id: &str, left: i64) {
    let target = Address::new(FunctionType::new("test", "hop"), id);
    let value = left.into_value().unwrap();
    let room = lane.admit(100).await.unwrap();
    lane.submit(Message { target, caller: None, value }, &room).await.unwrap();
}

#[tokio::test]
async fn commits_that_nobody_waits_for_are_few_and_are_written_all_the_same() {
    let written = Arc::new(Written::default());
    let store = Arc::new(Watched(MemoryStore::new(), Arc::clone(&written)));
    let application = Application::new(1, 8).store(store);
    let script = move |lane: Lane| async move {
        let lasting = begin(&lane, "test/lasting", "a", 1_i64).await;
        send_hop(&lane, "first", HOPS).await;
        // Nothing comes in any more behind the last hop, and one call stays under way.
        written.has("the last hop was at 1").await;
        let commits = written.commits.load(Ordering::Relaxed);
        assert!(commits < HOPS as usize / 2, "{commits} commits for {HOPS} hops");
        let mut times = Vec::new();
        for round in 0..20 {
            let begun = Instant::now();
            send_hop(&lane, &format!("round {round}"), 0).await;
            written.has(&format!("the last hop was at round {round}")).await;
            times.push(begun.elapsed());
        }
        assert!(times.iter().all(|time| *time < SOON), "{times:?}");
        // Whoever waits is told meanwhile.
        assert_eq!(ask::<i64>(&lane, "test/prompt", "a", 7_i64).await, 7);
        IS_FREE.store(true, Ordering::Relaxed);
        lasting.value.await;
    };
    application.run(script).await;
}
