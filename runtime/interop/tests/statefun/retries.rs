//! When a failed call is tried again: the schedules and budgets of the two transports.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dormouse_interop::endpoint::{Reply, Request};

use crate::gate::Gate;
use crate::stage::Stage;

const GIVE_UP: &str = "failure: {retry: {attempts: 1}, then: dead-letter}";
const OKHTTP: &str = "type: io.statefun.transports.v1/okhttp";

fn status(line: &'static str) -> Reply {
    Reply::Raw(line, "content-type: text/plain\r\n", b"no".to_vec())
}

fn fields(transport: &str) -> String {
    format!("transport: {{{transport}}}, {GIVE_UP}")
}

/// The pauses between the answer to a call and the next call, until the message was given up.
fn pauses(name: &str, transport: &str, reply: Reply) -> Result<Vec<Duration>> {
    let answered: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let noted = Arc::clone(&answered);
    let handler = move |_: &Request| {
        noted.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        reply.clone()
    };
    let mut found = Vec::new();
    Stage::play(&format!("retries-{name}"), &fields(transport), handler, |stage| {
        stage.tell("s/f/a", "one")?;
        stage.application.given_up(1)?;
        let came: Vec<Instant> = stage.endpoint.requests().iter().map(|r| r.came).collect();
        let answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
        found = came[1..].iter().zip(answered.iter()).map(|(next, at)| *next - *at).collect();
        Ok(())
    })?;
    Ok(found)
}

fn are_at_least(pauses: &[Duration], millis: &[u64]) -> Result<()> {
    for (pause, millis) in pauses.iter().zip(millis) {
        ensure!(*pause >= Duration::from_millis(*millis), "{pauses:?}, expected {millis} ms");
    }
    Ok(())
}

/// The first answer is this, the next one good: the message is taken, by the second call.
fn is_tried_again(name: &str, transport: &str, first: Reply) -> Result<Duration> {
    let answered: Arc<Mutex<Option<Instant>>> = Arc::default();
    let noted = Arc::clone(&answered);
    let handler = move |request: &Request| {
        if request.number > 1 {
            return crate::stage::nothing();
        }
        *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        first.clone()
    };
    let mut pause = Duration::ZERO;
    Stage::play(&format!("retries-{name}"), &fields(transport), handler, |stage| {
        stage.tell("s/f/a", "one")?;
        let came = stage.endpoint.wait_for("a second call", |all| Some(all.get(1)?.came))?;
        let answered = *answered.lock().unwrap_or_else(PoisonError::into_inner);
        pause = came - answered.unwrap_or(came);
        stage.tell("s/f/a", "two")?;
        stage.endpoint.got("s/f/a", "two")?;
        ensure!(stage.application.metric("dormouse_dead_letters")? == 0.0);
        ensure!(stage.endpoint.requests().len() == 3);
        Ok(())
    })?;
    Ok(pause)
}

#[test]
fn async_tries_again_after_4_8_16_milliseconds_until_the_budget_ends() -> Result<()> {
    let pauses = pauses("async", "call: 1s", status("500 Internal Server Error"))?;
    are_at_least(&pauses, &[4, 8, 16, 32, 64, 128, 256])?;
    // 4 + ... + 256 ms fit, and nothing of the next one.
    ensure!((1..=7).contains(&pauses.len()), "{pauses:?}");
    Ok(())
}

#[test]
fn async_tries_a_404_again() -> Result<()> {
    is_tried_again("async-404", "call: 30s", status("404 Not Found")).map(drop)
}

#[test]
fn async_tries_a_400_and_a_wrong_content_type_again() -> Result<()> {
    is_tried_again("async-400", "call: 30s", status("400 Bad Request"))?;
    is_tried_again("async-type", "call: 30s", status("200 OK")).map(drop)
}

#[test]
fn async_calls_a_function_that_hangs_once() -> Result<()> {
    let gate = Gate::default();
    let held = gate.clone();
    let handler = move |_: &Request| {
        held.pass();
        Reply::Close
    };
    Stage::play("retries-hang", &fields("call: 300ms"), handler, |stage| {
        stage.tell("s/f/a", "one")?;
        let letters = stage.application.given_up(1)?;
        ensure!(letters.contains("expected an answer within"), "{letters}");
        ensure!(stage.endpoint.requests().len() == 1, "tried again");
        gate.open();
        Ok(())
    })
}

#[test]
fn okhttp_takes_a_404_as_final() -> Result<()> {
    let pauses = pauses("okhttp-404", OKHTTP, status("404 Not Found"))?;
    ensure!(pauses.is_empty(), "{pauses:?}");
    Ok(())
}

#[test]
fn okhttp_takes_a_wrong_content_type_as_final() -> Result<()> {
    let pauses = pauses("okhttp-type", OKHTTP, status("200 OK"))?;
    ensure!(pauses.is_empty(), "{pauses:?}");
    Ok(())
}

/// All of those beside the ones from 500 on, and some of these.
#[test]
fn okhttp_tries_a_status_again_that_may_pass() -> Result<()> {
    for (name, line) in [
        ("408", "408 Request Timeout"),
        ("409", "409 Conflict"),
        ("420", "420 Enhance Your Calm"),
        ("429", "429 Too Many Requests"),
        ("499", "499 Client Closed Request"),
        ("500", "500 Internal Server Error"),
        ("599", "599 Whatever"),
    ] {
        let pause = is_tried_again(&format!("okhttp-{name}"), OKHTTP, status(line))?;
        ensure!(pause >= Duration::from_millis(10), "{line}: tried again after {pause:?}");
    }
    Ok(())
}

#[test]
fn okhttp_tries_again_after_10_20_40_milliseconds() -> Result<()> {
    let timeouts = format!("{OKHTTP}, timeouts: {{call: 2s, connect: 2s, read: 2s, write: 2s}}");
    let pauses = pauses("okhttp", &timeouts, status("503 Service Unavailable"))?;
    // The last one is cut to what is left of the time.
    ensure!(pauses.len() > 1, "{pauses:?}");
    are_at_least(&pauses[..pauses.len() - 1], &[10, 20, 40, 80, 160, 320])
}

/// `timeouts.read` is a silence, after which the okhttp transport asks again.
#[test]
fn okhttp_tries_again_after_a_silence() -> Result<()> {
    let gate = Gate::default();
    let held = gate.clone();
    let handler = move |request: &Request| {
        if request.number == 1 {
            held.pass();
        }
        crate::stage::nothing()
    };
    let timeouts = format!("{OKHTTP}, timeouts: {{read: 100ms}}");
    Stage::play("retries-silence", &fields(&timeouts), handler, |stage| {
        stage.tell("s/f/a", "one")?;
        stage.endpoint.wait_for("a second call", |all| (all.len() >= 2).then_some(()))?;
        stage.tell("s/f/a", "two")?;
        stage.endpoint.got("s/f/a", "two")?;
        gate.open();
        Ok(())
    })
}

/// In StateFun, `timeouts` under the async transport sets other defaults and makes `call` and `connect`
/// beside it void.
#[test]
fn timeouts_beside_call_replace_it() -> Result<()> {
    let gate = Gate::default();
    let held = gate.clone();
    let handler = move |request: &Request| {
        if request.number == 1 {
            held.pass();
        }
        crate::stage::nothing()
    };
    // Were `call` in force, the call would have ended, and another one begun.
    let transport = "call: 100ms, timeouts: {connect: 5s}";
    Stage::play("retries-timeouts", &fields(transport), handler, |stage| {
        stage.tell("s/f/a", "one")?;
        stage.endpoint.got("s/f/a", "one")?;
        std::thread::sleep(Duration::from_secs(1));
        ensure!(stage.application.metric("dormouse_dead_letters")? == 0.0, "given up after `call`");
        let printed = stage.application.printed();
        ensure!(printed.contains("`call` has no effect beside `timeouts`"), "{printed}");
        gate.open();
        stage.tell("s/f/a", "two")?;
        stage.endpoint.got("s/f/a", "two")?;
        ensure!(stage.application.metric("dormouse_dead_letters")? == 0.0);
        Ok(())
    })
}

/// StateFun sends the request again after a restart of the job, again and again.
#[test]
fn a_call_whose_budget_is_over_is_made_again_by_default() -> Result<()> {
    let handler = |request: &Request| match request.number {
        1..=8 => status("500 Internal Server Error"),
        _ => crate::stage::nothing(),
    };
    Stage::play("retries-default", "transport: {call: 10ms}", handler, |stage| {
        stage.tell("s/f/a", "one")?;
        stage.endpoint.wait_for("nine calls", |all| (all.len() >= 9).then_some(()))?;
        stage.tell("s/f/a", "two")?;
        stage.endpoint.got("s/f/a", "two").map(drop)
    })
}
