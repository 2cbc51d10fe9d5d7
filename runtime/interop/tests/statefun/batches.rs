//! One request at a time for an address; what comes meanwhile goes out together with the next, in the order
//! of arrival.

use anyhow::{Result, ensure};
use dormouse_interop::endpoint::Request;
use dormouse_interop::wire::STRING;
use dormouse_interop::wire::answer::{Effects, Expires};
use dormouse_interop::wire::request::Value;

use crate::gate::Gate;
use crate::stage::{FRAIL, Stage, asks, nothing};

const LOG: (&str, &str, Expires) = ("log", STRING, Expires::Never);

/// All texts of the batch behind the log so far, as one change.
fn logged(request: &Request) -> Effects {
    let before = request.batch.state("log").flatten().map(Value::text).unwrap_or_default();
    let log = request.batch.texts().iter().fold(before, |log, text| log + text + " ");
    Effects::new().set("log", &Value::string(&log))
}

#[test]
fn what_waits_for_an_address_goes_out_as_one_batch_in_its_order() -> Result<()> {
    let gate = Gate::default();
    let held = gate.clone();
    let handler = move |request: &Request| {
        if let Some(reply) = asks(request, &[LOG]) {
            return reply;
        }
        if request.batch.texts() == ["first"] {
            held.pass();
        }
        logged(request).into()
    };
    Stage::play("batches", "", handler, |stage| {
        stage.tell("s/f/a", "first")?;
        stage.endpoint.got("s/f/a", "first")?;
        let waiting: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        for text in &waiting {
            stage.tell("s/f/a", text)?;
        }
        let calls = stage.endpoint.requests_of("s/f/a").len();
        ensure!(calls <= 2, "{calls} calls, one of them under way");
        gate.open();
        let batch = stage.endpoint.got("s/f/a", "19")?;
        ensure!(batch.batch.texts() == waiting, "{:?}", batch.batch.texts());
        let log = batch.batch.state("log").flatten().map(Value::text);
        ensure!(log.as_deref() == Some("first "), "{log:?}");
        stage.tell("s/f/a", "last")?;
        let last = stage.endpoint.got("s/f/a", "last")?;
        let log = last.batch.state("log").flatten().map(Value::text).unwrap_or_default();
        ensure!(log == format!("first {} ", waiting.join(" ")), "{log}");
        Ok(())
    })
}

#[test]
fn other_addresses_are_called_at_the_same_time() -> Result<()> {
    let gate = Gate::default();
    let held = gate.clone();
    let handler = move |request: &Request| {
        if request.batch.target == "s/f/slow" {
            held.pass();
        }
        nothing()
    };
    Stage::play("batches-others", "", handler, |stage| {
        stage.tell("s/f/slow", "one")?;
        stage.endpoint.got("s/f/slow", "one")?;
        for number in 0..20 {
            stage.tell(&format!("s/f/{number}"), "one")?;
            stage.endpoint.got(&format!("s/f/{number}"), "one")?;
        }
        gate.open();
        Ok(())
    })
}

/// The threshold at which StateFun stops its input neither cuts batches nor stops anything here.
#[test]
fn max_num_batch_requests_does_not_cut_batches() -> Result<()> {
    let gate = Gate::default();
    let held = gate.clone();
    let handler = move |request: &Request| {
        if request.batch.texts() == ["first"] {
            held.pass();
        }
        nothing()
    };
    Stage::play("batches-max", "maxNumBatchRequests: 3", handler, |stage| {
        stage.tell("s/f/a", "first")?;
        stage.endpoint.got("s/f/a", "first")?;
        for number in 0..20 {
            stage.tell("s/f/a", &number.to_string())?;
        }
        gate.open();
        let batch = stage.endpoint.got("s/f/a", "19")?;
        ensure!(batch.batch.texts().len() == 20, "{:?}", batch.batch.texts());
        Ok(())
    })
}

/// aiohttp, with which the Python SDK's documentation serves, answers 413 to more than a mebibyte, and so do
/// proxies; StateFun sends such a batch again and again.
#[test]
fn long_messages_with_a_state_go_out_in_requests_of_less_than_a_mebibyte() -> Result<()> {
    const MESSAGES: usize = 40;
    let gate = Gate::default();
    let held = gate.clone();
    let handler = move |request: &Request| {
        if let Some(reply) = asks(request, &[LOG]) {
            return reply;
        }
        if request.batch.texts()[0] == "first" {
            held.pass();
        }
        Effects::new().set("log", &Value::string(&"x".repeat(100 << 10))).into()
    };
    Stage::play("batches-long", "", handler, |stage| {
        stage.tell("s/f/a", "first")?;
        stage.endpoint.got("s/f/a", "first")?;
        let long = "y".repeat(40 << 10);
        for number in 0..MESSAGES {
            stage.tell("s/f/a", &format!("{number} {long}"))?;
        }
        gate.open();
        stage.endpoint.got("s/f/a", &format!("{} {long}", MESSAGES - 1))?;
        let requests = stage.endpoint.requests_of("s/f/a");
        let longest = requests.iter().map(|request| request.body.len()).max().unwrap_or(0);
        // Several at once, and not too many.
        ensure!((256 << 10..1 << 20).contains(&longest), "{longest} bytes");
        Ok(())
    })
}

/// StateFun sends all that waits, however much it is.
#[test]
fn a_call_takes_a_thousand_messages_at_most() -> Result<()> {
    const MESSAGES: usize = 1_500;
    let gate = Gate::default();
    let held = gate.clone();
    let handler = move |request: &Request| {
        if request.batch.target == "s/f/sender" {
            let send = |all: Effects, n: usize| all.send("s/f/a", &Value::string(&n.to_string()));
            return (0..MESSAGES).fold(Effects::new(), send).into();
        }
        if request.batch.texts()[0] == "first" {
            held.pass();
        }
        nothing()
    };
    Stage::play("batches-thousand", "", handler, |stage| {
        stage.tell("s/f/a", "first")?;
        stage.endpoint.got("s/f/a", "first")?;
        stage.tell("s/f/sender", "go")?;
        stage.application.wait_for("all wait that were sent", |application| {
            Ok(application.metric("dormouse_backlog_messages")? >= MESSAGES as f64)
        })?;
        stage.tell("s/f/a", "last")?;
        gate.open();
        stage.endpoint.got("s/f/a", "last")?;
        let requests = stage.endpoint.requests_of("s/f/a");
        let sizes: Vec<usize> = requests.iter().map(|r| r.batch.texts().len()).collect();
        ensure!(sizes.iter().max() == Some(&1_000), "{sizes:?}");
        let numbers = (0..MESSAGES).map(|number| number.to_string());
        let texts = stage.endpoint.texts("s/f/a");
        let came: Vec<&String> = texts.iter().filter(|t| *t != "first" && *t != "last").collect();
        ensure!(came.iter().copied().cloned().eq(numbers), "{came:?}");
        Ok(())
    })
}

/// The first error ends a batch in all SDKs, and nothing of it is answered: the others are not lost with it.
#[test]
fn a_batch_that_fails_costs_only_the_message_that_makes_it_fail() -> Result<()> {
    let gate = Gate::default();
    let held = gate.clone();
    let handler = move |request: &Request| {
        if let Some(reply) = asks(request, &[LOG]) {
            return reply;
        }
        let texts = request.batch.texts();
        if texts == ["first"] {
            held.pass();
        }
        if texts.iter().any(|text| text == "bad") {
            // Impossible, so that it is not tried again by itself.
            return Effects::new().delete("unknown").into();
        }
        logged(request).into()
    };
    Stage::play("batches-failure", FRAIL, handler, |stage| {
        stage.tell("s/f/a", "first")?;
        stage.endpoint.got("s/f/a", "first")?;
        for text in ["1", "2", "bad", "3", "4"] {
            stage.tell("s/f/a", text)?;
        }
        gate.open();
        let letters = stage.application.given_up(1)?;
        ensure!(letters.contains("non-existing function state: unknown"), "{letters}");
        stage.tell("s/f/a", "last")?;
        let last = stage.endpoint.wait_for("the last", |all| {
            let fits = |request: &&std::sync::Arc<Request>| {
                request.batch.texts().last().is_some_and(|text| text == "last")
            };
            let found = all.iter().rev().find(fits)?;
            let log = found.batch.state("log").flatten().map(Value::text).unwrap_or_default();
            Some(log + &found.batch.texts().join(" "))
        })?;
        ensure!(last == "first 1 2 3 4 last", "{last}");
        Ok(())
    })
}
