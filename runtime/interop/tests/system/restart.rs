//! Started again with another manifest: nothing of what is no longer served is lost.

use anyhow::{Result, ensure};
use dormouse_interop::http;

use crate::application::{Application, lasting_port};
use crate::server::{Mood, Server};

const EGRESS: &str = "io.statefun.playground/egress";

/// The document of an endpoint with a short budget for calls.
pub(crate) fn endpoint(functions: &str, port: u16) -> String {
    format!(
        "---\nkind: io.statefun.endpoints.v2/http\nspec:\n  functions: {functions}\n  \
         urlPathTemplate: http://127.0.0.1:{port}/f\n  transport: {{call: 300ms}}\n"
    )
}

#[test]
fn a_removed_endpoint_keeps_its_state_and_its_messages() -> Result<()> {
    let mut application = Application::new()?;
    let port = lasting_port()?;
    let with = endpoint("shop/*", port);
    application.start(&with, &[])?;
    let server = Server::start(port, Mood::Good, false)?;
    ensure!(application.ask("/shop/basket/b", "one")? == "one\n");
    drop(server);
    // Accepted while nobody answers: pending when the endpoint goes.
    application.accepted("/shop/basket/b", "two")?;
    application.stop()?;

    application.start("", &[])?;
    let (status, text) = application.post("/shop/basket/b", "refused")?;
    ensure!(status == 404 && text.contains("shop/basket"), "{status} {text}");
    // Whoever sends to it succeeds: it does its next messages.
    application.tell("sender", "send shop/basket b three")?;
    application.tell("sender", "send shop/basket new four")?;
    application.tell("sender", "note went on")?;
    ensure!(application.notes("sender")? == ["went on"]);
    // Visible: the two messages just sent and the address with the old one, and a line in the log.
    application.wait_for("what waits for the type shows", |application| {
        Ok(application.metric("dormouse_messages_unserved_total")? == 3.0
            && application.printed().contains("nobody serves shop/basket: "))
    })?;
    application.kill()?;

    application.start(&with, &[])?;
    let _server = Server::start(port, Mood::Good, false)?;
    ensure!(application.ask("/shop/basket/b", "five")? == "one\ntwo\nthree\nfive\n");
    ensure!(application.ask("/shop/basket/new", "list")? == "four\n");
    application.stop()
}

#[test]
fn a_sender_to_an_unknown_egress_blocks_until_it_is_bound() -> Result<()> {
    let mut application = Application::new()?;
    application.start("", &[])?;
    application.tell("sender", &format!("egress {EGRESS} t hello"))?;
    application.tell("sender", "note after it")?;
    application.wait_for("the sender is blocked", |application| {
        Ok(application.metric("dormouse_blocked_addresses")? == 1.0)
    })?;
    application.wait_for("the log names the egress", |application| {
        let printed = application.printed();
        Ok(printed.contains(&format!("Unknown egress {EGRESS}"))
            && printed.contains("sys/puppet/sender"))
    })?;
    let (status, text) = application.post("/sys/puppet/sender?wait=500ms", "list")?;
    ensure!(status == 504, "{status} {text}");
    application.tell("other", "note fine")?;
    ensure!(application.notes("other")? == ["fine"]);
    application.stop()?;

    application.start(&application.egress_document(), &[])?;
    ensure!(application.notes("sender")? == ["after it"]);
    let port = application.egress;
    let answer = http::request("GET", port, "/t", &[], b"")?;
    ensure!((answer.status, answer.text()?) == (200, "hello"), "{answer:?}");
    ensure!(http::request("GET", port, "/t", &[], b"")?.status == 404);
    application.stop()
}

#[test]
fn a_topic_with_records_is_not_forgotten() -> Result<()> {
    let mut application = Application::new()?;
    let with = application.egress_document();
    let without = with.replace("[t]", "[other]");
    application.start(&with, &[])?;
    for number in 0..20 {
        application
            .ask(&format!("/sys/puppet/p{number}"), &format!("egress {EGRESS} t {number}"))?;
    }
    application.stop()?;

    let text = application.refused(&without)?;
    ensure!(
        text.contains(&format!("egress `{EGRESS}` no longer has `t`"))
            && text.contains("20 of its records")
            && text.contains("--allow-orphans"),
        "{text}"
    );
    application.start(&without, &["--allow-orphans"])?;
    ensure!(http::request("GET", application.egress, "/other", &[], b"")?.status == 404);
    application.stop()?;

    application.start(&with, &[])?;
    application.wait_for("all records are back and gone", |application| {
        http::request("GET", application.egress, "/t", &[], b"")?;
        Ok(application.metric("dormouse_egress_unconfirmed_records")? == 0.0)
    })?;
    application.stop()?;
    application.start(&without, &[])?;
    application.stop()
}

#[test]
fn an_egress_with_records_is_not_forgotten() -> Result<()> {
    let mut application = Application::new()?;
    let with = application.egress_document();
    application.start(&with, &[])?;
    for number in 0..20 {
        application
            .ask(&format!("/sys/puppet/p{number}"), &format!("egress {EGRESS} t {number}"))?;
    }
    application.stop()?;

    let text = application.refused("")?;
    ensure!(text.contains(EGRESS) && text.contains("--allow-orphans"), "{text}");
    ensure!(text.contains("20 of its records"), "{text}");
    application.start("", &["--allow-orphans"])?;
    application.tell("other", "note fine")?;
    ensure!(application.notes("other")? == ["fine"]);
    application.kill()?;

    application.start(&with, &[])?;
    let mut found = Vec::new();
    application.wait_for("all records are back", |application| {
        let answer = http::request("GET", application.egress, "/t", &[], b"")?;
        if answer.status == 200 {
            found.push(answer.text()?.parse::<usize>()?);
        }
        Ok(found.len() == 20)
    })?;
    found.sort_unstable();
    ensure!(found == (0..20).collect::<Vec<_>>(), "{found:?}");
    application.stop()?;
    // They were fetched: nothing is left to hold a start up.
    application.start("", &[])?;
    application.stop()
}
