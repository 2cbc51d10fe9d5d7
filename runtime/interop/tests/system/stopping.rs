//! Requests in flight when the process is asked to stop: answered when the reply comes, else told that
//! their message was accepted; and so it was.

use std::thread;

use anyhow::{Context as _, Result, ensure};
use dormouse_interop::http;

use crate::application::{Application, lasting_port};
use crate::client::Client;
use crate::restart::endpoint;
use crate::server::{Mood, Server};

/// A request whose call hangs, as it was answered when the process was stopped. `while_stopping` runs
/// once the process says that it takes nothing more.
fn stopped_with_a_request(
    application: &mut Application,
    server: &Server,
    while_stopping: impl Fn() + Send,
) -> Result<(u16, String)> {
    let ingress = application.ingress;
    let request =
        thread::spawn(move || Client::open(ingress)?.post("/shop/basket/b?wait=50s", "waited"));
    application.wait_for("the endpoint is called", |_| Ok(server.requests() > 0))?;
    let admin = application.admin;
    thread::scope(|scope| {
        scope.spawn(move || {
            let is_ready = || {
                let answer = http::request("GET", admin, "/readyz", &[], b"");
                answer.is_ok_and(|answer| answer.status == 200)
            };
            while is_ready() {}
            while_stopping();
        });
        application.stop()
    })?;
    request.join().ok().context("the client panicked")?
}

#[test]
fn a_reply_that_comes_while_the_process_stops_reaches_its_client() -> Result<()> {
    let mut application = Application::new()?;
    let port = lasting_port()?;
    let document = endpoint("shop/*", port);
    application.start(&document, &[])?;
    let server = Server::start(port, Mood::Hangs, false)?;
    let answer = stopped_with_a_request(&mut application, &server, || server.set(Mood::Good))?;
    ensure!(answer == (200, "waited\n".to_owned()), "{answer:?}");
    application.start(&document, &[])?;
    ensure!(application.ask("/shop/basket/b", "list")? == "waited\n");
    application.stop()
}

#[test]
fn a_client_that_waits_in_vain_is_told_and_its_message_is_done_later() -> Result<()> {
    let mut application = Application::new()?;
    let port = lasting_port()?;
    let document = endpoint("shop/*", port);
    application.start(&document, &["--set", "stop-timeout=3s"])?;
    let server = Server::start(port, Mood::Hangs, false)?;
    let (status, text) = stopped_with_a_request(&mut application, &server, || ())?;
    ensure!(status == 504, "{status} {text}");
    ensure!(text.contains("the message was accepted; this process is stopping"), "{text}");
    server.set(Mood::Good);
    application.start(&document, &[])?;
    ensure!(application.ask("/shop/basket/b", "list")? == "waited\n");
    application.stop()
}
