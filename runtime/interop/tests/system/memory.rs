//! A flood at an endpoint that never answers: memory stays within its bound, others go on, and when the
//! endpoint answers at last, nothing is missing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::application::{Application, lasting_port};
use crate::client::Client;
use crate::restart::endpoint;
use crate::server::{Mood, Server};

const CONNECTIONS: usize = 64;
const ADDRESSES: usize = 1_000;
/// Messages of 1 KB to all addresses together, and as many again to one.
const MESSAGES: usize = 100_000;
const BOUND_MIB: f64 = 512.0;

/// What the flood was answered.
#[derive(Default)]
struct Answers {
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

fn flood(ingress: u16, answers: &Answers, id: impl Fn(usize) -> String + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let body = "x".repeat(1_024);
    thread::scope(|scope| {
        let client = || -> Result<()> {
            let mut client = Client::open(ingress)?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= MESSAGES {
                    return Ok(());
                }
                let path = format!("/shop/basket/{}", id(number));
                // What is held back waits, and is refused after a while: then it comes again.
                loop {
                    let (status, text) = client.post(&path, &body)?;
                    match status {
                        202 => break,
                        503 => answers.refused.fetch_add(1, Ordering::Relaxed),
                        _ => anyhow::bail!("{status} {text}"),
                    };
                }
                answers.accepted.fetch_add(1, Ordering::Relaxed);
            }
        };
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(client)).collect();
        for client in clients {
            client.join().ok().context("a client panicked")??;
        }
        Ok(())
    })
}

#[test]
fn a_silent_endpoint_fills_the_disk_and_not_the_memory() -> Result<()> {
    let mut application = Application::new()?;
    let port = lasting_port()?;
    let server = Server::start(port, Mood::Hangs, true)?;
    // One call at a time per address hangs, longer than the flood takes.
    let document = endpoint("shop/*", port).replace("call: 300ms", "call: 120s");
    application.start(&document, &[])?;
    let answers = Answers::default();
    let began = Instant::now();
    flood(application.ingress, &answers, |number| format!("a{}", number % ADDRESSES))?;
    println!("flood of {ADDRESSES} addresses: {:?}", began.elapsed());
    flood(application.ingress, &answers, |_| "hot".to_owned())?;
    println!("and of one: {:?}; {} refusals", began.elapsed(), answers.refused.into_inner());
    ensure!(answers.accepted.into_inner() == 2 * MESSAGES);
    let asked = Instant::now();
    ensure!(application.ask("/sys/puppet/p", "note fine")? == "fine\n");
    ensure!(asked.elapsed() < Duration::from_secs(5), "others wait: {:?}", asked.elapsed());
    let peak = application.peak_mib()?;
    println!("peak resident memory: {peak:.0} MiB, {} calls", server.requests());
    ensure!(peak < BOUND_MIB, "{peak:.0} MiB");

    server.set(Mood::Good);
    let began = Instant::now();
    application.wait_for("the backlog is gone", |application| {
        Ok(application.metric("dormouse_backlog_messages")? == 0.0)
    })?;
    println!("drained in {:?}", began.elapsed());
    let mut client = Client::open(application.ingress)?;
    let mut count = |id: &str| -> Result<usize> {
        let (status, text) = client.post(&format!("/shop/basket/{id}?wait=30s"), "list")?;
        ensure!(status == 200, "{status} {text}");
        Ok(text.parse()?)
    };
    for number in 0..ADDRESSES {
        let found = count(&format!("a{number}"))?;
        ensure!(found == MESSAGES / ADDRESSES, "a{number}: {found} messages");
    }
    ensure!(count("hot")? == MESSAGES);
    let peak = application.peak_mib()?;
    println!("peak resident memory in the end: {peak:.0} MiB");
    ensure!(peak < BOUND_MIB, "{peak:.0} MiB");
    application.stop()
}
