//! A running application on a store of its own: its replies, and how it stops. Messages come in through
//! ingresses of the tests' own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dormouse_engine::{Commit, Opened};
use dormouse_host::metrics::Metrics;
use dormouse_host::plan::{self, Plan};
use dormouse_host::settings::Settings;
use dormouse_host::stall::StallKind;
use dormouse_host::{manifest, registry, runtime};
use dormouse_protocol::{Address, FunctionType, Message, Partition, TypeName, TypedValue};
use dormouse_sdk::ingress::{Ingress, Lane, LocalFuture, OpenError};
use dormouse_sdk::manifest::{Diagnostics, Span};
use dormouse_sdk::module::IngressBinding;
use dormouse_sdk::{Context, FunctionError, State, function};
use dormouse_store::{
    EmbeddedOptions, EmbeddedStore, Lsn, MemoryStore, ReadFuture, Rows, ShardStore, Store,
    StoreError, Waker,
};
use tokio::sync::oneshot;

const COUNT: State<i64> = State::new("count");

/// Adds what it is sent, and replies with the sum; zero changes nothing.
async fn adder(ctx: &mut Context, more: i64) -> Result<(), FunctionError> {
    let sum = ctx.get(&COUNT)?.unwrap_or(0) + more;
    if more != 0 {
        ctx.set(&COUNT, sum)?;
    }
    ctx.reply(sum)
}

function! { "test/adder", states: [COUNT], adder }

/// Each with the time that it took.
type Replies = Vec<(TypedValue, Duration)>;

/// Sends numbers to the adder one after the other, each once the reply to the one before it is there.
#[derive(Debug)]
struct Asker {
    numbers: Vec<i64>,
    replies: Mutex<Option<oneshot::Sender<Replies>>>,
}

impl Ingress for Asker {
    fn open(&self) -> Result<Option<String>, OpenError> {
        Ok(None)
    }

    fn serve(self: Arc<Self>, lane: Lane) -> LocalFuture<()> {
        Box::pin(async move {
            let Some(sender) = self.replies.lock().unwrap().take() else { return };
            let mut replies = Vec::new();
            for number in &self.numbers {
                let began = Instant::now();
                let reply = lane.reply();
                let value = dormouse_sdk::IntoValue::into_value(*number).unwrap();
                let target = Address::new(FunctionType::new("test", "adder"), "a");
                let message = Message { target, caller: Some(reply.address.clone()), value };
                let room = lane.admit(100).await.unwrap();
                lane.submit(message, &room).await.unwrap();
                replies.push((reply.value.await, began.elapsed()));
            }
            sender.send(replies).unwrap();
        })
    }
}

fn plan_with(ingress: Arc<dyn Ingress>) -> Plan {
    let mut diagnostics = Diagnostics::default();
    let manifest = manifest::read(&[], &mut diagnostics);
    let mut plan = plan::resolve(&manifest, &registry::linked().unwrap(), &mut diagnostics);
    let span = Span { file: Arc::from(Path::new("test")), line: 1, column: 1 };
    let id = TypeName::parse("test/asker").unwrap();
    plan.ingresses.push(IngressBinding { span, id, ingress });
    plan
}

#[tokio::test]
async fn a_reply_without_a_change_does_not_wait_for_the_next_commit() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = EmbeddedStore::open(EmbeddedOptions::new(directory.path(), 8)).unwrap();
    let (sender, receiver) = oneshot::channel();
    let asker = Asker { numbers: vec![7, 0, 0, 0, 0], replies: Mutex::new(Some(sender)) };
    let metrics = Arc::new(Metrics::new(1));
    let plan = plan_with(Arc::new(asker));
    let running = runtime::start(plan, &Settings::default(), metrics, store, 8).await.unwrap();
    let replies = receiver.await.unwrap();
    let stopping = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || stopping.block_on(running.stop())).await.unwrap().unwrap();
    assert_eq!(replies.len(), 5);
    for (value, elapsed) in &replies[1..] {
        let sum: i64 = dormouse_sdk::protocol::types::decode_long(&value.value).unwrap();
        assert_eq!(sum, 7);
        // Timers wake a shard about once a second, and nothing else would.
        assert!(*elapsed < Duration::from_millis(500), "{elapsed:?}");
    }
}

/// Never rests: each message makes the next one.
async fn restless(ctx: &mut Context, count: i64) -> Result<(), FunctionError> {
    let id = ctx.id().to_owned();
    ctx.send(("test/restless", id), count + 1)
}

function! { "test/restless", restless }

/// Sends one message and is done.
#[derive(Debug)]
struct Starter {
    function: &'static str,
    started: Mutex<Option<oneshot::Sender<()>>>,
}

impl Ingress for Starter {
    fn open(&self) -> Result<Option<String>, OpenError> {
        Ok(None)
    }

    fn serve(self: Arc<Self>, lane: Lane) -> LocalFuture<()> {
        Box::pin(async move {
            let Some(started) = self.started.lock().unwrap().take() else { return };
            let value = dormouse_sdk::IntoValue::into_value(0_i64).unwrap();
            let target = Address::new(FunctionType::new("test", self.function), "a");
            let room = lane.admit(100).await.unwrap();
            lane.submit(Message { target, caller: None, value }, &room).await.unwrap();
            started.send(()).unwrap();
        })
    }
}

/// Two shards, once this function has been sent its first message; a stop gives them 0.2 s.
async fn started(function: &'static str) -> runtime::Running {
    let (sender, started) = oneshot::channel();
    let starter = Starter { function, started: Mutex::new(Some(sender)) };
    let metrics = Arc::new(Metrics::new(2));
    let plan = plan_with(Arc::new(starter));
    let store = Arc::new(MemoryStore::new());
    let mut settings = Settings::default();
    settings.runtime.stop_timeout = Duration::from_millis(200);
    let running = runtime::start(plan, &settings, metrics, store, 8).await.unwrap();
    started.await.unwrap();
    running
}

#[tokio::test]
async fn functions_that_never_rest_do_not_hold_up_a_stop() {
    let running = started("restless").await;
    let (sender, stopped) = std::sync::mpsc::channel();
    let handle = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || sender.send(handle.block_on(running.stop())));
    let stopped = tokio::task::spawn_blocking(move || {
        // Far beyond the 0.2 s that it is given.
        stopped.recv_timeout(Duration::from_secs(60))
    });
    stopped.await.unwrap().expect("it stops").unwrap();
}

/// Messages that have come back from the other shard, or from a neighbour on this one.
static CAME_BACK: AtomicUsize = AtomicUsize::new(0);

const SENT_ABOUT: usize = 16;

/// Sends messages to both shards, then never rests.
async fn busy(ctx: &mut Context, count: i64) -> Result<(), FunctionError> {
    if count == 0 {
        for n in 0..SENT_ABOUT {
            ctx.send(("test/turn-back", format!("b{n}")), 0_i64)?;
        }
    }
    let id = ctx.id().to_owned();
    ctx.send(("test/busy", id), count + 1)
}

async fn turn_back(ctx: &mut Context, _: i64) -> Result<(), FunctionError> {
    ctx.send(("test/came-back", "a"), 0_i64)
}

async fn came_back(_: &mut Context, _: i64) -> Result<(), FunctionError> {
    CAME_BACK.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

function! { "test/busy", busy }
function! { "test/turn-back", turn_back }
function! { "test/came-back", came_back }

#[tokio::test]
async fn messages_of_another_shard_are_taken_by_one_that_never_rests() {
    let running = started("busy").await;
    until("all are back", || CAME_BACK.load(Ordering::Relaxed) == SENT_ABOUT).await;
    let stopping = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || stopping.block_on(running.stop())).await.unwrap().unwrap();
}

/// A store whose disk does not answer until it is told to: commits are taken and do not become durable.
#[derive(Debug)]
struct HungStore {
    inner: MemoryStore,
    hangs: Arc<AtomicBool>,
}

#[derive(Debug)]
struct HungShard {
    inner: Box<dyn ShardStore>,
    hangs: Arc<AtomicBool>,
    durable: std::cell::Cell<Lsn>,
}

impl Store for HungStore {
    fn open_shard(
        &self,
        shard: usize,
        partitions: &[Partition],
        waker: Waker,
    ) -> Result<Box<dyn ShardStore>, StoreError> {
        let inner = self.inner.open_shard(shard, partitions, waker)?;
        let hangs = self.hangs.clone();
        Ok(Box::new(HungShard { inner, hangs, durable: std::cell::Cell::default() }))
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }
}

impl ShardStore for HungShard {
    fn open(&mut self, partition: Partition) -> ReadFuture<Opened> {
        self.inner.open(partition)
    }

    fn append(&mut self, commit: &Commit) -> Result<Lsn, StoreError> {
        self.inner.append(commit)
    }

    fn durable(&self) -> Result<Lsn, StoreError> {
        if !self.hangs.load(Ordering::Acquire) {
            self.durable.set(self.inner.durable()?);
        }
        Ok(self.durable.get())
    }

    fn get(&mut self, keys: Vec<Vec<u8>>, bytes_max: usize) -> ReadFuture<Vec<Option<Bytes>>> {
        self.inner.get(keys, bytes_max)
    }

    fn scan(
        &mut self,
        from: Vec<u8>,
        to: Vec<u8>,
        rows_max: usize,
        bytes_max: usize,
    ) -> ReadFuture<(Rows, bool)> {
        self.inner.scan(from, to, rows_max, bytes_max)
    }

    fn is_saturated(&self) -> bool {
        self.inner.is_saturated()
    }
}

/// Waits for a condition with a bound that only a hang exceeds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_store_whose_disk_hangs_is_named_and_nobody_is_told_to_come() {
    let hangs = Arc::new(AtomicBool::new(true));
    let store = Arc::new(HungStore { inner: MemoryStore::new(), hangs: hangs.clone() });
    let (sender, receiver) = oneshot::channel();
    let asker = Asker { numbers: vec![7], replies: Mutex::new(Some(sender)) };
    let metrics = Arc::new(Metrics::new(1));
    let mut settings = Settings::default();
    settings.runtime.stall_after = Some(Duration::from_millis(200));
    let plan = plan_with(Arc::new(asker));
    let running = runtime::start(plan, &settings, metrics.clone(), store, 8).await.unwrap();
    let is_ready = running.readiness();
    until("it is named", || !metrics.stalls.list().is_empty()).await;
    let stalls = metrics.stalls.list();
    let [stall] = &stalls[..] else { panic!("{stalls:?}") };
    assert_eq!((stall.kind, stall.name.as_str()), (StallKind::Store, "commits"));
    assert!(stall.cause.contains("do not become durable"), "{stall}");
    assert!(!is_ready());
    hangs.store(false, Ordering::Release);
    assert_eq!(receiver.await.unwrap().len(), 1);
    until("it goes on", || metrics.stalls.list().is_empty()).await;
    assert!(is_ready());
    let stopping = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || stopping.block_on(running.stop())).await.unwrap().unwrap();
}

/// When the function was about to answer, and when its delayed message came.
static DELAYED: Mutex<(Option<Instant>, Option<Instant>)> = Mutex::new((None, None));
const DELAY: Duration = Duration::from_millis(50);

/// Takes long within one turn, then sends itself a delayed message.
async fn slow(ctx: &mut Context, count: i64) -> Result<(), FunctionError> {
    if count > 0 {
        DELAYED.lock().unwrap().1 = Some(Instant::now());
        return Ok(());
    }
    std::thread::sleep(DELAY * 4);
    DELAYED.lock().unwrap().0 = Some(Instant::now());
    let id = ctx.id().to_owned();
    ctx.send_after(DELAY, ("test/slow", id), 1_i64)
}

function! { "test/slow", slow }

#[tokio::test]
async fn delays_count_from_the_answer_however_long_it_took() {
    let (sender, started) = oneshot::channel();
    let starter = Starter { function: "slow", started: Mutex::new(Some(sender)) };
    let plan = plan_with(Arc::new(starter));
    let metrics = Arc::new(Metrics::new(1));
    let store = Arc::new(MemoryStore::new());
    let running = runtime::start(plan, &Settings::default(), metrics, store, 8).await.unwrap();
    started.await.unwrap();
    until("it fires", || DELAYED.lock().unwrap().1.is_some()).await;
    let (Some(sent), Some(came)) = *DELAYED.lock().unwrap() else { panic!("neither was noted") };
    // The clock of delays counts whole milliseconds.
    let least = DELAY - Duration::from_millis(1);
    assert!(came - sent >= least, "{:?}", came - sent);
    let stopping = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || stopping.block_on(running.stop())).await.unwrap().unwrap();
}
