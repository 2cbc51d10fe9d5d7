//! What stops a whole worker of StateFun, or its job: here it concerns one address, or nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use dormouse_interop::endpoint::{Reply, Request};
use dormouse_interop::wire::answer::{Effects, Expires, missing};
use dormouse_interop::wire::request::Value;
use dormouse_interop::wire::{INT, STRING};

use crate::gate::Gate;
use crate::stage::{FRAIL, RECORDS, Stage, asks, nothing};

/// The first request of a type blocks the worker.
#[test]
fn a_first_call_that_hangs_holds_up_no_other_type() -> Result<()> {
    let gate = Gate::default();
    let held = gate.clone();
    let handler = move |request: &Request| {
        if request.batch.target.starts_with("s/hangs/") {
            held.pass();
        }
        nothing()
    };
    Stage::play("limits-first", "", handler, |stage| {
        for number in 0..20 {
            stage.tell(&format!("s/hangs/{number}"), "one")?;
        }
        for number in 0..20 {
            stage.tell(&format!("s/well/{number}"), "one")?;
            stage.endpoint.got(&format!("s/well/{number}"), "one")?;
        }
        gate.open();
        // And nothing of it is lost.
        for number in 0..20 {
            stage.endpoint.got(&format!("s/hangs/{number}"), "one")?;
        }
        Ok(())
    })
}

/// An address with more messages than `maxNumBatchRequests` stops the input of its worker.
#[test]
fn a_hot_address_does_not_stop_the_input() -> Result<()> {
    const MESSAGES: usize = 500;
    let gate = Gate::default();
    let held = gate.clone();
    let handler = move |request: &Request| {
        if request.batch.target == "s/f/hot" {
            held.pass();
        }
        nothing()
    };
    Stage::play("limits-hot", "maxNumBatchRequests: 10", handler, |stage| {
        for number in 0..MESSAGES {
            stage.tell("s/f/hot", &number.to_string())?;
        }
        for number in 0..20 {
            stage.tell(&format!("s/f/{number}"), "one")?;
            stage.endpoint.got(&format!("s/f/{number}"), "one")?;
        }
        gate.open();
        stage.endpoint.got("s/f/hot", &(MESSAGES - 1).to_string())?;
        let texts = stage.endpoint.texts("s/f/hot");
        let all: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
        ensure!(texts == all, "{texts:?}");
        Ok(())
    })
}

/// Messages that functions send in a circle are drained without a break.
#[test]
fn a_circle_of_messages_lets_others_in() -> Result<()> {
    let is_over = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&is_over);
    let handler = move |request: &Request| match request.batch.target.as_str() {
        "s/ring/a" if !ends.load(Ordering::SeqCst) => {
            Effects::new().send("s/ring/b", &Value::string("on")).into()
        }
        "s/ring/b" => Effects::new().send("s/ring/a", &Value::string("on")).into(),
        _ => nothing(),
    };
    Stage::play("limits-ring", "", handler, |stage| {
        stage.tell("s/ring/a", "on")?;
        stage.endpoint.wait_for("it runs", |all| (all.len() > 50).then_some(()))?;
        for number in 0..20 {
            stage.tell(&format!("s/f/{number}"), "one")?;
            stage.endpoint.got(&format!("s/f/{number}"), "one")?;
        }
        is_over.store(true, Ordering::SeqCst);
        Ok(())
    })
}

/// A batch has no bound, an answer has: what is too long together fails for ever.
#[test]
fn a_batch_whose_answer_would_be_too_long_is_taken_one_by_one() -> Result<()> {
    const MESSAGES: usize = 10;
    let gate = Gate::default();
    let held = gate.clone();
    let handler = move |request: &Request| {
        let texts = request.batch.texts();
        if texts == ["first"] {
            held.pass();
        }
        let long = "x".repeat(10_000);
        let all = texts.iter().fold(Effects::new(), |all, text| {
            let said = Value::string(&format!("{text} {long}"));
            all.send("s/sink/x", &said).record(RECORDS, text)
        });
        if request.batch.target == "s/sink/x" { nothing() } else { all.into() }
    };
    let fields = "transport: {call: 1s, payload_max_bytes: 50000}";
    Stage::play("limits-answer", fields, handler, |stage| {
        stage.tell("s/f/a", "first")?;
        stage.endpoint.got("s/f/a", "first")?;
        for number in 0..MESSAGES {
            stage.tell("s/f/a", &number.to_string())?;
        }
        gate.open();
        ensure!(stage.application.record(RECORDS)? == "first");
        for number in 0..MESSAGES {
            let record = stage.application.record(RECORDS)?;
            ensure!(record == number.to_string(), "{record} instead of {number}");
        }
        Ok(())
    })
}

/// A state cannot get another expiration while the job runs: a restart is enough.
#[test]
fn another_expiration_counts_from_the_next_start_on() -> Result<()> {
    let is_new = Arc::new(AtomicBool::new(false));
    let version = Arc::clone(&is_new);
    let handler = move |request: &Request| {
        let after = if version.load(Ordering::SeqCst) { 3_600_000 } else { 300 };
        let spec = ("count", INT, Expires::AfterWrite(after));
        asks(request, &[spec]).unwrap_or_else(|| match request.batch.texts()[0].as_str() {
            "set" => Effects::new().set("count", &Value::int(1)).into(),
            _ => nothing(),
        })
    };
    Stage::play("limits-expiration", "", handler, |stage| {
        stage.tell("s/f/other", "registers")?;
        stage.application.kill()?;
        is_new.store(true, Ordering::SeqCst);
        stage.application.start()?;
        stage.tell("s/f/a", "set")?;
        let called = |text: &str| {
            stage.endpoint.wait_for(text, |all| {
                let fits = |request: &&Arc<Request>| {
                    !request.batch.states.is_empty() && request.batch.texts() == [text]
                };
                all.iter().find(fits).cloned()
            })
        };
        called("set")?;
        std::thread::sleep(std::time::Duration::from_millis(500));
        stage.tell("s/f/a", "look")?;
        let look = called("look")?;
        ensure!(look.batch.state("count") == Some(Some(&Value::int(1))), "{:?}", look.batch);
        Ok(())
    })
}

/// More states than a type can have are a failure, not a process out of memory.
#[test]
fn a_function_that_asks_for_too_many_states_is_given_up() -> Result<()> {
    let handler = |request: &Request| {
        if request.batch.texts()[0] != "many" {
            return nothing();
        }
        let names: Vec<String> = (0..5_000).map(|number| format!("state{number}")).collect();
        let specs: Vec<_> =
            names.iter().map(|name| (name.as_str(), STRING, Expires::Never)).collect();
        Reply::Good(missing(&specs))
    };
    Stage::play("limits-states", FRAIL, handler, |stage| {
        stage.tell("s/f/a", "many")?;
        let letters = stage.application.given_up(1)?;
        ensure!(letters.contains("asks for more than 4096 states"), "{letters}");
        stage.tell("s/f/a", "few")?;
        stage.endpoint.got("s/f/a", "few").map(drop)
    })
}

/// The longest id, with the longest names and tokens beside it, also after a restart.
#[test]
fn the_longest_ids_names_and_tokens_fit_together() -> Result<()> {
    let (id, name, token) = ("i".repeat(32_768), "n".repeat(16_384), "t".repeat(16_384));
    let long = format!("s/f/{id}");
    let (state, target) = (name.clone(), long.clone());
    let handler = move |request: &Request| {
        if request.batch.target == "s/start/a" {
            return Effects::new().send(&target, &Value::string("set")).into();
        }
        if request.batch.target.starts_with("s/sink/") {
            return nothing();
        }
        let spec = (state.as_str(), INT, Expires::Never);
        asks(request, &[spec]).unwrap_or_else(|| {
            let said = Value::string("later");
            let effects = Effects::new().set(&state, &Value::int(7));
            effects.after(500, &token, "s/sink/x", &said).record(RECORDS, "set").into()
        })
    };
    Stage::play("limits-longest", FRAIL, handler, |stage| {
        stage.tell("s/start/a", "go")?;
        ensure!(stage.application.record(RECORDS)? == "set");
        stage.restart()?;
        stage.endpoint.got("s/sink/x", "later")?;
        stage.tell("s/start/a", "go")?;
        stage.endpoint.wait_for("the state as it was stored", |all| {
            let mut requests = all.iter().filter(|request| request.batch.target == long);
            let is_stored =
                |request: &Arc<Request>| request.batch.state(&name) == Some(Some(&Value::int(7)));
            requests.any(is_stored).then_some(())
        })?;
        ensure!(stage.application.metric("dormouse_dead_letters")? == 0.0);
        Ok(())
    })
}
