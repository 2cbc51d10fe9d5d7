//! A running application on a store of its own: its replies, and how it stops. Messages come in through
//! ingresses of the tests' own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dormouse_host::metrics::Metrics;
use dormouse_host::plan::{self, Plan};
use dormouse_host::settings::Settings;
use dormouse_host::{manifest, registry, runtime};
use dormouse_protocol::{Address, FunctionType, Message, TypeName, TypedValue};
use dormouse_sdk::ingress::{Ingress, Lane, LocalFuture, OpenError};
use dormouse_sdk::manifest::{Diagnostics, Span};
use dormouse_sdk::module::IngressBinding;
use dormouse_sdk::{Context, FunctionError, State, function};
use dormouse_store::{EmbeddedOptions, EmbeddedStore, MemoryStore};
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
            let target = Address::new(FunctionType::new("test", "restless"), "a");
            let room = lane.admit(100).await.unwrap();
            lane.submit(Message { target, caller: None, value }, &room).await.unwrap();
            started.send(()).unwrap();
        })
    }
}

#[tokio::test]
async fn functions_that_never_rest_do_not_hold_up_a_stop() {
    let (sender, started) = oneshot::channel();
    let starter = Starter { started: Mutex::new(Some(sender)) };
    let metrics = Arc::new(Metrics::new(2));
    let plan = plan_with(Arc::new(starter));
    let store = Arc::new(MemoryStore::new());
    let mut settings = Settings::default();
    settings.runtime.stop_timeout = Duration::from_millis(200);
    let running = runtime::start(plan, &settings, metrics, store, 8).await.unwrap();
    started.await.unwrap();
    let (sender, stopped) = std::sync::mpsc::channel();
    let handle = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || sender.send(handle.block_on(running.stop())));
    let stopped = tokio::task::spawn_blocking(move || {
        // Far beyond the 0.2 s that it is given.
        stopped.recv_timeout(Duration::from_secs(60))
    });
    stopped.await.unwrap().expect("it stops").unwrap();
}
