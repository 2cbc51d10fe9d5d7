//! What a message costs besides time: allocations, bytes committed and written, and system calls of a
//! commit. Allocations are counted by a program of its own, system calls by `strace`, each in a run of
//! its own; no throughput is shown, since both slow the server down.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::allocations::ALLOCATIONS;
use crate::functions::{COUNTER, PAYLOAD, REQUEST_COUNTER};
use crate::load::Load;
use crate::load::traffic::OwnKeys;
use crate::process::Usage;
use crate::report::Row;
use crate::rows::generators::{self, Accounts};
use crate::rows::{Bench, SHARDS, counter, http, project_binary};
use crate::server::{Metrics, Server, Setup, http_ingress};
use crate::tracer::Tracer;

/// Of `cost/http`.
const CLIENTS: usize = 64;

/// System calls that are shown by name.
const NAMES: usize = 4;

/// What is known at one moment.
struct Look {
    metrics: Metrics,
    usage: Usage,
    allocations: f64,
    allocated_bytes: f64,
}

/// A server under load, looked at twice.
struct Observed<'s> {
    server: &'s Server,
    /// Where `strace` writes, if it is to count.
    traced: Option<&'s Path>,
    tracer: Option<Tracer>,
    looks: Vec<Look>,
    calls: Vec<(String, u64)>,
}

/// Puts a server under load for so long, and looks when it begins and when it ends.
type Work = fn(&mut Observed<'_>, Duration) -> Result<()>;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let binary = project_binary("dormouse-bench", "dormouse-bench-counted")?;
    let loads: [(&str, &str, Work); 2] = [
        ("cost/counter", COUNTER, under_generators),
        ("cost/http", REQUEST_COUNTER, under_requests),
    ];
    for (name, function, work) in loads {
        let mut row = Row::new(name, format!("what a message to {function} costs besides time"));
        let directory = bench.new_directory();
        let counted = Server::start(&Setup {
            binary: binary.clone(),
            directory: &directory,
            manifest: http_ingress(),
            store: "embedded",
            shards: SHARDS,
            flags: &[],
        })?;
        let mut observed = Observed::new(&counted, None);
        work(&mut observed, bench.measured).context(name)?;
        observed.messages(&mut row, function)?;
        counted.stop().context(name)?;

        let server = bench.start("embedded", &[])?;
        let mut observed = Observed::new(&server, Some(bench.directory()));
        work(&mut observed, bench.measured).context(name)?;
        observed.commits(&mut row)?;
        server.stop().context(name)?;
        bench.add(row);
    }
    Ok(())
}

/// As the row `counter` has it.
fn under_generators(observed: &mut Observed<'_>, measured: Duration) -> Result<()> {
    let generators = counter::uniform();
    let server = observed.server;
    generators::start(server, &generators)?;
    std::thread::sleep(measured / 4);
    observed.look()?;
    std::thread::sleep(measured);
    observed.look()?;
    generators::check(server, &generators, 0, &mut Accounts::default())
}

/// As the rows `http/N` have it.
fn under_requests(observed: &mut Observed<'_>, measured: Duration) -> Result<()> {
    let server = observed.server;
    let load = Load::closed(&server.address, CLIENTS, measured);
    let traffic = OwnKeys::shared_out(REQUEST_COUNTER, 0, http::KEYS, CLIENTS);
    load.run_watched(&server.process, traffic, &mut || observed.look())?;
    Ok(())
}

impl<'s> Observed<'s> {
    fn new(server: &'s Server, traced: Option<&'s Path>) -> Self {
        Self { server, traced, tracer: None, looks: Vec::new(), calls: Vec::new() }
    }

    /// The first one begins what is counted, the second ends it.
    fn look(&mut self) -> Result<()> {
        let process = &self.server.process;
        if let (Some(directory), true) = (self.traced, self.looks.is_empty()) {
            self.tracer = Tracer::attach(process.id(), directory)?;
        }
        let told = self.server.ask(ALLOCATIONS, "all", PAYLOAD, b"")?;
        let (count, bytes) = told.split_once(' ').context("no count of allocations")?;
        self.looks.push(Look {
            allocations: count.parse()?,
            allocated_bytes: bytes.parse()?,
            metrics: self.server.metrics()?,
            usage: process.usage()?,
        });
        if self.looks.len() > 1
            && let Some(tracer) = self.tracer.take()
        {
            self.calls = tracer.detach()?;
        }
        Ok(())
    }

    fn grown(&self, figure: impl Fn(&Look) -> f64) -> Result<f64> {
        let [before, after] = &self.looks[..] else { anyhow::bail!("not looked at twice") };
        Ok(figure(after) - figure(before))
    }

    fn metric(&self, name: &str) -> Result<f64> {
        self.grown(|look| look.metrics.sum(name))
    }

    /// Figures of a message.
    fn messages(&self, row: &mut Row, function: &str) -> Result<()> {
        let messages = self.grown(|look| look.metrics.messages_of(function) as f64)?.max(1.0);
        let allocations = self.grown(|look| look.allocations)?;
        ensure!(allocations > 0.0, "the allocator of dormouse-bench-counted counts nothing");
        row.figure("allocations per message", allocations / messages, "");
        let bytes = self.grown(|look| look.allocated_bytes)?;
        row.figure("bytes allocated per message", bytes / messages, "");
        let commits = self.metric("dormouse_commits_total")?;
        row.figure("messages per commit", messages / commits.max(1.0), "");
        let committed = self.metric("dormouse_commit_bytes_total")?;
        row.figure("bytes committed per message", committed / messages, "");
        let written = self.grown(|look| look.usage.written_bytes as f64)?;
        row.figure("bytes written to the disk per message", written / messages, "");
        Ok(())
    }

    /// Figures of a commit.
    fn commits(&self, row: &mut Row) -> Result<()> {
        if self.calls.is_empty() {
            println!("\n{}: system calls are not counted: strace is not installed", row.name);
            return Ok(());
        }
        let commits = self.metric("dormouse_commits_total")?.max(1.0);
        let all: u64 = self.calls.iter().map(|(_, calls)| calls).sum();
        row.figure("system calls per commit", all as f64 / commits, "");
        for (name, calls) in self.calls.iter().take(NAMES) {
            row.figure(format!("{name} per commit"), *calls as f64 / commits, "");
        }
        let messages = self.metric("dormouse_messages_processed_total")?;
        row.figure("messages per commit while calls were counted", messages / commits, "");
        Ok(())
    }
}
