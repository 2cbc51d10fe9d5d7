//! Who called: absent for what comes from an ingress, else the sender, also later and after a restart.

use anyhow::{Result, ensure};
use dormouse_interop::endpoint::{Reply, Request};
use dormouse_interop::wire::INT;
use dormouse_interop::wire::answer::{Effects, Expires};
use dormouse_interop::wire::request::Value;

use crate::gate::Gate;
use crate::stage::{Stage, asks, nothing};

/// The callers of all messages with this text for an address.
fn callers(stage: &Stage, target: &str, text: &str) -> Vec<Option<String>> {
    let requests = stage.endpoint.requests_of(target);
    let all = requests.iter().flat_map(|request| &request.batch.invocations);
    let named = all.filter(|invocation| invocation.argument.text() == text);
    named.map(|invocation| invocation.caller.clone()).collect()
}

fn relay(request: &Request) -> Reply {
    match request.batch.target.as_str() {
        "s/f/a" => Effects::new()
            .send("s/sink/x", &Value::string("sent"))
            .after(300, "", "s/sink/x", &Value::string("delayed"))
            .into(),
        _ => nothing(),
    }
}

#[test]
fn a_message_from_an_ingress_has_no_caller() -> Result<()> {
    Stage::play("callers-ingress", "", relay, |stage| {
        stage.tell("s/sink/x", "from outside")?;
        stage.endpoint.got("s/sink/x", "from outside")?;
        ensure!(callers(stage, "s/sink/x", "from outside") == [None]);
        Ok(())
    })
}

#[test]
fn the_caller_of_a_message_is_its_sender_also_when_it_was_delayed() -> Result<()> {
    Stage::play("callers-sender", "", relay, |stage| {
        stage.tell("s/f/a", "go")?;
        stage.endpoint.got("s/sink/x", "delayed")?;
        for text in ["sent", "delayed"] {
            let callers = callers(stage, "s/sink/x", text);
            ensure!(callers == [Some("s/f/a".to_owned())], "{callers:?}");
        }
        Ok(())
    })
}

#[test]
fn a_delayed_message_keeps_its_caller_over_a_kill() -> Result<()> {
    Stage::play("callers-kill", "", relay, |stage| {
        stage.tell("s/f/a", "go")?;
        stage.endpoint.got("s/sink/x", "sent")?;
        stage.restart()?;
        stage.endpoint.got("s/sink/x", "delayed")?;
        let callers = callers(stage, "s/sink/x", "delayed");
        ensure!(callers.iter().all(|caller| caller.as_deref() == Some("s/f/a")), "{callers:?}");
        Ok(())
    })
}

/// The handshake repeats a batch with its callers, each message with its own.
#[test]
fn a_handshake_keeps_callers() -> Result<()> {
    let handler = |request: &Request| match request.batch.target.as_str() {
        "s/f/a" | "s/f/b" => Effects::new().send("s/sink/x", &Value::string("sent")).into(),
        _ => asks(request, &[("count", INT, Expires::Never)]).unwrap_or_else(nothing),
    };
    Stage::play("callers-handshake", "", handler, |stage| {
        stage.tell("s/f/a", "go")?;
        stage.endpoint.wait_for("two requests", |_| {
            (stage.endpoint.requests_of("s/sink/x").len() == 2).then_some(())
        })?;
        let sender = Some("s/f/a".to_owned());
        ensure!(callers(stage, "s/sink/x", "sent") == [sender.clone(), sender]);
        Ok(())
    })
}

/// What was in flight when the process died is sent again, with its callers.
#[test]
fn a_request_that_was_in_flight_at_a_kill_is_sent_again_as_it_was() -> Result<()> {
    let gate = Gate::default();
    let held = gate.clone();
    let handler = move |request: &Request| match request.batch.target.as_str() {
        "s/f/a" => Effects::new().send("s/sink/x", &Value::string("sent")).into(),
        _ => {
            held.pass();
            nothing()
        }
    };
    Stage::play("callers-flight", "", handler, |stage| {
        stage.tell("s/f/a", "go")?;
        let before = stage.endpoint.got("s/sink/x", "sent")?;
        // Behind the acknowledgement of this the message is in the store.
        stage.tell("s/f/a", "go")?;
        stage.application.kill()?;
        gate.open();
        stage.application.start()?;
        let again = stage.endpoint.wait_for("the same again", |all| {
            let mut requests = all.iter().filter(|r| r.batch.target == "s/sink/x");
            requests.nth(1).cloned()
        })?;
        let first = &again.batch.invocations[0];
        ensure!(*first == before.batch.invocations[0], "{first:?}");
        Ok(())
    })
}
