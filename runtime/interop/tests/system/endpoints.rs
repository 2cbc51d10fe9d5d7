//! Endpoints that fail in every way: messages are accepted and wait, everything else goes on, and once
//! the endpoint is well again each message arrives once and in order.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::application::{Application, lasting_port};
use crate::restart::endpoint;
use crate::server::{Mood, Server};

/// Everything that does not fail answers within this time, on a busy machine too.
const PROMPT: Duration = Duration::from_secs(2);

const MESSAGES: usize = 20;

struct Shop {
    application: Application,
    port: u16,
    well: Server,
}

impl Shop {
    /// One endpoint that is well, and the manifest of one that nobody has started.
    fn open() -> Result<Self> {
        let mut application = Application::new()?;
        let (port, well) = (lasting_port()?, lasting_port()?);
        let documents = endpoint("shop/*", port) + &endpoint("well/*", well);
        application.start(&documents, &[])?;
        Ok(Self { application, port, well: Server::start(well, Mood::Good, false)? })
    }

    /// Messages are accepted while the endpoint fails; who waits is told that; others are not held up.
    fn suffers(&mut self, logged: &str) -> Result<()> {
        for number in 0..MESSAGES {
            self.application.accepted("/shop/basket/b", &number.to_string())?;
        }
        let (status, text) = self.application.post("/shop/basket/waiting?wait=700ms", "waited")?;
        ensure!(status == 504 && text.contains("the message was accepted"), "{status} {text}");
        self.application.wait_for("the log says why the address is blocked", |application| {
            let printed = application.printed();
            let mut lines =
                printed.lines().filter(|line| line.contains("shop/basket/b is blocked"));
            Ok(lines.any(|line| line.contains(logged)))
        })?;
        let began = Instant::now();
        ensure!(self.application.ask("/well/basket/b", "fine")? == "fine\n");
        ensure!(self.application.ask("/sys/puppet/p", "note fine")? == "fine\n");
        ensure!(began.elapsed() < PROMPT, "others were held up for {:?}", began.elapsed());
        ensure!(self.well.requests() > 0);
        ensure!(self.application.metric("dormouse_blocked_addresses")? >= 1.0);
        Ok(())
    }

    /// Everything that was accepted has come, once and in order.
    fn recovered(mut self) -> Result<()> {
        let all: String = (0..MESSAGES).map(|number| format!("{number}\n")).collect();
        ensure!(self.application.ask("/shop/basket/b", "last")? == all + "last\n");
        ensure!(self.application.ask("/shop/basket/waiting", "list")? == "waited\n");
        ensure!(self.application.metric("dormouse_blocked_addresses")? == 0.0);
        self.application.stop()
    }
}

/// An endpoint that fails like this, and then is well.
fn recovers_from(mood: Mood, logged: &str) -> Result<()> {
    let mut shop = Shop::open()?;
    let server = Server::start(shop.port, mood, false)?;
    shop.suffers(logged)?;
    server.set(Mood::Good);
    shop.recovered()
}

#[test]
fn an_endpoint_that_is_down_is_waited_for() -> Result<()> {
    let mut shop = Shop::open()?;
    let logged = format!("cannot connect to 127.0.0.1:{}", shop.port);
    shop.suffers(&logged)?;
    let _server = Server::start(shop.port, Mood::Good, false)?;
    shop.recovered()
}

#[test]
fn an_endpoint_that_answers_500_is_waited_for() -> Result<()> {
    recovers_from(Mood::Fails, "got 500 Internal Server Error, `the database is away`")
}

#[test]
fn an_endpoint_that_answers_garbage_is_waited_for() -> Result<()> {
    recovers_from(Mood::Garbage, "the body is no FromFunction")
}

#[test]
fn an_endpoint_that_answers_a_web_page_is_waited_for() -> Result<()> {
    recovers_from(Mood::WrongType, "`application/octet-stream`, got `text/html`")
}

#[test]
fn an_endpoint_that_answers_nothing_is_waited_for() -> Result<()> {
    recovers_from(Mood::Empty, "`application/octet-stream`, got none")
}

#[test]
fn an_endpoint_that_hangs_is_waited_for() -> Result<()> {
    recovers_from(Mood::Hangs, "expected an answer within")
}

/// What was accepted for an endpoint that fails outlives the process.
#[test]
fn messages_for_a_failing_endpoint_survive_a_kill() -> Result<()> {
    let mut shop = Shop::open()?;
    shop.suffers("cannot connect to")?;
    shop.application.kill()?;
    let documents = endpoint("shop/*", shop.port);
    shop.application.start(&documents, &[])?;
    let server = Server::start(shop.port, Mood::Fails, false)?;
    shop.application
        .wait_for("it is called after the restart", |_| Ok(server.requests() > 0))
        .context("recovery")?;
    server.set(Mood::Good);
    shop.recovered()
}
