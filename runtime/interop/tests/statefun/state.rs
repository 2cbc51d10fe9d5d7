//! State: what is present and empty stays so, what is deleted is gone, and what expires is never given
//! out again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dormouse_interop::endpoint::{Reply, Request};
use dormouse_interop::wire::answer::{Effects, Expires, missing};
use dormouse_interop::wire::request::{Batch, Value};
use dormouse_interop::wire::{INT, STRING, field};

use crate::stage::{FRAIL, Stage, asks};

const TEXT: (&str, &str, Expires) = ("text", STRING, Expires::Never);
const BRIEF_MILLIS: u64 = 1_000;
const BRIEF: Duration = Duration::from_millis(BRIEF_MILLIS);

/// Sets, deletes or only looks, as it is told: `set STATE`, `delete STATE`, anything else.
fn changes(request: &Request, value: &Value) -> Reply {
    let mut effects = Effects::new();
    for text in request.batch.texts() {
        effects = match text.split_once(' ') {
            Some(("set", state)) => effects.set(state, value),
            Some(("delete", state)) => effects.delete(state),
            _ => effects,
        };
    }
    effects.into()
}

/// Says something that was not said before: the call that brings it, with the states. What was said before
/// it like this was in an earlier call.
fn look(stage: &Stage, text: &str) -> Result<Batch> {
    stage.tell("s/f/a", text)?;
    stage.endpoint.wait_for(&format!("a call with `{text}`"), |all| {
        let changes = |other: &String| {
            other != text && (other.starts_with("set") || other.starts_with("delete"))
        };
        let fits = |batch: &Batch| {
            let texts = batch.texts();
            let has_it = texts.iter().any(|other| other == text);
            has_it && !batch.states.is_empty() && !texts.iter().any(changes)
        };
        all.iter().find(|request| fits(&request.batch)).map(|request| request.batch.clone())
    })
}

/// SIGKILL, once everything so far is in the store: what comes later from the same shard is.
fn kill(stage: &mut Stage) -> Result<()> {
    stage.tell("s/f/a", "durable")?;
    stage.application.kill()
}

/// What the state was before this message.
fn seen(batch: &Batch, state: &str) -> Option<Value> {
    batch.state(state).flatten().cloned()
}

#[test]
fn a_value_that_is_present_and_empty_survives_storage() -> Result<()> {
    let empty = Value::string("");
    let handler = |request: &Request| {
        asks(request, &[TEXT]).unwrap_or_else(|| changes(request, &Value::string("")))
    };
    Stage::play("state-empty", "", handler, |stage| {
        ensure!(seen(&look(stage, "before")?, "text").is_none());
        look(stage, "set text")?;
        ensure!(seen(&look(stage, "after")?, "text").as_ref() == Some(&empty));
        kill(stage)?;
        stage.application.start()?;
        let batch = look(stage, "after the kill")?;
        ensure!(seen(&batch, "text").as_ref() == Some(&empty), "{batch:?}");
        Ok(())
    })
}

#[test]
fn a_deleted_value_is_gone_also_after_a_kill() -> Result<()> {
    let handler = |request: &Request| {
        asks(request, &[TEXT]).unwrap_or_else(|| changes(request, &Value::string("x")))
    };
    Stage::play("state-deleted", "", handler, |stage| {
        look(stage, "set text")?;
        let batch = look(stage, "one")?;
        ensure!(seen(&batch, "text") == Some(Value::string("x")), "{batch:?}");
        look(stage, "delete text")?;
        ensure!(seen(&look(stage, "two")?, "text").is_none());
        kill(stage)?;
        stage.application.start()?;
        let batch = look(stage, "three")?;
        ensure!(batch.state("text") == Some(None), "{batch:?}");
        Ok(())
    })
}

/// StateFun stores what comes in `value`, whatever `has_value` says.
#[test]
fn a_change_without_has_value_sets_what_it_brings() -> Result<()> {
    let odd = Value { has_value: false, ..Value::string("x") };
    let handler = move |request: &Request| {
        // `has_value` is left out, the bytes are there.
        let mut encoded = odd.encoded();
        encoded.extend(field(3, &odd.bytes));
        asks(request, &[TEXT]).unwrap_or_else(|| {
            if request.batch.texts()[0] != "set" {
                return Effects::new().into();
            }
            let name = field(2, b"text");
            let value = field(3, &encoded);
            let change = [vec![0x08, 0x01], name, value].concat();
            let effects = field(1, &change);
            Reply::Good(field(100, &effects))
        })
    };
    Stage::play("state-odd", "", handler, |stage| {
        look(stage, "set")?;
        let batch = look(stage, "one")?;
        ensure!(seen(&batch, "text") == Some(Value::string("x")), "{batch:?}");
        Ok(())
    })
}

#[test]
fn states_of_two_types_with_one_id_are_two() -> Result<()> {
    let handler = |request: &Request| {
        asks(request, &[TEXT]).unwrap_or_else(|| changes(request, &Value::string("x")))
    };
    Stage::play("state-types", "", handler, |stage| {
        stage.tell("s/f/a", "set text")?;
        stage.tell("s/g/a", "look")?;
        stage.endpoint.wait_for("the call with the state", |all| {
            let fits = |batch: &Batch| batch.target == "s/g/a" && !batch.states.is_empty();
            let found = all.iter().find(|request| fits(&request.batch))?;
            found.batch.state("text").flatten().is_none().then_some(())
        })
    })
}

const EXPIRING: [(&str, &str, Expires); 4] = [
    ("written", INT, Expires::AfterWrite(BRIEF_MILLIS)),
    ("called", INT, Expires::AfterCall(BRIEF_MILLIS)),
    ("long", INT, Expires::AfterWrite(3_600_000)),
    ("ever", INT, Expires::Never),
];

fn expiring(request: &Request) -> Reply {
    asks(request, &EXPIRING).unwrap_or_else(|| {
        if request.batch.texts().iter().all(|text| text != "set all") {
            return Effects::new().into();
        }
        let all =
            EXPIRING.iter().fold(Effects::new(), |all, (name, ..)| all.set(name, &Value::int(1)));
        all.into()
    })
}

#[test]
fn a_value_expires_so_long_after_its_last_write() -> Result<()> {
    Stage::play("state-written", "", expiring, |stage| {
        let written = Instant::now();
        look(stage, "set all")?;
        let mut number = 0;
        loop {
            number += 1;
            let sent = Instant::now();
            let batch = look(stage, &format!("look {number}"))?;
            ensure!(seen(&batch, "long").is_some() && seen(&batch, "ever").is_some(), "{batch:?}");
            if seen(&batch, "written").is_none() {
                ensure!(written.elapsed() >= BRIEF, "too early");
                return Ok(());
            }
            ensure!(sent.duration_since(written) < 30 * BRIEF, "it does not expire");
            std::thread::sleep(Duration::from_millis(50));
        }
    })
}

#[test]
fn calls_keep_a_value_that_expires_after_calls() -> Result<()> {
    Stage::play("state-called", "", expiring, |stage| {
        let mut number = 0;
        // Until the machine is quick enough to call often enough.
        let kept = loop {
            number += 1;
            stage.tell("s/f/a", "set all")?;
            look(stage, &format!("set {number}"))?;
            let (begun, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
            let batch = loop {
                number += 1;
                let batch = look(stage, &format!("look {number}"))?;
                longest = longest.max(last.elapsed());
                last = Instant::now();
                if begun.elapsed() > 2 * BRIEF {
                    break batch;
                }
            };
            if longest < BRIEF / 2 {
                break batch;
            }
        };
        ensure!(seen(&kept, "called").is_some() && seen(&kept, "written").is_none(), "{kept:?}");
        std::thread::sleep(BRIEF + Duration::from_millis(100));
        let batch = look(stage, "after a pause")?;
        ensure!(seen(&batch, "called").is_none() && seen(&batch, "long").is_some(), "{batch:?}");
        Ok(())
    })
}

#[test]
fn values_expire_while_nothing_runs() -> Result<()> {
    Stage::play("state-down", "", expiring, |stage| {
        look(stage, "set all")?;
        // Behind this the change is durable.
        look(stage, "look")?;
        kill(stage)?;
        std::thread::sleep(BRIEF + Duration::from_millis(100));
        stage.application.start()?;
        let batch = look(stage, "looks")?;
        ensure!(seen(&batch, "written").is_none() && seen(&batch, "called").is_none(), "{batch:?}");
        ensure!(seen(&batch, "long").is_some() && seen(&batch, "ever").is_some(), "{batch:?}");
        Ok(())
    })
}

/// A state that a new version of the function registers with another type: its old value is kept, its
/// messages wait or are given up, and the address goes on with the old version.
#[test]
fn a_type_change_over_a_restart_is_a_failure_with_both_types() -> Result<()> {
    let is_new = Arc::new(AtomicBool::new(false));
    let version = Arc::clone(&is_new);
    let handler = move |request: &Request| {
        let retyped = version.load(Ordering::SeqCst);
        let spec = if retyped { ("text", INT, Expires::Never) } else { TEXT };
        if request.batch.state("text").is_none() {
            return Reply::Good(missing(&[spec]));
        }
        changes(request, &Value::string("x"))
    };
    Stage::play("state-retyped", FRAIL, handler, |stage| {
        look(stage, "set text")?;
        look(stage, "one")?;
        kill(stage)?;
        is_new.store(true, Ordering::SeqCst);
        stage.application.start()?;
        stage.tell("s/f/a", "two")?;
        // What was under way at the kill may be given up beside it.
        stage.application.wait_for("a dead letter", |application| {
            Ok(application.metric("dormouse_dead_letters")? >= 1.0)
        })?;
        let letters = stage.application.dead_letters()?;
        ensure!(letters.contains("io.statefun.types/string"), "{letters}");
        ensure!(letters.contains("io.statefun.types/int"), "{letters}");
        stage.application.kill()?;
        is_new.store(false, Ordering::SeqCst);
        stage.application.start()?;
        let batch = look(stage, "three")?;
        ensure!(seen(&batch, "text") == Some(Value::string("x")), "{batch:?}");
        Ok(())
    })
}
