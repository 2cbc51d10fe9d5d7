//! Effects are applied together, in StateFun's order: messages, delayed ones and cancellations, records,
//! state, each in the order of its list; then comes the next batch.

use anyhow::{Result, ensure};
use dormouse_interop::endpoint::Request;
use dormouse_interop::wire::INT;
use dormouse_interop::wire::answer::{Effects, Expires};
use dormouse_interop::wire::request::Value;

use crate::stage::{RECORDS, Stage, asks, nothing};

const COUNT: (&str, &str, Expires) = ("count", INT, Expires::Never);

fn text(text: &str) -> Value {
    Value::string(text)
}

#[test]
fn messages_come_in_their_order_and_before_what_is_delayed_by_nothing() -> Result<()> {
    let handler = |request: &Request| match request.batch.target.as_str() {
        // Written the other way round: fields of different numbers have no order.
        "s/f/a" => Effects::new()
            .after(0, "", "s/sink/x", &text("delayed one"))
            .after(0, "", "s/sink/x", &text("delayed two"))
            .send("s/sink/x", &text("one"))
            .send("s/sink/x", &text("two"))
            .send("s/sink/x", &text("three"))
            .into(),
        _ => nothing(),
    };
    Stage::play("effects-order", "", handler, |stage| {
        stage.tell("s/f/a", "go")?;
        stage.endpoint.got("s/sink/x", "delayed two")?;
        let texts = stage.endpoint.texts("s/sink/x");
        ensure!(texts == ["one", "two", "three", "delayed one", "delayed two"], "{texts:?}");
        Ok(())
    })
}

/// A message to oneself meets the state that the same answer has written.
#[test]
fn the_next_batch_has_the_state_as_just_written() -> Result<()> {
    let handler = |request: &Request| {
        if let Some(reply) = asks(request, &[COUNT]) {
            return reply;
        }
        match request.batch.texts()[0].as_str() {
            "go" => Effects::new()
                .send("s/f/a", &text("again"))
                .set("count", &Value::int(5))
                .set("count", &Value::int(6))
                .into(),
            _ => nothing(),
        }
    };
    Stage::play("effects-state", "", handler, |stage| {
        stage.tell("s/f/a", "go")?;
        let request = stage.endpoint.got("s/f/a", "again")?;
        let count = request.batch.state("count").flatten();
        ensure!(count == Some(&Value::int(6)), "the last change counts: {:?}", request.batch);
        Ok(())
    })
}

#[test]
fn records_leave_in_their_order() -> Result<()> {
    let handler = |_: &Request| {
        let all = (0..50).fold(Effects::new(), |all, n| all.record(RECORDS, &n.to_string()));
        all.into()
    };
    Stage::play("effects-records", "", handler, |stage| {
        stage.tell("s/f/a", "go")?;
        for number in 0..50 {
            let record = stage.application.record(RECORDS)?;
            ensure!(record == number.to_string(), "{record} instead of {number}");
        }
        Ok(())
    })
}

/// One bad effect, and nothing of the answer is done.
#[test]
fn an_answer_is_applied_as_a_whole_or_not_at_all() -> Result<()> {
    let handler = |request: &Request| {
        if let Some(reply) = asks(request, &[COUNT]) {
            return reply;
        }
        let good = Effects::new()
            .send("s/sink/x", &text("sent"))
            .record(RECORDS, "written")
            .set("count", &Value::int(1));
        match request.batch.texts()[0].as_str() {
            "bad" => good.set("unknown", &Value::int(1)).into(),
            "good" => Effects::new().record(RECORDS, "good").into(),
            _ => nothing(),
        }
    };
    Stage::play("effects-atomic", crate::stage::FRAIL, handler, |stage| {
        stage.tell("s/f/a", "bad")?;
        stage.application.given_up(1)?;
        stage.tell("s/f/a", "good")?;
        ensure!(stage.application.record(RECORDS)? == "good");
        let last = stage.endpoint.got("s/f/a", "good")?;
        ensure!(last.batch.state("count") == Some(None), "{:?}", last.batch);
        ensure!(stage.endpoint.requests_of("s/sink/x").is_empty());
        Ok(())
    })
}

#[test]
fn a_message_without_an_argument_is_an_empty_value() -> Result<()> {
    let handler = |request: &Request| match request.batch.target.as_str() {
        "s/f/a" => Effects::new().send_nothing("s/sink/x").into(),
        _ => nothing(),
    };
    Stage::play("effects-nothing", "", handler, |stage| {
        stage.tell("s/f/a", "go")?;
        let request = stage.endpoint.wait_for("the message", |all| {
            all.iter().find(|request| request.batch.target == "s/sink/x").cloned()
        })?;
        let argument = &request.batch.invocations[0].argument;
        let none = Value { typename: String::new(), has_value: false, bytes: Vec::new() };
        ensure!(*argument == none, "{argument:?}");
        Ok(())
    })
}

/// Message, and a value that is present and has no bytes, arrive as they were sent.
#[test]
fn a_message_that_is_present_and_empty_stays_so() -> Result<()> {
    let handler = |request: &Request| match request.batch.target.as_str() {
        "s/f/a" => Effects::new()
            .send("s/sink/x", &text(""))
            .after(200, "", "s/sink/x", &Value::int(0))
            .into(),
        _ => nothing(),
    };
    Stage::play("effects-empty", "", handler, |stage| {
        stage.tell("s/f/a", "")?;
        let values = |stage: &Stage| {
            let requests = stage.endpoint.requests_of("s/sink/x");
            let all = requests.iter().flat_map(|request| request.batch.invocations.clone());
            all.map(|invocation| invocation.argument).collect::<Vec<_>>()
        };
        stage.endpoint.wait_for("the first", |_| (!values(stage).is_empty()).then_some(()))?;
        // The second one is read from the store.
        stage.restart()?;
        let wanted = [text(""), Value::int(0)];
        stage.endpoint.wait_for("both", |_| {
            let found = values(stage);
            wanted.iter().all(|value| found.contains(value)).then_some(())
        })?;
        let argument = &stage.endpoint.requests()[0].batch.invocations[0].argument;
        ensure!(*argument == text(""), "from the ingress: {argument:?}");
        Ok(())
    })
}
