//! What has work and finishes none of it is named, in the log, in the metrics and at `/readyz`; that it
//! goes on is said too, once. Whether the process is ready is another question.

use anyhow::{Result, ensure};
use dormouse_interop::http;

use crate::application::{Application, lasting_port};
use crate::restart::endpoint;
use crate::server::{Mood, Server};

const SOON: [&str; 2] = ["--set", "stall-after=1s"];

fn readyz(application: &Application) -> Result<(u16, String)> {
    let answer = http::request("GET", application.admin, "/readyz", &[], b"")?;
    Ok((answer.status, answer.text()?.to_owned()))
}

/// Waits until `what` stands still: its line at `/readyz`.
fn stalled(application: &mut Application, what: &str) -> Result<(u16, String)> {
    application.wait_for(&format!("{what} stands still"), |application| {
        Ok(readyz(application)?.1.contains(&format!("{what} has finished nothing for ")))
    })?;
    let (status, text) = readyz(application)?;
    let line = text.lines().find(|line| line.starts_with(what)).unwrap_or_default();
    let (kind, name) = what.split_once(' ').unwrap_or_default();
    let metrics = http::request("GET", application.admin, "/metrics", &[], b"")?;
    let metric = format!("dormouse_stalled_seconds{{kind=\"{kind}\",name=\"{name}\"}} ");
    ensure!(metrics.text()?.contains(&metric), "no metric {metric}");
    let cause = line.split_once(" s: ").map_or("", |(_, cause)| cause).to_owned();
    ensure!(application.printed().contains(&cause), "the log has no `{cause}`");
    Ok((status, cause))
}

/// Waits until `what` goes on; it has stood still once, and gone on once.
fn goes_on(application: &mut Application, what: &str) -> Result<()> {
    application.wait_for(&format!("{what} goes on"), |application| {
        Ok(readyz(application)? == (200, "ready\n".to_owned()))
    })?;
    let printed = application.printed();
    for said in ["has finished nothing for ", "goes on after "] {
        let count = printed.matches(&format!("{what} {said}")).count();
        ensure!(count == 1, "`{what} {said}` stands {count} times in\n{printed}");
    }
    Ok(())
}

#[test]
fn an_endpoint_that_hangs_is_named_with_the_address_that_waits() -> Result<()> {
    let mut application = Application::new()?;
    let port = lasting_port()?;
    let server = Server::start(port, Mood::Hangs, false)?;
    let document = endpoint("shop/*", port).replace("call: 300ms", "call: 120s");
    application.start(&document, &SOON)?;
    application.accepted("/shop/basket/the-first", "one")?;
    let (status, cause) = stalled(&mut application, "function shop/basket")?;
    let expected = format!(
        "http://127.0.0.1:{port}/f: it does not answer; shop/basket/the-first has waited longest"
    );
    ensure!(cause == expected, "{cause}");
    ensure!(status == 200, "others are served");
    ensure!(application.ask("/sys/puppet/p", "note fine")? == "fine\n");
    server.set(Mood::Good);
    goes_on(&mut application, "function shop/basket")?;
    application.stop()
}

#[test]
fn an_endpoint_whose_calls_fail_is_named() -> Result<()> {
    let mut application = Application::new()?;
    let port = lasting_port()?;
    let server = Server::start(port, Mood::Fails, false)?;
    application.start(&endpoint("shop/*", port), &SOON)?;
    application.accepted("/shop/basket/b", "one")?;
    let (status, cause) = stalled(&mut application, "function shop/basket")?;
    ensure!(status == 200 && cause.contains("/f: calls of it fail, as the log says"), "{cause}");
    server.set(Mood::Good);
    goes_on(&mut application, "function shop/basket")?;
    application.stop()
}

#[test]
fn a_function_that_blocks_its_shard_is_named() -> Result<()> {
    let mut application = Application::new()?;
    application.start("", &SOON)?;
    application.tell("before", "note fine")?;
    // Not accepted in time: the thread that would answer is the one that is held up.
    let ingress = application.ingress;
    let blocking = std::thread::spawn(move || {
        crate::client::Client::open(ingress)?.post("/sys/puppet/sleepy", "block 6000")
    });
    let is_named = |text: &str| text.contains("sys/puppet/sleepy does not give the thread back");
    application.wait_for("the shard stands still", |application| {
        let (status, text) = readyz(application)?;
        Ok(status == 503 && text.starts_with("not ready\n") && is_named(&text))
    })?;
    let (_, text) = readyz(&application)?;
    let shard = ["shard 0", "shard 1"].into_iter().find(|shard| text.contains(shard));
    ensure!(shard.is_some(), "{text}");
    let (_, cause) = stalled(&mut application, shard.unwrap_or_default())?;
    ensure!(is_named(&cause), "{cause}");
    goes_on(&mut application, shard.unwrap_or_default())?;
    ensure!(blocking.join().is_ok_and(|answer| answer.is_ok_and(|(status, _)| status == 202)));
    application.stop()
}

#[test]
fn an_egress_that_nobody_fetches_shows_and_harms_nobody() -> Result<()> {
    const EGRESS: &str = "io.statefun.playground/egress";
    let mut application = Application::new()?;
    let documents = application.egress_document();
    application.start(&documents, &SOON)?;
    application.tell("p", &format!("egress {EGRESS} t hello"))?;
    let what = format!("egress {EGRESS}");
    let (status, cause) = stalled(&mut application, &what)?;
    ensure!(status == 200, "the process serves");
    ensure!(cause == "nobody takes its records: 1 wait for their confirmation", "{cause}");
    ensure!(application.ask("/sys/puppet/p", "note fine")? == "fine\n");
    let fetched = http::request("GET", application.egress, "/t", &[], b"")?;
    ensure!(fetched.status == 200 && fetched.text()? == "hello", "{fetched:?}");
    goes_on(&mut application, &what)?;
    application.stop()
}
