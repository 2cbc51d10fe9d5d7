//! The test kit: what it says of a function is what the function did.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on fails"
)]

use std::time::Duration;

use dormouse_sdk::metrics::{Counter, Gauge, Histogram, MetricKind, Reading, snapshot};
use dormouse_sdk::record::PlaygroundRecord;
use dormouse_sdk::testing::{DelayedSend, Incoming, Instance, record, sent};
use dormouse_sdk::{Buffer, Context, FunctionError, Message, State, Table, function};

const SUM: State<i64> = State::new("sum");
const BRIEF: State<i64> = State::new("brief").expire_after_write(Duration::from_secs(10));
const IDLE: State<i64> = State::new("idle").expire_after_invoke(Duration::from_secs(10));

async fn adder(ctx: &mut Context, more: i64) -> Result<(), FunctionError> {
    let sum = ctx.get(&SUM)?.unwrap_or(0) + more;
    ctx.set(&SUM, sum)?;
    if more < 0 {
        return Err(FunctionError::new("negative").retry_after(Duration::from_secs(3)));
    }
    if more > 0 {
        ctx.set(&BRIEF, more)?;
        ctx.set(&IDLE, more)?;
    }
    ctx.send(("test/log", "all"), sum)?;
    if ctx.caller().is_some() {
        ctx.reply(sum)?;
    }
    let payload = sum.to_string();
    ctx.send_egress("test/egress", PlaygroundRecord { topic: "t".to_owned(), payload })
}

function! { "test/adder", states: [SUM, BRIEF, IDLE], adder }

#[test]
fn effects_of_a_call_are_told() {
    let mut adder = Instance::of("test/adder", "a");
    let outcome = adder.receive_from(("test/asker", "b"), 2_i64).unwrap();
    let asker = sent(("test/asker", "b"), 2_i64);
    assert_eq!(outcome.sent(), [sent(("test/log", "all"), 2_i64), asker]);
    assert_eq!(outcome.reply::<i64>(), 2);
    let expected = PlaygroundRecord { topic: "t".to_owned(), payload: "2".to_owned() };
    assert_eq!(outcome.records(), [record("test/egress", expected)]);
    assert_eq!(outcome.records()[0].decode::<PlaygroundRecord>().payload, "2");
    assert_eq!(outcome.changed(), ["brief", "idle", "sum"]);
    let outcome = adder.receive(0_i64).unwrap();
    assert!(outcome.replies().is_empty());
    assert_eq!(outcome.changed(), ["sum"]);
    assert_eq!(outcome.sent()[0].decode::<i64>(), 2);
    assert_eq!(format!("{:?}", outcome.sent()), "[Sent(test/log/all <- io.statefun.types/long 2)]");
}

#[test]
fn a_failure_leaves_nothing_behind() {
    let mut adder = Instance::of("test/adder", "a");
    adder.set(&SUM, &5);
    let batch = [1_i64, -1, 1].map(Incoming::new).to_vec();
    let failure = futures_free(adder.handle(batch)).unwrap_err();
    assert_eq!(
        failure.message,
        "function test/adder failed on a message of type `io.statefun.types/long`: negative"
    );
    assert_eq!(failure.retry_after, Some(Duration::from_secs(3)));
    assert_eq!((adder.get(&SUM), adder.get(&BRIEF)), (Some(5), None));
    let panicked = Instance::of("test/adder", "a").receive("text").unwrap_err();
    assert!(panicked.message.contains("expected a value of type `io.statefun.types/long`"));
}

/// Runs a future that is ready at once.
fn futures_free<F: Future>(future: F) -> F::Output {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut cx) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn a_batch_counts_as_one() {
    let mut adder = Instance::of("test/adder", "a");
    let outcome = futures_free(adder.handle([1_i64, 2, 3].map(Incoming::new).to_vec())).unwrap();
    assert_eq!(outcome.sent().len(), 3);
    assert_eq!(adder.get(&SUM), Some(6));
}

#[test]
fn state_expires_with_the_clock() {
    let mut adder = Instance::of("test/adder", "a");
    adder.receive(1_i64).unwrap();
    adder.advance(Duration::from_secs(9));
    adder.receive(0_i64).unwrap();
    adder.advance(Duration::from_millis(999));
    assert_eq!((adder.get(&BRIEF), adder.get(&IDLE)), (Some(1), Some(1)));
    adder.advance(Duration::from_millis(1));
    assert_eq!((adder.get(&BRIEF), adder.get(&IDLE)), (None, Some(1)), "a call is a use");
    adder.advance(Duration::from_secs(9));
    assert_eq!((adder.get(&IDLE), adder.get(&SUM)), (None, Some(1)));
}

/// Counts down, a second each; `stop` takes the next step back. Others get a message too.
async fn clock(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    if message.is::<String>() {
        return ctx.cancel("tick");
    }
    let left = message.decode::<i32>()?;
    let own = ctx.address().clone();
    if left > 0 {
        ctx.send_after_with_token(Duration::from_secs(1), "tick", own, left - 1)?;
    } else if left < 0 {
        ctx.send_after(Duration::ZERO, own, left)?;
    }
    ctx.send_after(Duration::from_millis(1_500), ("test/log", "all"), left)
}

function! { "test/clock", clock }

#[test]
fn delayed_messages_come_when_their_time_has_come() {
    let mut clock = Instance::of("test/clock", "c");
    let outcome = clock.receive(2).unwrap();
    let tick = DelayedSend {
        delay: Duration::from_secs(1),
        token: Some("tick".to_owned()),
        sent: sent(("test/clock", "c"), 1),
    };
    assert_eq!(outcome.delayed()[0], tick);
    assert!(clock.advance(Duration::from_millis(999)).is_empty());
    assert_eq!(clock.pending()[0].0, Duration::from_millis(1));
    // At 1 s the first step, at 1.5 s a message to the log, at 2 s the second step.
    let due = clock.advance(Duration::from_millis(1_001));
    let values: Vec<i32> = due.iter().map(|due| due.sent.decode()).collect();
    assert_eq!(values, [1, 2, 0]);
    assert!(due[1].outcome.is_none(), "it is for somebody else");
    let last = due[2].outcome.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(last.delayed().len(), 1);
    assert_eq!(clock.pending().len(), 2);
}

#[test]
fn a_token_takes_a_message_back_and_replaces_one() {
    let mut clock = Instance::of("test/clock", "c");
    clock.receive(5).unwrap();
    clock.receive(3).unwrap();
    let own = clock.pending().iter().filter(|(_, sent)| sent.target.id == "c").count();
    assert_eq!(own, 1, "the second one replaced the first");
    let outcome = clock.receive("stop").unwrap();
    assert_eq!(outcome.cancelled(), ["tick"]);
    let due = clock.advance(Duration::from_secs(60));
    assert_eq!(due.len(), 2, "only those to the log: {due:?}");
}

#[test]
#[should_panic(expected = "test/clock/c sends itself messages without end")]
fn a_function_that_never_rests_is_found() {
    let mut clock = Instance::of("test/clock", "c");
    clock.receive(-1).unwrap();
    clock.advance(Duration::from_millis(1));
}

#[test]
#[should_panic(expected = "no function test/nobody is linked into this test")]
fn a_function_that_is_not_linked_is_named() {
    let _ = Instance::of("test/nobody", "1");
}

const STOCK: Table<String, i64> = Table::new("stock").expire_after_access(Duration::from_secs(10));
const LOG: Buffer<String> = Buffer::new("log").expire_after_write(Duration::from_secs(15));

async fn shelf(ctx: &mut Context, item: String) -> Result<(), FunctionError> {
    if item == "clear" {
        return Ok(ctx.table(&STOCK).clear()?);
    }
    let count = ctx.table(&STOCK).get(&item).await?.unwrap_or(0);
    ctx.table(&STOCK).insert(&item, &(count + 1))?;
    Ok(ctx.buffer(&LOG).append(&item)?)
}

function! { "test/shelf", states: [STOCK, LOG], shelf }

#[test]
fn tables_and_buffers_are_kept_and_expire() {
    let mut shelf = Instance::of("test/shelf", "s");
    shelf.with_context(async |ctx| Ok(ctx.table(&STOCK).insert("b", &5)?));
    for item in ["a", "b", "a"] {
        let outcome = shelf.receive(item).unwrap();
        assert_eq!(outcome.changed(), ["log", "stock"]);
    }
    assert_eq!(shelf.entries(&STOCK), [("a".to_owned(), 2), ("b".to_owned(), 6)]);
    assert_eq!(shelf.elements(&LOG), ["a", "b", "a"]);
    shelf.advance(Duration::from_secs(9));
    shelf.receive("a").unwrap();
    shelf.advance(Duration::from_secs(6));
    assert_eq!(shelf.entries(&STOCK), [("a".to_owned(), 3)], "`b` was not used for 15 s");
    assert_eq!(shelf.elements(&LOG), ["a"]);
    shelf.receive("clear").unwrap();
    assert_eq!(shelf.entries(&STOCK), []);
}

const SEEN: Counter = Counter::new("seen_total", "Messages seen.");
const LEVEL: Gauge = Gauge::new("level", "The level.");
const SIZES: Histogram = Histogram::new("sizes", "Sizes.", &[1.0, 10.0]);
const CLASH: Gauge = Gauge::new("seen_total", "Another one.");

async fn meter(ctx: &mut Context, size: i32) -> Result<(), FunctionError> {
    ctx.count(&SEEN, 1)?;
    ctx.gauge(&LEVEL, 1.5)?;
    ctx.gauge_add(&LEVEL, -0.5)?;
    ctx.observe(&SIZES, f64::from(size))?;
    if size == 13 {
        return Err(FunctionError::new("unlucky"));
    }
    if size == 14 {
        ctx.gauge(&CLASH, 1.0)?;
    }
    Ok(())
}

function! { "test/meter", meter }

#[test]
fn what_a_test_counts_is_told_and_stays_in_the_test() {
    let mut meter = Instance::of("test/meter", "m");
    let outcome = meter.receive(7).unwrap();
    assert_eq!(outcome.counted(&SEEN), 1);
    assert_eq!((outcome.gauged(&LEVEL), outcome.adjusted(&LEVEL)), (Some(1.5), -0.5));
    assert_eq!(outcome.observed(&SIZES), [7.0]);
    assert!(meter.receive(13).is_err());
    let clash = meter.receive(14).unwrap_err();
    assert!(
        clash.message.ends_with(
            "metric `seen_total` is declared as a counter and as a gauge: give one of the two another \
             name"
        ),
        "{clash}"
    );
    let seen = snapshot().into_iter().find(|family| family.name == "seen_total").unwrap();
    assert_eq!((seen.kind, seen.help), (MetricKind::Counter, "Messages seen."));
    assert_eq!(seen.series, [("test/meter", Reading::Count(0))]);
}

/// Waits for another thread.
async fn waiting(ctx: &mut Context, _: Message) -> Result<(), FunctionError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || sender.send(5));
    let number: i32 = receiver.await?;
    tokio::time::sleep(Duration::from_millis(1)).await;
    ctx.reply(number)
}

function! { "test/waiting", waiting }

#[tokio::test]
async fn functions_that_wait_run_on_tokio() {
    let mut waiting = Instance::of("test/waiting", "w");
    let caller = ("test/asker", "a");
    let outcome = waiting.handle(vec![Incoming::new("go").from(caller)]).await.unwrap();
    assert_eq!(outcome.reply::<i32>(), 5);
}
