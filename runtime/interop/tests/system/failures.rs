//! Messages that their functions never take: given up as the manifest says, kept, shown, replayed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use dormouse_interop::http;

use crate::application::{Application, lasting_port};
use crate::server::{Mood, Server};

/// A budget for calls in which a function that fails is soon given up; and one in which a function that is
/// well answers on a busy machine too.
const SHORT: &str = "60ms";
const AMPLE: &str = "5s";

/// The document of an endpoint with a budget for calls, and a failure policy.
fn endpoint(port: u16, call: &str, failure: &str) -> String {
    format!(
        "---\nkind: io.statefun.endpoints.v2/http\nspec:\n  functions: shop/*\n  \
         urlPathTemplate: http://127.0.0.1:{port}/f\n  transport: {{call: {call}}}\n  \
         failure: {failure}\n"
    )
}

const DEAD_LETTER: &str = "{retry: {attempts: 2}, then: dead-letter}";

fn waits_for_letters(application: &mut Application, count: f64) -> Result<()> {
    application.wait_for(&format!("{count} dead letters"), |application| {
        Ok(application.metric("dormouse_dead_letters")? == count)
    })
}

/// The names of all dead letters that these arguments choose.
fn names(application: &Application, arguments: &[&str]) -> Result<Vec<String>> {
    let (code, text) = application.dead_letters(&[&["list"], arguments].concat())?;
    ensure!(code == Some(0), "{code:?}: {text}");
    let lines = text.lines().skip(1);
    Ok(lines.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect())
}

/// The names of all dead letters, page by page, as the admin listener gives them.
fn paged(admin: u16, limit: usize) -> Result<Vec<String>> {
    let json = [("content-type", "application/json")];
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let request = format!("{{\"limit\": {limit}{after}}}");
        let answer = http::request("POST", admin, "/dead-letters/list", &json, request.as_bytes())?;
        let text = answer.text()?;
        ensure!(answer.status == 200, "{text}");
        let named = text.split("\"letter\":\"").skip(1);
        let page: Vec<_> = named.filter_map(|rest| rest.split('"').next()).collect();
        ensure!(page.len() <= limit, "{} letters on a page of {limit}", page.len());
        all.extend(page.into_iter().map(str::to_owned));
        let Some((_, next)) = text.split_once("\"next\":\"") else { return Ok(all) };
        after = format!(", \"after\": \"{}\"", next.split('"').next().unwrap_or_default());
    }
}

#[test]
fn dead_letters_are_shown_replayed_and_discarded() -> Result<()> {
    let mut application = Application::new()?;
    let port = lasting_port()?;
    application.start(&endpoint(port, "2s", DEAD_LETTER), &[])?;
    ensure!(application.dead_letters(&["list"])? == (Some(0), "no dead letters\n".to_owned()));
    let server = Server::start(port, Mood::Spoilt, false)?;
    for id in ["a", "b", "c"] {
        for text in ["one", "bad", "two"] {
            application.accepted(&format!("/shop/basket/{id}"), text)?;
        }
    }
    application.tell("sender", "send shop/stock d bad-too")?;
    waits_for_letters(&mut application, 4.0)?;
    // The others of a batch that failed were taken.
    ensure!(application.ask("/shop/basket/a", "list")? == "one\ntwo\n");
    ensure!(application.metric("dormouse_blocked_addresses")? == 0.0);
    ensure!(application.metric("dormouse_function_dead_letters_total")? == 4.0);
    let logged = "a message for shop/basket/a is a dead letter after its last call failed: ";
    ensure!(application.printed().contains(logged));

    ensure!(names(&application, &[])?.len() == 4);
    ensure!(names(&application, &["--limit", "3"])?.len() == 4, "three and a line that says so");
    ensure!(names(&application, &["--type", "shop/stock"])?.len() == 1);
    ensure!(names(&application, &["--id", "b"])?.len() == 1);
    ensure!(names(&application, &["--cause", "it is bad"])?.len() == 4);
    ensure!(names(&application, &["--cause", "something else"])?.is_empty());
    let stock = names(&application, &["--address", "shop/stock/d"])?;
    let (code, text) = application.dead_letters(&["show", &stock[0]])?;
    ensure!(code == Some(0), "{text}");
    for line in [
        "address     shop/stock/d",
        "origin      function",
        "caller      sys/puppet/sender",
        "attempts    2",
        "type        io.statefun.types/string",
        "value       9 bytes: bad-too",
    ] {
        ensure!(text.contains(line), "`{line}` is missing in\n{text}");
    }
    ensure!(text.contains("got 500 Internal Server Error, `it is bad`"), "{text}");

    let (code, text) = application.dead_letters(&["replay"])?;
    ensure!(code == Some(2) && text.contains("which ones?"), "{text}");
    // One that still fails is a dead letter again, with another name.
    ensure!(application.dead_letters(&["replay", &stock[0]])?.1 == "replayed 1 dead letter\n");
    waits_for_letters(&mut application, 4.0)?;
    let (code, text) = application.dead_letters(&["show", &stock[0]])?;
    ensure!(code == Some(1) && text.contains("there is no dead letter"), "{text}");
    ensure!(
        application.dead_letters(&["discard", "--type", "shop/stock"])?.1
            == "discarded 1 dead letter\n"
    );
    server.set(Mood::Good);
    ensure!(application.dead_letters(&["replay", "--all"])?.1 == "replayed 3 dead letters\n");
    for id in ["a", "b", "c"] {
        ensure!(application.ask(&format!("/shop/basket/{id}"), "list")? == "one\ntwo\nbad\n");
    }
    ensure!(application.ask("/shop/stock/d", "list")?.is_empty());
    ensure!(application.metric("dormouse_dead_letters")? == 0.0);
    application.stop()
}

/// Killed at any moment, each message is a dead letter or applied, never both, never neither.
#[test]
fn counts_of_replayed_messages_are_exact_over_kills() -> Result<()> {
    const IDS: usize = 40;
    const EACH: usize = 5;
    let mut application = Application::new()?;
    let port = lasting_port()?;
    let policy = "{retry: {attempts: 1}, then: dead-letter}";
    let documents = endpoint(port, SHORT, policy);
    application.start(&documents, &[])?;
    let server = Server::start(port, Mood::Fails, true)?;
    for _ in 0..EACH {
        for id in 0..IDS {
            application.accepted(&format!("/shop/basket/{id}"), "one more")?;
        }
    }
    let mut kills = 0;
    while application.metric("dormouse_dead_letters")? < (IDS * EACH) as f64 {
        std::thread::sleep(Duration::from_millis(if kills < 3 { 200 } else { 20 }));
        if kills < 3 {
            kills += 1;
            application.kill()?;
            application.start(&documents, &[])?;
        }
    }
    let all = names(&application, &[])?;
    ensure!(all.len() == IDS * EACH);
    ensure!(paged(application.admin, 7)? == all, "the same by small pages");
    server.set(Mood::Good);
    // One of these is cut short by each kill.
    for wait_ms in [2, 10, 30] {
        let admin = application.admin;
        let replay = std::thread::spawn(move || {
            let json = [("content-type", "application/json")];
            for _ in 0..IDS {
                let request = br#"{"limit": 3}"#;
                let answer = http::request("POST", admin, "/dead-letters/replay", &json, request);
                if answer.is_err() {
                    return;
                }
            }
        });
        std::thread::sleep(Duration::from_millis(wait_ms));
        application.kill()?;
        drop(replay.join());
        application.start(&endpoint(port, AMPLE, policy), &[])?;
    }
    let (code, text) = application.dead_letters(&["replay", "--all"])?;
    ensure!(code == Some(0), "{text}");
    ensure!(application.metric("dormouse_dead_letters")? == 0.0, "all were replayed: {text}");
    for id in 0..IDS {
        let count = application.ask(&format!("/shop/basket/{id}"), "list")?;
        ensure!(count == EACH.to_string(), "basket {id} has {count} of {EACH}");
    }
    application.stop()
}

#[test]
fn a_message_is_dropped_where_the_manifest_says_so() -> Result<()> {
    let mut application = Application::new()?;
    let policy = "---\nkind: dormouse.functions.v1/in-process\nspec:\n  functions: sys/*\n  \
                  failure: {retry: {attempts: 1}, then: drop}\n";
    application.start(policy, &[])?;
    application.tell("p", "nonsense")?;
    application.tell("p", "note after it")?;
    ensure!(application.notes("p")? == ["after it"]);
    ensure!(application.metric("dormouse_function_dropped_messages_total")? == 1.0);
    ensure!(application.metric("dormouse_dead_letters")? == 0.0);
    let logged = "a message for sys/puppet/p is dropped after its last call failed: ";
    ensure!(application.printed().contains(logged), "{}", application.printed());
    application.stop()
}

/// It would not fit into a key of the store, and ended the process.
#[test]
fn a_token_of_a_rust_function_that_is_too_long_is_given_up() -> Result<()> {
    let mut application = Application::new()?;
    let policy = "---\nkind: dormouse.functions.v1/in-process\nspec:\n  functions: sys/*\n  \
                  failure: {retry: {attempts: 1}, then: dead-letter}\n";
    application.start(policy, &[])?;
    let token = "t".repeat(70_000);
    application.tell("p", &format!("after 1 {token} late"))?;
    application.tell("p", &format!("cancel {token}"))?;
    application.tell("p", "note after them")?;
    ensure!(application.notes("p")? == ["after them"]);
    waits_for_letters(&mut application, 2.0)?;
    let (_, text) = application.dead_letters(&["list", "--json"])?;
    let cause = "a cancellation token of 70000 bytes: at most 16384 are possible";
    ensure!(text.matches(cause).count() == 2, "{text}");
    application.stop()
}

/// A request that waits, with a key if it is to be done once.
fn asks(application: &Application, path: &str, key: Option<&str>) -> Result<(u16, String)> {
    let mut headers = vec![("content-type", "text/plain")];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    let path = format!("{path}?wait=50s");
    let answer = http::request("POST", application.ingress, &path, &headers, b"bad")?;
    Ok((answer.status, answer.text()?.to_owned()))
}

#[test]
fn who_waits_is_told_at_once_that_there_will_be_no_reply() -> Result<()> {
    let mut application = Application::new()?;
    let port = lasting_port()?;
    let documents = endpoint(port, AMPLE, DEAD_LETTER)
        + "---\nkind: dormouse.functions.v1/in-process\nspec:\n  functions: sys/*\n  \
           failure: {retry: {attempts: 1}, then: drop}\n";
    application.start(&documents, &[])?;
    let server = Server::start(port, Mood::Spoilt, false)?;
    let began = Instant::now();
    let (status, text) = asks(&application, "/shop/basket/a", None)?;
    ensure!(status == 502, "{status} {text}");
    let name = text.split(['(', ')']).nth(1).context("no name")?.to_owned();
    let expected =
        format!("shop/basket/a failed 2 times, and the message is a dead letter ({name}): ");
    ensure!(text.starts_with(&expected) && text.contains("it is bad"), "{text}");
    ensure!(application.dead_letters(&["show", &name])?.0 == Some(0), "{name}");
    let (status, text) = asks(&application, "/sys/puppet/p", None)?;
    let expected = "sys/puppet/p failed once, and the message is dropped: ";
    ensure!(status == 502 && text.starts_with(expected), "{status} {text}");
    let first = asks(&application, "/shop/basket/k", Some("once"))?;
    ensure!(first.0 == 502 && first.1.starts_with("shop/basket/k failed 2 times"), "{first:?}");
    ensure!(began.elapsed() < Duration::from_secs(45), "not at once: {:?}", began.elapsed());

    // It is the outcome of the request from now on, whoever asks again.
    ensure!(asks(&application, "/shop/basket/k", Some("once"))? == first);
    application.kill()?;
    application.start(&documents, &[])?;
    ensure!(asks(&application, "/shop/basket/k", Some("once"))? == first);
    ensure!(application.metric("dormouse_dead_letters")? == 2.0);
    // Replayed, it is answered after all.
    server.set(Mood::Good);
    ensure!(application.dead_letters(&["replay", "--all"])?.1 == "replayed 2 dead letters\n");
    application.wait_for("its reply is kept", |application| {
        let answer = asks(application, "/shop/basket/k", Some("once"))?;
        Ok(answer == (200, "bad\n".to_owned()))
    })?;
    application.stop()
}

#[test]
fn when_there_is_no_room_for_dead_letters_the_address_waits() -> Result<()> {
    let mut application = Application::new()?;
    let policy = "---\nkind: dormouse.functions.v1/in-process\nspec:\n  functions: sys/puppet\n  \
                  failure: {retry: {attempts: 1}, then: dead-letter}\n";
    application.start(policy, &["--set", "limits.dead-letter-messages=2"])?;
    for text in ["bad 1", "bad 2", "bad 3", "note after them"] {
        application.tell("p", text)?;
    }
    application.wait_for("the address is blocked", |application| {
        Ok(application.metric("dormouse_dead_letters_refused_total")? >= 1.0
            && application.metric("dormouse_blocked_addresses")? == 1.0)
    })?;
    ensure!(application.metric("dormouse_dead_letters")? == 2.0);
    ensure!(application.printed().contains("it stays, because there are 2 dead letters"));
    let done = application.dead_letters(&["discard", "--address", "sys/puppet/p"])?;
    ensure!(done.1 == "discarded 2 dead letters\n", "{done:?}");
    ensure!(application.notes("p")? == ["after them"]);
    ensure!(application.metric("dormouse_dead_letters")? == 1.0);
    application.stop()
}
