//! Golden vectors, made with `protoc` from StateFun's files: what goes over the wire is these bytes, and
//! these bytes are understood.

use anyhow::{Result, ensure};
use dormouse_interop::application::Application;
use dormouse_interop::endpoint::{Endpoint, Reply, Request};
use dormouse_interop::process::lasting_port;
use dormouse_interop::wire::answer::Effects;
use dormouse_interop::wire::request::Value;
use dormouse_interop::wire::{
    NO_EFFECTS, PERSON_WITH_EMPTY_STATE_AND_CALLER, PERSON_WITH_UNSET_STATE, PERSON_WITHOUT_STATE,
    VISITS_MISSING, VISITS_MISSING_SHORT, bytes,
};

use crate::stage::{PLAYGROUND, endpoint};

const BOB: &str = "example/person/Bob";

/// Tells Bob his name, and returns the bodies of the first `count` requests for him.
fn requests_for_bob(
    name: &str,
    count: usize,
    handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    story: impl FnOnce(&Application, &Endpoint) -> Result<()>,
) -> Result<Vec<Vec<u8>>> {
    let port = lasting_port()?;
    let server = Endpoint::start(port, handler)?;
    let mut application = Application::new(&format!("statefun-golden-{name}"))?;
    application.start_with(&(endpoint("example/*", port, "") + PLAYGROUND))?;
    application.tell(BOB, "Bob")?;
    story(&application, &server)?;
    server.wait_for(&format!("{count} requests for Bob"), |_| {
        let requests = server.requests_of(BOB);
        let bodies = requests.iter().map(|request| request.body.clone()).collect::<Vec<_>>();
        (bodies.len() >= count).then_some(bodies)
    })
}

#[test]
fn a_message_from_an_ingress_without_state_is_these_bytes() -> Result<()> {
    let answer = |_: &Request| Reply::Good(bytes(NO_EFFECTS));
    let bodies = requests_for_bob("plain", 1, answer, |_, _| Ok(()))?;
    ensure!(bodies[0] == bytes(PERSON_WITHOUT_STATE), "{:02x?}", bodies[0]);
    Ok(())
}

/// Both forms: with an empty expiration, as Python and Go send it, and without one.
#[test]
fn a_state_is_registered_by_these_bytes_and_listed_by_these() -> Result<()> {
    for (name, missing) in [("long", VISITS_MISSING), ("short", VISITS_MISSING_SHORT)] {
        let answer = move |request: &Request| match request.batch.state("visits") {
            None => Reply::Good(bytes(missing)),
            Some(_) => Reply::Good(bytes(NO_EFFECTS)),
        };
        let bodies = requests_for_bob(name, 2, answer, |_, _| Ok(()))?;
        ensure!(bodies[0] == bytes(PERSON_WITHOUT_STATE), "{:02x?}", bodies[0]);
        ensure!(bodies[1] == bytes(PERSON_WITH_UNSET_STATE), "{:02x?}", bodies[1]);
    }
    Ok(())
}

#[test]
fn a_state_that_is_present_and_empty_and_a_caller_are_these_bytes() -> Result<()> {
    let answer = |request: &Request| match request.batch.state("visits") {
        _ if request.batch.target == "example/x/1" => {
            Effects::new().send(BOB, &Value::string("Bob")).into()
        }
        None => Reply::Good(bytes(VISITS_MISSING)),
        Some(None) => Effects::new().set("visits", &Value::int(0)).into(),
        Some(Some(_)) => Reply::Good(bytes(NO_EFFECTS)),
    };
    let bodies = requests_for_bob("caller", 3, answer, |application, server| {
        server
            .wait_for("the state is set", |_| (server.requests_of(BOB).len() == 2).then_some(()))?;
        application.tell("example/x/1", "go")
    })?;
    ensure!(bodies[2] == bytes(PERSON_WITH_EMPTY_STATE_AND_CALLER), "{:02x?}", bodies[2]);
    Ok(())
}

/// With the content type, an empty body is a `FromFunction` without anything.
#[test]
fn no_effects_are_these_bytes_or_none() -> Result<()> {
    for (name, body) in [("effects", bytes(NO_EFFECTS)), ("empty", Vec::new())] {
        let answer = move |_: &Request| Reply::Good(body.clone());
        let bodies = requests_for_bob(name, 1, answer, |application, server| {
            application.tell(BOB, "next")?;
            server.got(BOB, "next").map(drop)
        })?;
        ensure!(bodies.len() == 2, "{} requests: one was tried again", bodies.len());
    }
    Ok(())
}
