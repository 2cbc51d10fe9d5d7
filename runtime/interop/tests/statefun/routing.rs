//! Which endpoint is called for which address, and with which URL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use dormouse_interop::application::Application;
use dormouse_interop::endpoint::{Endpoint, Reply, Request};
use dormouse_interop::process::lasting_port;
use dormouse_interop::wire::answer::Effects;
use dormouse_interop::wire::request::Value;

use crate::stage::{PLAYGROUND, Stage, endpoint, nothing};

/// Ids are texts of any kind: empty, with slashes, not only ASCII.
#[test]
fn every_id_is_an_address_of_its_own() -> Result<()> {
    const IDS: [&str; 5] = ["", "a/b", "\u{e9}\u{1f42d}", "a b%20c?d#e", "\u{0}"];
    let handler = |request: &Request| match request.batch.target.as_str() {
        "s/f/a" => {
            let send =
                |all: Effects, id: &&str| all.send(&format!("s/sink/{id}"), &Value::string(id));
            IDS.iter().fold(Effects::new(), send).into()
        }
        _ => nothing(),
    };
    Stage::play("routing-ids", "", handler, |stage| {
        stage.tell("s/f/a", "go")?;
        for id in IDS {
            stage.endpoint.got(&format!("s/sink/{id}"), id)?;
        }
        Ok(())
    })
}

/// Names of types are texts of any kind, too: what waits for them is theirs also after a kill.
#[test]
fn every_name_is_a_type_of_its_own_also_after_a_kill() -> Result<()> {
    const PATHS: [(&str, &str); 5] = [
        ("s/%2F/x", "s///x"),
        ("s/b%2Fc/x", "s/b/c/x"),
        ("s/b%2F/x", "s/b//x"),
        ("s/gr%C3%B6%C3%9Fe/x", "s/gr\u{f6}\u{df}e/x"),
        ("s/b/x", "s/b/x"),
    ];
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let handler = move |_: &Request| match up.load(Ordering::SeqCst) {
        true => nothing(),
        false => Reply::Close,
    };
    Stage::play("routing-names", "", handler, |stage| {
        for (path, target) in PATHS {
            stage.tell(path, target)?;
        }
        stage.application.kill()?;
        is_up.store(true, Ordering::SeqCst);
        stage.application.start()?;
        for (_, target) in PATHS {
            let request = stage.endpoint.got(target, target)?;
            let is_plain = request.head.is_ascii();
            ensure!(is_plain && request.head.starts_with("POST /"), "{}", request.head);
        }
        Ok(())
    })
}

/// A document for one function goes before the one for its namespace, in whatever order they stand.
#[test]
fn an_exact_function_goes_before_its_namespace() -> Result<()> {
    let (all, exact) = (lasting_port()?, lasting_port()?);
    let of_all = Endpoint::start(all, |_| nothing())?;
    let of_exact = Endpoint::start(exact, |_| nothing())?;
    let mut application = Application::new("statefun-routing-exact")?;
    let documents = endpoint("s/*", all, "") + &endpoint("s/special", exact, "");
    application.start_with(&(documents + PLAYGROUND))?;
    application.tell("s/special/a", "one")?;
    application.tell("s/other/a", "two")?;
    of_exact.got("s/special/a", "one")?;
    of_all.got("s/other/a", "two")?;
    ensure!(of_exact.requests().len() == 1 && of_all.requests().len() == 1);
    Ok(())
}

#[test]
fn the_name_of_the_function_is_put_wherever_the_url_asks_for_it() -> Result<()> {
    let port = lasting_port()?;
    let server = Endpoint::start(port, |_| nothing())?;
    let mut application = Application::new("statefun-routing-url")?;
    let document = endpoint("s/*", port, "");
    let url = format!("http://127.0.0.1:{port}/x/{{function.name}}/y?of={{function.name}}");
    let plain = format!("http://127.0.0.1:{port}/{{function.name}}");
    application.start_with(&(document.replace(&plain, &url) + PLAYGROUND))?;
    application.tell("s/person/a", "one")?;
    let request = server.got("s/person/a", "one")?;
    ensure!(
        request.head.starts_with("POST /x/person/y?of=person HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    Ok(())
}

/// The same file over and over: what StateFun's users copy around, and what it ignores.
#[test]
fn documents_that_statefun_takes_are_taken() -> Result<()> {
    let port = lasting_port()?;
    let server = Endpoint::start(port, |_| nothing())?;
    let mut application = Application::new("statefun-routing-documents")?;
    // No transport at all, a key that nobody knows, an empty document at the end.
    let document = endpoint("s/*", port, "transports: {call: 1s}");
    application.start_with(&(document + PLAYGROUND + "---\n"))?;
    application.tell("s/f/a", "one")?;
    server.got("s/f/a", "one")?;
    let printed = application.printed();
    let warned = "unknown field `transports`; did you mean `transport`?";
    ensure!(printed.contains(warned), "{printed}");
    Ok(())
}
