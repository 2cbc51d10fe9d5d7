//! The handshake: a function says which states it has, and gets all of them with every request from
//! then on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use dormouse_interop::endpoint::{Reply, Request};
use dormouse_interop::wire::answer::{Effects, Expires, missing};
use dormouse_interop::wire::request::Value;
use dormouse_interop::wire::{INT, STRING};

use crate::gate::Gate;
use crate::stage::{FRAIL, Stage, asks, nothing};

const VISITS: (&str, &str, Expires) = ("visits", INT, Expires::Never);
const NAME: (&str, &str, Expires) = ("name", STRING, Expires::Never);

#[test]
fn states_without_a_value_are_listed_by_name() -> Result<()> {
    let handler = |request: &Request| asks(request, &[VISITS, NAME]).unwrap_or_else(nothing);
    Stage::play("handshake-unset", "", handler, |stage| {
        stage.tell("s/f/a", "one")?;
        stage.endpoint.wait_for("two requests", |all| (all.len() == 2).then_some(()))?;
        let second = &stage.endpoint.requests()[1];
        ensure!(second.batch.names() == ["name", "visits"], "{:?}", second.batch);
        ensure!(second.batch.states.iter().all(|(_, value)| value.is_none()));
        ensure!(second.batch.texts() == ["one"], "the same message again");
        Ok(())
    })
}

#[test]
fn only_what_is_missing_is_told_and_everything_is_listed() -> Result<()> {
    // In two rounds, one state each.
    let handler = |request: &Request| {
        asks(request, &[VISITS]).or_else(|| asks(request, &[NAME])).unwrap_or_else(nothing)
    };
    Stage::play("handshake-rounds", "", handler, |stage| {
        stage.tell("s/f/a", "one")?;
        stage.endpoint.wait_for("three requests", |all| (all.len() == 3).then_some(()))?;
        let names: Vec<_> =
            stage.endpoint.requests().iter().map(|r| r.batch.names().len()).collect();
        ensure!(names == [0, 1, 2], "{names:?}");
        Ok(())
    })
}

#[test]
fn a_handshake_of_one_address_serves_all_addresses_of_its_type() -> Result<()> {
    const EACH: usize = 60;
    let handler = |request: &Request| asks(request, &[VISITS]).unwrap_or_else(nothing);
    Stage::play("handshake-type", "", handler, |stage| {
        let wave = |stage: &Stage, number: usize| -> Result<usize> {
            for id in 0..EACH {
                stage.tell(&format!("s/f/{number}-{id}"), "one")?;
            }
            stage.endpoint.wait_for("all calls", |requests| {
                let ended = requests.iter().filter(|r| r.batch.names() == ["visits"]);
                (ended.count() == (number + 1) * EACH).then_some(())
            })?;
            Ok(stage.endpoint.requests().len() - (number + 1) * EACH)
        };
        let asked = wave(stage, 0)?;
        ensure!((1..EACH).contains(&asked), "{asked} handshakes");
        ensure!(wave(stage, 1)? == asked, "asked again for other addresses");
        Ok(())
    })
}

/// A function of another version that names a state again with the same type, beside a new one: its value
/// and its expiration stay as they are.
#[test]
fn a_known_state_of_the_same_type_is_ignored() -> Result<()> {
    let is_new = Arc::new(AtomicBool::new(false));
    let version = Arc::clone(&is_new);
    let handler = move |request: &Request| {
        if let Some(reply) = asks(request, &[VISITS]) {
            return reply;
        }
        if version.load(Ordering::SeqCst) && request.batch.state("name").is_none() {
            let again = ("visits", INT, Expires::AfterWrite(1));
            return Reply::Good(missing(&[again, NAME]));
        }
        match request.batch.state("visits") {
            Some(None) => Effects::new().set("visits", &Value::int(7)).into(),
            _ => nothing(),
        }
    };
    Stage::play("handshake-again", "", handler, |stage| {
        stage.tell("s/f/a", "one")?;
        stage.endpoint.wait_for("two requests", |all| (all.len() == 2).then_some(()))?;
        is_new.store(true, Ordering::SeqCst);
        for text in ["two", "three"] {
            std::thread::sleep(Duration::from_millis(20));
            stage.tell("s/f/a", text)?;
            let got = stage.endpoint.wait_for("the call with both states", |all| {
                let last = all.last()?;
                let is_it = last.batch.texts() == [text] && last.batch.names().len() == 2;
                is_it.then(|| Arc::clone(last))
            })?;
            ensure!(got.batch.state("visits") == Some(Some(&Value::int(7))), "{:?}", got.batch);
        }
        Ok(())
    })
}

#[test]
fn a_known_state_of_another_type_is_a_failure() -> Result<()> {
    let handler = |request: &Request| match request.batch.texts()[0].as_str() {
        "retyped" => Reply::Good(missing(&[("visits", STRING, Expires::Never), NAME])),
        _ => asks(request, &[VISITS]).unwrap_or_else(nothing),
    };
    Stage::play("handshake-type-change", FRAIL, handler, |stage| {
        stage.tell("s/f/a", "one")?;
        stage.endpoint.wait_for("two requests", |all| (all.len() == 2).then_some(()))?;
        stage.tell("s/f/a", "retyped")?;
        stage.tell("s/f/a", "goes on")?;
        stage.endpoint.got("s/f/a", "goes on")?;
        let letters = stage.application.given_up(1)?;
        let expected =
            "Previous type was: io.statefun.types/int, new type is: io.statefun.types/string";
        ensure!(letters.contains(expected), "{letters}");
        Ok(())
    })
}

/// StateFun asks for ever.
#[test]
fn a_function_that_never_stops_asking_is_a_failure() -> Result<()> {
    let handler = |request: &Request| match request.batch.texts()[0].as_str() {
        "endless" => Reply::Good(missing(&[VISITS])),
        _ => asks(request, &[VISITS]).unwrap_or_else(nothing),
    };
    Stage::play("handshake-endless", FRAIL, handler, |stage| {
        stage.tell("s/f/a", "endless")?;
        let letters = stage.application.given_up(1)?;
        ensure!(letters.contains("names none that was not in the request"), "{letters}");
        stage.tell("s/f/a", "goes on")?;
        stage.endpoint.got("s/f/a", "goes on").map(drop)
    })
}

#[test]
fn a_state_without_a_type_is_of_the_type_unset() -> Result<()> {
    let unset = "io.statefun.types/unset";
    let handler = move |request: &Request| {
        // Whoever registers it without a type writes it without one.
        let set = || Effects::new().set("x", &Value::new("", *b"v")).into();
        asks(request, &[("x", "", Expires::Never)]).unwrap_or_else(set)
    };
    Stage::play("handshake-untyped", "", handler, |stage| {
        stage.tell("s/f/a", "one")?;
        stage.endpoint.wait_for("its state is asked for", |all| (all.len() == 2).then_some(()))?;
        stage.tell("s/f/a", "two")?;
        let last = stage.endpoint.got("s/f/a", "two")?;
        let found = last.batch.state("x").flatten();
        ensure!(found == Some(&Value::new(unset, *b"v")), "{:?}", last.batch);
        Ok(())
    })
}

/// Hundreds of addresses wait at a start, and nothing is known yet of the states of their type.
#[test]
fn a_restart_does_not_ask_for_every_address() -> Result<()> {
    const ADDRESSES: usize = 300;
    let (hangs, gate) = (Arc::new(AtomicBool::new(true)), Gate::default());
    let (held, free) = (Arc::clone(&hangs), gate.clone());
    let handler = move |request: &Request| {
        if held.load(Ordering::SeqCst) {
            free.pass();
            return Reply::Close;
        }
        asks(request, &[VISITS]).map_or_else(nothing, |reply| {
            // Long enough for all the others to ask as well, if they did.
            std::thread::sleep(Duration::from_millis(300));
            reply
        })
    };
    Stage::play("handshake-storm", "", handler, |stage| {
        for number in 0..ADDRESSES {
            stage.tell(&format!("s/f/{number}"), "one")?;
        }
        stage.application.kill()?;
        let before = stage.endpoint.requests().len();
        hangs.store(false, Ordering::SeqCst);
        gate.open();
        stage.application.start()?;
        stage.endpoint.wait_for("every address is called", |all| {
            let ended = all.iter().filter(|request| request.batch.names() == ["visits"]);
            (ended.count() >= ADDRESSES).then_some(())
        })?;
        let requests = stage.endpoint.requests();
        let asked = requests[before..].iter().filter(|r| r.batch.states.is_empty()).count();
        ensure!(asked <= ADDRESSES / 4, "{asked} handshakes for {ADDRESSES} addresses");
        Ok(())
    })
}

/// StateFun allows one slash in the type of a state, its SDKs several.
#[test]
fn a_state_may_have_a_type_with_several_slashes() -> Result<()> {
    let typename = "a/b/c";
    let handler = move |request: &Request| {
        let set = || Effects::new().set("x", &Value::new(typename, *b"v")).into();
        asks(request, &[("x", typename, Expires::Never)]).unwrap_or_else(set)
    };
    Stage::play("handshake-slashes", FRAIL, handler, |stage| {
        stage.tell("s/f/a", "one")?;
        stage.endpoint.wait_for("its state is asked for", |all| (all.len() == 2).then_some(()))?;
        stage.tell("s/f/a", "two")?;
        let got = stage.endpoint.got("s/f/a", "two")?;
        let found = got.batch.state("x").flatten();
        ensure!(found == Some(&Value::new(typename, *b"v")), "{:?}", got.batch);
        Ok(())
    })
}
