//! Durable request-reply with a remote function in Rust: the runtime is the plain `dormouse` binary,
//! the function is served over HTTP by a process of its own, and is the same one that the `http` row
//! runs in-process. Processor time and memory are those of the runtime alone.

use anyhow::{Context as _, Result};

use crate::functions::REQUEST_COUNTER;
use crate::load::Load;
use crate::load::traffic::OwnKeys;
use crate::process::Process;
use crate::rows::http::KEYS;
use crate::rows::raw::CONNECTIONS;
use crate::rows::{Bench, SHARDS, project_binary, raw, role};
use crate::server::{Server, Setup, http_ingress};

/// A runtime, and the functions behind it.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) server: Server,
    backend: Process,
}

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let pair = start(bench, REQUEST_COUNTER)?;
    for (round, connections) in CONNECTIONS.into_iter().enumerate() {
        let proxy = raw::proxy(bench, connections)?.per_second.unwrap_or(0.0);
        let load = Load::closed(&pair.server.address, connections, bench.measured);
        let traffic = OwnKeys::shared_out(REQUEST_COUNTER, round, KEYS, connections);
        let name = format!("remote/{connections}");
        let (outcome, _) = load.run(&pair.server.process, traffic).with_context(|| name.clone())?;
        let title = format!("remote Rust function, durable request-reply, {connections} clients");
        let mut row = outcome.row(&name, &title);
        row.of_limit("bare proxy", proxy);
        match connections {
            1 => {
                let p50 = row.latency.map_or(u64::MAX, |latency| latency.p50);
                row.aim("p50 at most 0.6 ms", p50 <= 600_000);
            }
            256 => {
                let reached = outcome.per_second();
                row.aim("at least 20,000 requests/s", reached >= 20_000.0);
                row.aim("at least 30 % of the bare proxy", reached >= 0.3 * proxy);
                row.aim("at least 65 % of the bare proxy", reached >= 0.65 * proxy);
                row.aim("at most 18 us of processor time", outcome.cpu_micros() <= 18.0);
            }
            _ => {}
        }
        bench.add(row);
    }
    pair.stop()?;
    together(bench)
}

/// The same with many clients, and up to so many calls in one request.
fn together(bench: &mut Bench) -> Result<()> {
    let transport = "  transport: {type: io.statefun.transports.v1/async, calls_per_request: 64}\n";
    let pair = start_with(bench, REQUEST_COUNTER, transport)?;
    let connections = 256;
    let load = Load::closed(&pair.server.address, connections, bench.measured);
    let traffic = OwnKeys::shared_out(REQUEST_COUNTER, 0, KEYS, connections);
    let name = format!("remote/{connections}/together");
    let (outcome, _) = load.run(&pair.server.process, traffic).with_context(|| name.clone())?;
    let title = format!("the same, {connections} clients, up to 64 calls in one request");
    bench.add(outcome.row(&name, &title));
    pair.stop()
}

/// Starts the function's process and a runtime that calls it.
pub(crate) fn start(bench: &mut Bench, function: &str) -> Result<Pair> {
    start_with(bench, function, "")
}

fn start_with(bench: &mut Bench, function: &str, more: &str) -> Result<Pair> {
    let backend = role(&["functions", function])?;
    let endpoint = format!(
        "---\nkind: io.statefun.endpoints.v2/http\nspec:\n  functions: {function}\n  \
         urlPathTemplate: http://{}/statefun\n{more}",
        backend.address("functions")?
    );
    let binary = project_binary("dormouse", "dormouse")?;
    let directory = bench.new_directory();
    let server = Server::start(&Setup {
        binary,
        directory: &directory,
        manifest: http_ingress() + &endpoint,
        store: "embedded",
        shards: SHARDS,
        flags: &[],
    })?;
    Ok(Pair { server, backend })
}

impl Pair {
    pub(crate) fn stop(self) -> Result<()> {
        self.server.stop()?;
        self.backend.stop()
    }
}
