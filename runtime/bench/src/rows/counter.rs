//! The in-process keyed counter: 100,000 keys, 100-byte messages, every commit durable, messages from
//! generators inside the runtime. Latencies are those of a probe: messages that come over HTTP to
//! functions of their own under that load, until they are acknowledged as durable.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dormouse_sdk::ValueType as _;

use crate::functions::generator::{
    BATCH, GENERATOR, HOT, Halt, Order, Pattern, counted_key, id_on,
};
use crate::functions::{COUNTER, PROBE, Read};
use crate::load::traffic::{Fixed, post};
use crate::load::{Load, Outcome};
use crate::report::Row;
use crate::rows::{Bench, SHARDS, raw};
use crate::server::{Metrics, Server};

/// Keys that messages are spread over.
pub(crate) const KEYS: usize = 100_000;

/// Generators on each shard.
const GENERATORS_PER_SHARD: usize = 8;

/// Connections of the probe, and the pause of each between two messages.
const PROBES: usize = 4;
const PROBE_PAUSE: Duration = Duration::from_millis(8);

/// Counters that are compared with what they must be.
const SAMPLE: usize = 50;

/// A generator that runs: its address id, and what it was told.
#[derive(Debug)]
pub(crate) struct Generator {
    id: String,
    order: Order,
}

/// Messages of the load within the measured time.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) messages: u64,
    pub(crate) probe: Outcome,
    commits: f64,
    commit_ops: f64,
    commit_bytes: f64,
}

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let bare = raw::counter_loop(bench)?.per_second.unwrap_or(0.0);
    let sync = raw::fdatasync(bench)?.latency.context("no fdatasync was measured")?;
    let durable = measure(bench, "counter", "embedded", &uniform())?;
    let own = measure(bench, "counter/own-shard", "embedded", &own_shard())?;
    let memory = measure(bench, "counter/memory", "memory", &uniform())?;
    let per_second = |row: &Row| row.per_second.unwrap_or(0.0);
    let slower = per_second(&memory) / per_second(&durable);
    let share = per_second(&own).max(per_second(&durable)) / bare;
    for mut row in [durable, own, memory] {
        row.of_limit("bare loop", bare);
        if let Some(latency) = row.latency {
            let p50 = latency.p50 as f64 / 1e3;
            row.of_limit_micros("fdatasync p50", p50, sync.p50 as f64 / 1e3);
        }
        if row.name == "counter" {
            let reached = per_second(&row);
            row.aim("at least 400,000 messages/s", reached >= 400_000.0);
            row.figure("memory store is faster by a factor of", slower, "");
            row.aim("at most 2x slower than the memory store", slower <= 2.0);
            row.aim("at least 35 % of the bare loop", share >= 0.35);
        }
        bench.add(row);
    }
    Ok(())
}

fn uniform() -> Vec<Generator> {
    generators(|shard| (Pattern::Uniform, Some(id_on((shard + 1) % SHARDS, "pacer-", 0))))
}

fn own_shard() -> Vec<Generator> {
    generators(|shard| (Pattern::OwnShard(shard), None))
}

/// All messages to one counter; every generator waits behind it.
pub(crate) fn hot() -> Vec<Generator> {
    generators(|_| (Pattern::Hot, Some(HOT.to_owned())))
}

fn generators(of_shard: impl Fn(usize) -> (Pattern, Option<String>)) -> Vec<Generator> {
    let mut all = Vec::new();
    for shard in 0..SHARDS {
        for n in 0..GENERATORS_PER_SHARD {
            let (pattern, via) = of_shard(shard);
            let order = Order { pattern, number: all.len() as u64, via };
            all.push(Generator { id: id_on(shard, "generator-", n), order });
        }
    }
    all
}

/// A row of counters under `generators`, with everything checked afterwards.
pub(crate) fn measure(
    bench: &mut Bench,
    name: &str,
    store: &str,
    generators: &[Generator],
) -> Result<Row> {
    let measured = bench.measured;
    let server = bench.start(store, &[])?;
    let counted = under_load(&server, generators, measured).with_context(|| name.to_owned())?;
    check(&server, generators).with_context(|| name.to_owned())?;
    server.stop().with_context(|| name.to_owned())?;
    let title = format!("{store} store, {} generators, messages of 100 bytes", generators.len());
    Ok(counted.row(name, &title))
}

fn under_load(server: &Server, generators: &[Generator], measured: Duration) -> Result<Counted> {
    for Generator { id, order } in generators {
        let body = order.encode().map_err(anyhow::Error::from_boxed)?;
        server.send(GENERATOR, id, Order::TYPENAME, &body)?;
    }
    let probe = Fixed { request: post(&format!("/{PROBE}/probe")), status: 202, is_echo: false };
    let load = Load {
        connections: PROBES,
        pause: Some(PROBE_PAUSE),
        ..Load::closed(&server.address, PROBES, measured)
    };
    let mut looks: Vec<Metrics> = Vec::new();
    let (outcome, _) = load.run_watched(&server.process, vec![probe; PROBES], &mut || {
        looks.push(server.metrics()?);
        Ok(())
    })?;
    let [before, after] = &looks[..] else { anyhow::bail!("not measured at start and end") };
    let grown = |name| after.sum(name) - before.sum(name);
    Ok(Counted {
        messages: after.messages_of(COUNTER) - before.messages_of(COUNTER),
        probe: outcome,
        commits: grown("dormouse_commits_total"),
        commit_ops: grown("dormouse_commit_operations_total"),
        commit_bytes: grown("dormouse_commit_bytes_total"),
    })
}

/// Halts the generators; then every message that was sent must have been counted, once.
fn check(server: &Server, generators: &[Generator]) -> Result<()> {
    let mut sent = Vec::new();
    for Generator { id, .. } in generators {
        sent.push(server.ask_number(GENERATOR, id, Halt::TYPENAME)?);
    }
    let total: u64 = sent.iter().sum();
    let given = server.settle()?.messages_of(COUNTER);
    ensure!(given == total, "{total} messages were sent, and counters were given {given}");
    for (id, expected) in expected_counts(generators, &sent) {
        let count = server.ask_number(COUNTER, &id, Read::TYPENAME)?;
        ensure!(count == expected, "counter {id} is {count}, and {expected} messages were sent");
    }
    Ok(())
}

/// What a sample of the counters must be.
fn expected_counts(generators: &[Generator], sent: &[u64]) -> Vec<(String, u64)> {
    let hot = generators.iter().all(|generator| generator.order.pattern == Pattern::Hot);
    if hot {
        return vec![(HOT.to_owned(), sent.iter().sum())];
    }
    let mut counts: std::collections::HashMap<&str, u64> = std::collections::HashMap::new();
    for (Generator { order, .. }, sent) in generators.iter().zip(sent) {
        for n in 0..*sent {
            let (ids, index) = counted_key(order, n);
            *counts.entry(ids[index].as_str()).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable();
    let step = (counts.len() / SAMPLE).max(1);
    counts.into_iter().step_by(step).map(|(id, count)| (id.to_owned(), count)).collect()
}

impl Counted {
    fn row(&self, name: &str, title: &str) -> Row {
        let probe = &self.probe;
        let messages = self.messages.max(1) as f64;
        let mut row = Row::new(name, title);
        row.per_second = Some(self.messages as f64 / probe.elapsed.as_secs_f64());
        row.latency = probe.latencies.latency();
        row.peak_bytes = Some(probe.peak_bytes);
        row.cpu_micros = Some(probe.usage.cpu_seconds * 1e6 / messages);
        row.figure("messages per commit", messages / self.commits.max(1.0), "");
        row.figure("operations committed per message", self.commit_ops / messages, "");
        row.figure("bytes committed per message", self.commit_bytes / messages, "");
        let written = probe.usage.written_bytes as f64;
        row.figure("bytes written to the disk per message", written / messages, "");
        row.figure("messages of a generator at once", BATCH as f64, "");
        row
    }
}
