//! What functions in the runtime's own process can do beyond remote ones, on a running application:
//! states and functions that are named at run time, metrics of their own, and waiting.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "embedded/application.rs"]
mod application;
#[path = "embedded/sealing.rs"]
mod sealing;
#[path = "embedded/waiting.rs"]
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use application::{Application, ask};
use dormouse_host::metrics::render::render;
use dormouse_sdk::metrics::{Counter, Gauge, Histogram};
use dormouse_sdk::{Context, FunctionError, Message, State, Table, function};
use dormouse_store::{EmbeddedOptions, EmbeddedStore};

const SUM: State<i64> = State::new("sum");

/// `add NAME`, `get NAME`: a state of that name; `put NAME`, `look NAME`: a table. Replies with its number.
async fn late(ctx: &mut Context, text: String) -> Result<(), FunctionError> {
    let (what, name) = text.split_once(' ').ok_or_else(|| FunctionError::new("what?"))?;
    let state = State::<i64>::named(name)?;
    let number = match what {
        "add" => {
            let number = ctx.get(&state)?.unwrap_or(0) + 1;
            ctx.set(&state, number)?;
            let sum = ctx.get(&SUM)?.unwrap_or(0) + 1;
            ctx.set(&SUM, sum)?;
            number
        }
        "get" => ctx.get(&state)?.unwrap_or(0),
        "sum" => ctx.get(&SUM)?.unwrap_or(0),
        _ => {
            let table = Table::<String, i64>::named(name)?;
            let number = ctx.table(&table).get("key").await?.unwrap_or(0);
            if what == "put" {
                ctx.table(&table).insert("key", &(number + 1))?;
            }
            number
        }
    };
    ctx.reply(number)
}

function! { "test/late", states: [SUM], late }

#[tokio::test]
async fn states_named_at_run_time_outlive_the_process_and_count_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = || {
        let options = EmbeddedOptions::new(directory.path(), 4);
        EmbeddedStore::open(options).unwrap().0
    };
    Application::new(1, 4)
        .store(store())
        .run(async |lane| {
            for (id, text, expected) in [
                ("a", "add x", 1),
                ("a", "add x", 2),
                ("a", "add y", 1),
                ("b", "add x", 1),
                ("a", "sum -", 3),
                ("a", "put t", 0),
                ("a", "put t", 1),
            ] {
                assert_eq!(ask::<i64>(&lane, "test/late", id, text).await, expected, "{id} {text}");
            }
        })
        .await;
    Application::new(1, 4)
        .store(store())
        .run(async |lane| {
            for (id, text, expected) in [
                ("a", "look t", 2),
                ("a", "get x", 2),
                ("b", "get x", 1),
                ("b", "get y", 0),
                ("a", "add y", 2),
                ("a", "sum -", 4),
            ] {
                assert_eq!(ask::<i64>(&lane, "test/late", id, text).await, expected, "{id} {text}");
            }
        })
        .await;
}

async fn rule(ctx: &mut Context, _: Message) -> Result<(), FunctionError> {
    let name = ctx.address().function_type.name();
    let count = ctx.get(&SUM)?.unwrap_or(0) + 1;
    ctx.set(&SUM, count)?;
    ctx.reply(format!("{name} {count}"))
}

async fn special(ctx: &mut Context, _: Message) -> Result<(), FunctionError> {
    ctx.reply("special")
}

function! { "rules/*", states: [SUM], rule }
function! { "rules/exact", special }

#[tokio::test]
async fn a_function_of_a_namespace_serves_names_that_nobody_has_listed() {
    Application::new(2, 4)
        .run(async |lane| {
            for (function, id, expected) in [
                ("rules/fraud", "1", "fraud 1"),
                ("rules/limits", "1", "limits 1"),
                ("rules/fraud", "1", "fraud 2"),
                ("rules/fraud", "2", "fraud 1"),
                ("rules/exact", "1", "special"),
            ] {
                assert_eq!(ask::<String>(&lane, function, id, "?").await, expected);
            }
            assert!(lane.resolve("rules", "new").is_some());
            assert!(lane.resolve("nobody", "new").is_none());
        })
        .await;
}

const ORDERS: Counter = Counter::new("orders_total", "Orders \"taken\".");
const LEVEL: Gauge = Gauge::new("level", "Where it stands.");
const CENTS: Histogram = Histogram::new("order_cents", "What orders cost.", &[100.0, 1_000.0]);

static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// Fails the first time, after it has counted.
async fn till(ctx: &mut Context, cents: i64) -> Result<(), FunctionError> {
    ctx.count(&ORDERS, 1)?;
    ctx.gauge(&LEVEL, 2.5)?;
    ctx.observe(&CENTS, cents as f64)?;
    if !HAS_FAILED.swap(true, Ordering::Relaxed) {
        return Err(FunctionError::new("not today"));
    }
    ctx.reply(cents)
}

function! { "test/till", till }

#[tokio::test]
async fn metrics_of_functions_are_exported_and_failed_calls_do_not_count() {
    let application = Application::new(2, 4);
    let metrics = Arc::clone(&application.metrics);
    application
        .run(async |lane| {
            for (id, cents) in [("a", 50_i64), ("b", 100), ("c", 5_000)] {
                assert_eq!(ask::<i64>(&lane, "test/till", id, cents).await, cents);
            }
        })
        .await;
    let page = render(&metrics, None);
    let of_till: Vec<&str> = page.lines().filter(|line| line.contains("dormouse_user_")).collect();
    assert_eq!(
        of_till,
        [
            "# HELP dormouse_user_level Where it stands.",
            "# TYPE dormouse_user_level gauge",
            "dormouse_user_level{function=\"test/till\"} 2.5",
            "# HELP dormouse_user_order_cents What orders cost.",
            "# TYPE dormouse_user_order_cents histogram",
            "dormouse_user_order_cents_bucket{function=\"test/till\",le=\"100\"} 2",
            "dormouse_user_order_cents_bucket{function=\"test/till\",le=\"1000\"} 2",
            "dormouse_user_order_cents_bucket{function=\"test/till\",le=\"+Inf\"} 3",
            "dormouse_user_order_cents_sum{function=\"test/till\"} 5150",
            "dormouse_user_order_cents_count{function=\"test/till\"} 3",
            "# HELP dormouse_user_orders_total Orders \"taken\".",
            "# TYPE dormouse_user_orders_total counter",
            "dormouse_user_orders_total{function=\"test/till\"} 3",
        ]
    );
}
