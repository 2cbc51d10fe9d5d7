//! Delayed messages and their cancellation.

use anyhow::{Result, ensure};
use dormouse_interop::endpoint::{Reply, Request};
use dormouse_interop::wire::answer::Effects;
use dormouse_interop::wire::request::Value;

use crate::stage::{FRAIL, Stage, nothing};

const SINK: &str = "s/sink/x";

fn text(text: &str) -> Value {
    Value::string(text)
}

/// `s/f` and `s/g` send and cancel as they are told: `MS TOKEN TEXT`, `cancel TOKEN`, one line each.
fn timers(request: &Request) -> Reply {
    if request.batch.target == SINK {
        return nothing();
    }
    let mut effects = Effects::new();
    for line in request.batch.texts().iter().flat_map(|text| text.lines()) {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        effects = match words[..] {
            ["cancel", token] => effects.cancel(token),
            [millis, token, said] => {
                let token = if token == "-" { "" } else { token };
                effects.after(millis.parse().unwrap_or(0), token, SINK, &text(said))
            }
            _ => effects,
        };
    }
    effects.into()
}

fn sink(stage: &Stage) -> Vec<String> {
    stage.endpoint.texts(SINK)
}

#[test]
fn sent_and_cancelled_by_one_answer_never_comes() -> Result<()> {
    Stage::play("delayed-cancelled", "", timers, |stage| {
        stage.tell("s/f/a", "100 one cancelled\ncancel one\n400 - last")?;
        stage.endpoint.got(SINK, "last")?;
        ensure!(sink(stage) == ["last"], "{:?}", sink(stage));
        Ok(())
    })
}

#[test]
fn cancelled_and_sent_by_one_answer_comes() -> Result<()> {
    Stage::play("delayed-sent", "", timers, |stage| {
        stage.tell("s/f/a", "cancel one\n100 one kept\n400 - last")?;
        stage.endpoint.got(SINK, "last")?;
        ensure!(sink(stage) == ["kept", "last"], "{:?}", sink(stage));
        Ok(())
    })
}

#[test]
fn a_delay_of_nothing_is_a_delay() -> Result<()> {
    Stage::play("delayed-nothing", "", timers, |stage| {
        stage.tell("s/f/a", "0 - now")?;
        stage.endpoint.got(SINK, "now").map(drop)
    })
}

#[test]
fn a_negative_delay_is_a_failure_of_the_message() -> Result<()> {
    Stage::play("delayed-negative", FRAIL, timers, |stage| {
        stage.tell("s/f/a", "-5 - never")?;
        let letters = stage.application.given_up(1)?;
        ensure!(letters.contains("has delay_in_ms -5: expected 0 or more"), "{letters}");
        stage.tell("s/f/a", "0 - now")?;
        stage.endpoint.got(SINK, "now")?;
        ensure!(sink(stage) == ["now"]);
        Ok(())
    })
}

#[test]
fn delayed_messages_come_in_the_order_of_their_times_and_then_of_their_sending() -> Result<()> {
    Stage::play("delayed-order", "", timers, |stage| {
        stage.tell("s/f/a", "300 - third\n200 - first\n200 - second")?;
        stage.endpoint.got(SINK, "third")?;
        ensure!(sink(stage) == ["first", "second", "third"], "{:?}", sink(stage));
        Ok(())
    })
}

#[test]
fn a_token_is_shared_by_all_types_of_one_id_and_by_no_other_id() -> Result<()> {
    Stage::play("delayed-types", "", timers, |stage| {
        stage.tell("s/f/a", "1500 one cancelled\n1600 two kept")?;
        stage.endpoint.wait_for("it is sent", |all| (!all.is_empty()).then_some(()))?;
        stage.tell("s/g/a", "cancel one")?;
        stage.tell("s/f/b", "cancel two")?;
        stage.endpoint.got(SINK, "kept")?;
        stage.tell("s/f/a", "300 - last")?;
        stage.endpoint.got(SINK, "last")?;
        ensure!(sink(stage) == ["kept", "last"], "{:?}", sink(stage));
        Ok(())
    })
}

/// Which ends a job of StateFun, so that nobody can rely on it: here the new message replaces the one that
/// has the token, as whoever puts something off wants it.
#[test]
fn a_token_that_is_used_again_replaces_its_message() -> Result<()> {
    Stage::play("delayed-again", FRAIL, timers, |stage| {
        stage.tell("s/f/a", "100 one early\n300 one late\n500 - last")?;
        stage.endpoint.got(SINK, "last")?;
        ensure!(sink(stage) == ["late", "last"], "{:?}", sink(stage));
        stage.tell("s/f/a", "3000 one never\n3000 one also-never")?;
        stage.tell("s/f/a", "cancel one\n3200 - end")?;
        stage.endpoint.got(SINK, "end")?;
        ensure!(sink(stage) == ["late", "last", "end"], "{:?}", sink(stage));
        ensure!(stage.application.metric("dormouse_dead_letters")? == 0.0);
        Ok(())
    })
}

#[test]
fn the_longest_delay_is_one_that_can_be_cancelled() -> Result<()> {
    Stage::play("delayed-longest", FRAIL, timers, |stage| {
        stage.tell("s/f/a", &format!("{} one never\n0 - now", i64::MAX))?;
        stage.endpoint.got(SINK, "now")?;
        stage.restart()?;
        stage.tell("s/f/a", "cancel one\n0 - then")?;
        stage.endpoint.got(SINK, "then")?;
        ensure!(!sink(stage).contains(&"never".to_owned()));
        ensure!(stage.application.metric("dormouse_dead_letters")? == 0.0);
        Ok(())
    })
}

#[test]
fn an_unknown_token_is_nothing_to_cancel_and_one_that_fired_is_free_again() -> Result<()> {
    Stage::play("delayed-free", FRAIL, timers, |stage| {
        stage.tell("s/f/a", "cancel unknown\n0 one first")?;
        stage.endpoint.got(SINK, "first")?;
        stage.tell("s/f/a", "cancel one\n0 one second")?;
        stage.endpoint.got(SINK, "second")?;
        ensure!(sink(stage) == ["first", "second"]);
        Ok(())
    })
}

#[test]
fn what_comes_due_while_nothing_runs_comes_at_the_start() -> Result<()> {
    Stage::play("delayed-down", "", timers, |stage| {
        stage.tell("s/f/a", "700 - later\n900 one cancelled")?;
        stage.endpoint.wait_for("it is sent", |all| (!all.is_empty()).then_some(()))?;
        stage.tell("s/f/a", "cancel one")?;
        stage.endpoint.wait_for("it is cancelled", |all| (all.len() >= 2).then_some(()))?;
        // The acknowledgement of this is behind the cancellation.
        stage.tell("s/f/a", "0 - now")?;
        stage.endpoint.got(SINK, "now")?;
        stage.application.kill()?;
        std::thread::sleep(std::time::Duration::from_secs(1));
        stage.application.start()?;
        stage.endpoint.got(SINK, "later")?;
        stage.tell("s/f/a", "100 - last")?;
        stage.endpoint.got(SINK, "last")?;
        ensure!(!sink(stage).contains(&"cancelled".to_owned()), "{:?}", sink(stage));
        Ok(())
    })
}
