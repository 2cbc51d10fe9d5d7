//! More than there is room for: too many messages for an endpoint that does not answer, too many long
//! bodies at once. Everybody is answered, memory stays within its bound, and what was accepted is there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use dormouse_interop::http;

use crate::application::{Application, PATIENCE, lasting_port};
use crate::restart::endpoint;
use crate::server::{Mood, Server};

const TEXT: (&str, &str) = ("content-type", "text/plain");

/// Runs `client` on so many threads at once.
pub(crate) fn at_once<T: Send>(
    count: usize,
    client: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let client = &client;
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..count).map(|number| scope.spawn(move || client(number))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().ok().context("a panic")?);
        joined.collect()
    })
}

#[test]
fn beyond_the_backlog_clients_are_told_to_come_again() -> Result<()> {
    const ADDRESSES: usize = 64;
    const BODY: usize = 32 << 10;
    let mut application = Application::new()?;
    application.ingress_fields = ", maxWait: 1s";
    let port = lasting_port()?;
    let server = Server::start(port, Mood::Hangs, true)?;
    let document = endpoint("shop/*", port).replace("call: 300ms", "call: 120s");
    application.start(&document, &["--set", "limits.backlog=1MB"])?;
    let accepted: Vec<AtomicUsize> = (0..ADDRESSES).map(|_| AtomicUsize::new(0)).collect();
    let body = vec![b'x'; BODY];
    let ingress = application.ingress;
    let post = |address: usize| -> Result<http::Answer> {
        let path = format!("/shop/basket/a{address}");
        let answer = http::request("POST", ingress, &path, &[TEXT], &body)?;
        if answer.status == 202 {
            accepted[address].fetch_add(1, Ordering::Relaxed);
        }
        Ok(answer)
    };
    // Each client goes on until it is refused.
    at_once(8, |client| {
        for number in 0..10_000 {
            let answer = post((client + number * 8) % ADDRESSES)?;
            match answer.status {
                202 => continue,
                503 => {}
                other => bail!("{other} {}", answer.text()?),
            }
            ensure!(answer.text()?.contains("nothing was accepted, try again later"));
            ensure!(answer.header("retry-after") == Some("1"), "{answer:?}");
            return Ok(());
        }
        bail!("never refused")
    })?;
    let before: usize = accepted.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    println!("{before} messages accepted before the first refusals");
    ensure!(before * BODY >= 1 << 20, "refused too early");
    // For all of the application, since its memory is one.
    ensure!(application.post("/sys/puppet/p", "list")?.0 == 503);

    server.set(Mood::Good);
    let began = Instant::now();
    while post(0)?.status != 202 {
        ensure!(began.elapsed() < PATIENCE, "still refused");
    }
    println!("accepted again after {:?}", began.elapsed());
    application.wait_for("the backlog is gone", |application| {
        Ok(application.metric("dormouse_backlog_messages")? == 0.0)
    })?;
    for (address, count) in accepted.iter().enumerate() {
        let found = application.ask(&format!("/shop/basket/a{address}"), "list")?;
        let found: usize = if found.is_empty() { 0 } else { found.parse()? };
        ensure!(found == count.load(Ordering::Relaxed), "a{address}: {found}");
    }
    application.stop()
}

#[test]
fn many_long_bodies_at_once_share_the_memory() -> Result<()> {
    const CLIENTS: usize = 200;
    const BODY: usize = 4 << 20;
    const BOUND_MIB: f64 = 128.0;
    let mut application = Application::new()?;
    application.start("", &["--memory", "128MB"])?;
    let ingress = application.ingress;
    let post = |client: usize, bytes: usize| -> Result<u16> {
        let body = format!("ignore {}", "x".repeat(bytes - "ignore ".len()));
        let path = format!("/sys/puppet/p{client}");
        Ok(http::request("POST", ingress, &path, &[TEXT], body.as_bytes())?.status)
    };
    let statuses = at_once(CLIENTS, |client| post(client, BODY))?;
    ensure!(statuses.iter().all(|status| [202, 503].contains(status)), "{statuses:?}");
    let accepted = statuses.iter().filter(|status| **status == 202).count();
    let peak = application.peak_mib()?;
    println!("{accepted} of {CLIENTS} bodies of 4 MiB accepted at once; peak {peak:.0} MiB");
    ensure!(accepted > 0);
    ensure!(peak < BOUND_MIB, "{peak:.0} MiB");
    ensure!(application.metric("dormouse_messages_processed_total")? >= accepted as f64);
    application.stop()
}
