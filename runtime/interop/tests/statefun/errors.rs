//! Answers and effects that end a job of StateFun, again after each restart. Here each is the failure of
//! one message, whose policy applies: it is given up with the cause, its address goes on, and nobody else
//! notices.

use anyhow::{Context as _, Result, ensure};
use dormouse_interop::application::Application;
use dormouse_interop::endpoint::{Endpoint, Reply, Request};
use dormouse_interop::process::lasting_port;
use dormouse_interop::wire::answer::{Effects, Expires, missing};
use dormouse_interop::wire::request::Value;
use dormouse_interop::wire::{INT, STRING, field};

use crate::stage::{FRAIL, PLAYGROUND, RECORDS, Stage, asks, endpoint, nothing};

const LOG: (&str, &str, Expires) = ("log", STRING, Expires::Never);

/// Gives up the message that gets this answer, with this cause; all others are taken.
fn stops_one_message(name: &str, fatal: Reply, cause: &str) -> Result<()> {
    let handler = move |request: &Request| {
        if let Some(reply) = asks(request, &[LOG]) {
            return reply;
        }
        let texts = request.batch.texts();
        if texts.iter().any(|text| text == "fatal") {
            return fatal.clone();
        }
        let log = request.batch.state("log").flatten().map(Value::text).unwrap_or_default();
        let log = log + &texts.join(" ") + " ";
        let said = log.trim_end().to_owned();
        Effects::new().set("log", &Value::string(&log)).record(RECORDS, &said).into()
    };
    let fields = FRAIL.replace("call: 4s", "call: 4s, payload_max_bytes: 200000");
    Stage::play(&format!("errors-{name}"), &fields, handler, |stage| {
        stage.tell("s/f/a", "before")?;
        ensure!(stage.application.record(RECORDS)? == "before");
        stage.tell("s/f/a", "fatal")?;
        let letters = stage.application.given_up(1)?;
        ensure!(letters.contains(cause), "expected the cause `{cause}` in\n{letters}");
        ensure!(letters.contains(r#""type":"s/f","id":"a""#), "{letters}");
        stage.tell("s/f/a", "after")?;
        ensure!(stage.application.record(RECORDS)? == "before after");
        stage.tell("s/f/b", "other")?;
        ensure!(stage.application.record(RECORDS)? == "other");
        ensure!(stage.application.metric("dormouse_blocked_addresses")? == 0.0);
        // Also not after a restart.
        stage.restart()?;
        stage.tell("s/f/a", "later")?;
        let mut record = stage.application.record(RECORDS)?;
        // What was taken just before the kill may be shown again.
        while ["before", "before after", "other"].contains(&record.as_str()) {
            record = stage.application.record(RECORDS)?;
        }
        ensure!(record == "before after later", "{record}");
        stage.application.given_up(1).map(drop)
    })
}

fn x() -> Value {
    Value::string("x")
}

#[test]
fn an_unknown_egress() -> Result<()> {
    let fatal = Effects::new().egress("io.statefun.playground/nowhere", &x());
    stops_one_message(
        "egress",
        fatal.into(),
        "Unknown egress io.statefun.playground/nowhere; the manifest binds \
         io.statefun.playground/egress",
    )
}

/// As the generic Kafka egress is strict about its records, the playground's is.
#[test]
fn a_record_of_another_type_than_its_egress_takes() -> Result<()> {
    let fatal = Effects::new().egress("io.statefun.playground/egress", &x());
    stops_one_message("record", fatal.into(), "egress io.statefun.playground/egress: ")
}

#[test]
fn a_record_for_a_topic_that_the_egress_does_not_have() -> Result<()> {
    let fatal = Effects::new().record("elsewhere", "x");
    stops_one_message("topic", fatal.into(), "unknown topic `elsewhere`; known are ")
}

#[test]
fn a_new_value_of_a_state_that_is_not_registered() -> Result<()> {
    let fatal = Effects::new().set("other", &x());
    stops_one_message(
        "set",
        fatal.into(),
        "Accessing a non-existing function state: other. This can happen if you forgot to declare \
         this state using the language SDKs.",
    )
}

#[test]
fn deleting_a_state_that_is_not_registered() -> Result<()> {
    let fatal = Effects::new().delete("other");
    stops_one_message("delete", fatal.into(), "Accessing a non-existing function state: other.")
}

#[test]
fn a_new_value_of_another_type_than_registered() -> Result<()> {
    let fatal = Effects::new().set("log", &Value::int(1));
    stops_one_message(
        "type",
        fatal.into(),
        "An error occurred for state [log]. Previous type was: io.statefun.types/string, new type \
         is: io.statefun.types/int",
    )
}

#[test]
fn a_change_of_an_unknown_kind() -> Result<()> {
    let fatal = Effects::new().change(7, "log", Some(&x()));
    stops_one_message("kind", fatal.into(), "the mutation of state `log` has type 7")
}

#[test]
fn a_cancellation_without_a_token() -> Result<()> {
    let fatal = Effects::new().cancel("");
    stops_one_message(
        "token",
        fatal.into(),
        "Can not handle a cancellation request without a cancellation token.",
    )
}

#[test]
fn a_negative_delay() -> Result<()> {
    let fatal = Effects::new().after(-1, "", "s/f/x", &x());
    stops_one_message("delay", fatal.into(), "a delayed message for s/f/x has delay_in_ms -1")
}

/// Tokens and names of states are parts of keys in the store.
#[test]
fn a_token_that_is_too_long() -> Result<()> {
    let token = "t".repeat(70_000);
    let cause = "a cancellation token of 70000 bytes: at most 16384 are possible";
    let fatal = Effects::new().after(1, &token, "s/f/x", &x());
    stops_one_message("long-token", fatal.into(), cause)?;
    let fatal = Effects::new().cancel(&token);
    stops_one_message("long-cancelled", fatal.into(), cause)
}

#[test]
fn a_state_whose_name_is_too_long() -> Result<()> {
    let fatal = missing(&[(&"n".repeat(70_000), INT, Expires::Never)]);
    let cause = "has a name of 70000 bytes: at most 16384 are possible";
    stops_one_message("long-name", Reply::Good(fatal), cause)
}

#[test]
fn a_target_whose_id_is_too_long() -> Result<()> {
    let fatal = Effects::new().send(&format!("s/f/{}", "i".repeat(32_769)), &x());
    let cause = "the id has 32769 bytes, at most 32768 are allowed";
    stops_one_message("long-id", fatal.into(), cause)
}

#[test]
fn a_message_without_a_target() -> Result<()> {
    let fatal = field(100, &field(2, &field(2, &x().encoded())));
    stops_one_message("target", Reply::Good(fatal), "a message's target: is missing")
}

#[test]
fn a_state_registered_again_with_another_type() -> Result<()> {
    let fatal = missing(&[("log", INT, Expires::Never)]);
    stops_one_message(
        "registered",
        Reply::Good(fatal),
        "Previous type was: io.statefun.types/string, new type is: io.statefun.types/int",
    )
}

#[test]
fn a_state_that_expires_after_no_time() -> Result<()> {
    let fatal = missing(&[("new", INT, Expires::AfterWrite(0))]);
    let cause = "state `new` expires after 0 ms: expected 1 or more";
    stops_one_message("expires", Reply::Good(fatal), cause)
}

#[test]
fn an_answer_that_is_none() -> Result<()> {
    let fatal = Reply::Good(b"\xff\xff garbage".to_vec());
    stops_one_message("garbage", fatal, "the body is no FromFunction")
}

#[test]
fn an_answer_longer_than_payload_max_bytes() -> Result<()> {
    stops_one_message("long", Reply::Good(vec![0; 300_000]), "longer than 200000 bytes")
}

#[test]
fn a_function_that_always_fails() -> Result<()> {
    let fatal = Reply::Raw("500 Internal Server Error", "", b"it is broken".to_vec());
    stops_one_message("always", fatal, "got 500 Internal Server Error, `it is broken`")
}

/// StateFun only finds out when a message comes, and ends the job; here it waits until somebody serves it.
#[test]
fn a_message_for_a_type_that_nobody_serves() -> Result<()> {
    let handler = |request: &Request| match request.batch.target.as_str() {
        "s/f/a" => Effects::new().send("late/f/x", &x()).record(RECORDS, "sent").into(),
        _ => nothing(),
    };
    Stage::play("errors-unserved", FRAIL, handler, |stage| {
        stage.tell("s/f/a", "go")?;
        ensure!(stage.application.record(RECORDS)? == "sent");
        stage.application.wait_for("the log says so", |application| {
            Ok(application.printed().contains("nobody serves late/f: its addresses are blocked"))
        })?;
        stage.application.kill()?;
        let port = stage.port;
        let served = endpoint("s/*", port, FRAIL) + &endpoint("late/*", port, "") + PLAYGROUND;
        stage.application.start_with(&served)?;
        stage.endpoint.got("late/f/x", "x").map(drop)
    })
}

/// Without a policy, a message that always fails is tried for ever, and holds up its address alone.
#[test]
fn by_default_a_message_that_always_fails_waits_and_blocks_its_address_only() -> Result<()> {
    let port = lasting_port()?;
    let server = Endpoint::start(port, |request| match request.batch.texts()[0].as_str() {
        "bad" => Reply::Raw("500 Internal Server Error", "", Vec::new()),
        _ => nothing(),
    })?;
    let mut application = Application::new("statefun-errors-default")?;
    let functions = endpoint("s/*", port, "transport: {call: 50ms}");
    application.start_with(&(functions + PLAYGROUND))?;
    let told = (|| -> Result<()> {
        application.tell("s/f/a", "bad")?;
        application.tell("s/f/a", "behind it")?;
        application.wait_for("it is blocked", |application| {
            Ok(application.metric("dormouse_blocked_addresses")? == 1.0)
        })?;
        application.tell("s/f/b", "other")?;
        server.got("s/f/b", "other")?;
        let tried = server.requests_of("s/f/a").len();
        server.wait_for("it is tried again", |_| {
            (server.requests_of("s/f/a").len() > tried + 1).then_some(())
        })?;
        ensure!(server.texts("s/f/a").iter().all(|text| text == "bad"), "order is kept");
        Ok(())
    })();
    told.with_context(|| application.log_tail())
}
