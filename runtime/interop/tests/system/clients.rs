//! Ten thousand clients at once, each with a connection of its own and a request that waits.

use anyhow::{Context as _, Result, ensure};

use crate::application::Application;
use crate::client::Client;

const CLIENTS: usize = 10_000;

#[test]
fn ten_thousand_clients_are_answered() -> Result<()> {
    let mut application = Application::new()?;
    application.start("", &[])?;
    let mut clients = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        let client = Client::open(application.ingress);
        clients.push(client.with_context(|| format!("client {number}"))?);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let path = format!("/sys/puppet/c{number}?wait=60s");
        client.send(&path, &format!("note {number}"))?;
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let (status, text) = client.answer().with_context(|| format!("client {number}"))?;
        ensure!(status == 200 && text == format!("{number}\n"), "client {number}: {status} {text}");
    }
    // All of them are still connected.
    ensure!(application.ask("/sys/puppet/c0", "list")? == "0\n");
    let peak = application.peak_mib()?;
    println!("peak resident memory with {CLIENTS} clients: {peak:.0} MiB");
    ensure!(peak < 512.0, "{peak:.0} MiB");
    drop(clients);
    ensure!(application.ask("/sys/puppet/c1", "list")? == "1\n");
    application.stop()
}
