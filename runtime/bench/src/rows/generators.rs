//! Load from inside as rows use it: generators are started, watched for a while, and halted; then what
//! every function has counted is compared with what was sent. Latencies are those of a probe: messages
//! that come over HTTP to functions of their own under that load, until they are durable.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use compact_str::CompactString;
use dormouse_sdk::ValueType as _;

use crate::functions::generator::{
    BATCH, GENERATOR, Halt, Order, Pattern, Targets, id_on, shard_of,
};
use crate::functions::instances::{Draw, Kind};
use crate::functions::{LEAF, PROBE, Read};
use crate::load::traffic::{Fixed, post};
use crate::load::{Load, Outcome};
use crate::report::Row;
use crate::rows::SHARDS;
use crate::server::{Metrics, Server};

/// Generators on each shard.
const GENERATORS_PER_SHARD: usize = 8;

/// Connections of the probe, and the pause of each between two messages.
const PROBES: usize = 4;
const PROBE_PAUSE: Duration = Duration::from_millis(8);

/// Counters that are compared with what they must be.
const SAMPLE: usize = 50;

/// When a sweep or a checkpoint has not moved for so long, it is not waited for any more.
const PATIENCE: Duration = Duration::from_secs(300);

/// A generator that runs: its address id, and what it was told.
#[derive(Debug)]
pub(crate) struct Generator {
    pub(crate) id: String,
    pub(crate) order: Order,
}

/// Messages of the load within the measured time.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) messages: u64,
    pub(crate) probe: Outcome,
    pub(crate) commits: f64,
    pub(crate) commit_ops: f64,
    pub(crate) commit_bytes: f64,
}

/// What every id of one function must have counted.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// Of each, before the messages in `sent`.
    pub(crate) before: u64,
    pub(crate) sent: HashMap<CompactString, u64>,
}

/// Generators on all shards, told apart from others by `name`. A message that goes back through the
/// other shard waits there behind the batch, so that no shard runs away from the others.
pub(crate) fn paced(name: &str, pattern: Pattern) -> Vec<Generator> {
    all(name, |shard| (pattern, Some(id_on((shard + 1) % SHARDS, "pacer-", 0))))
}

/// Generators on all shards; `of_shard` says whom each sends to, and through whom it goes on.
pub(crate) fn all(
    name: &str,
    of_shard: impl Fn(usize) -> (Pattern, Option<String>),
) -> Vec<Generator> {
    let mut all = Vec::new();
    for shard in 0..SHARDS {
        for n in 0..GENERATORS_PER_SHARD {
            let (pattern, via) = of_shard(shard);
            let order = Order { pattern, number: all.len() as u64, via };
            all.push(Generator { id: id_on(shard, name, n), order });
        }
    }
    all
}

/// Tells generators to begin.
pub(crate) fn start(server: &Server, generators: &[Generator]) -> Result<()> {
    for Generator { id, order } in generators {
        let body = order.encode().map_err(anyhow::Error::from_boxed)?;
        server.send(GENERATOR, id, Order::TYPENAME, &body)?;
    }
    Ok(())
}

/// Starts generators, which all send to one function, and measures for so long.
pub(crate) fn under_load(
    server: &Server,
    generators: &[Generator],
    measured: Duration,
) -> Result<Counted> {
    start(server, generators)?;
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
    let function = function_of(generators);
    Ok(Counted {
        messages: after.messages_of(function) - before.messages_of(function),
        probe: outcome,
        commits: grown("dormouse_commits_total"),
        commit_ops: grown("dormouse_commit_operations_total"),
        commit_bytes: grown("dormouse_commit_bytes_total"),
    })
}

/// Halts the generators; answers how many messages each has sent.
pub(crate) fn halt(server: &Server, generators: &[Generator]) -> Result<Vec<u64>> {
    let ask = |generator: &Generator| server.ask_number(GENERATOR, &generator.id, Halt::TYPENAME);
    generators.iter().map(ask).collect()
}

/// Halts the generators; then every message that was sent must have been counted, once. `given` is
/// what their function was given before them, in this process.
pub(crate) fn check(
    server: &Server,
    generators: &[Generator],
    given: u64,
    accounts: &mut Accounts,
) -> Result<()> {
    let sent = halt(server, generators)?;
    let total: u64 = sent.iter().sum();
    let function = function_of(generators);
    let now_given = server.settle()?.messages_of(function);
    ensure!(
        now_given == given + total,
        "{total} messages were sent, and {function} was given {}",
        now_given - given
    );
    if function == LEAF {
        return Ok(());
    }
    accounts.add(generators, &sent);
    accounts.check(server, function)
}

pub(crate) fn function_of(generators: &[Generator]) -> &'static str {
    generators.first().map_or("", |generator| generator.order.pattern.function().as_str())
}

/// Sends one message to each instance with a number from `from` to `to`, and waits until they are
/// finished.
pub(crate) fn sweep(server: &Server, kind: Kind, from: u64, to: u64) -> Result<()> {
    let generators: Vec<Generator> = (0..SHARDS)
        .map(|shard| {
            let draw = Draw::Each { of: SHARDS as u64, from, to };
            let pattern = Pattern::Instances { kind, draw };
            let via = Some(id_on((shard + 1) % SHARDS, "pacer-", 0));
            let id = id_on(shard, &format!("sweep-{from}-"), 0);
            Generator { id, order: Order { pattern, number: shard as u64, via } }
        })
        .collect();
    let function = function_of(&generators);
    let given = server.metrics()?.messages_of(function);
    start(server, &generators)?;
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let done = server.metrics()?.messages_of(function) - given;
        if done == to - from {
            break;
        }
        if done != last {
            (last, moved) = (done, Instant::now());
        }
        ensure!(
            moved.elapsed() < PATIENCE,
            "{done} of {} instances of {function} were woken, and no more within {PATIENCE:?}",
            to - from
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    server.settle()?;
    Ok(())
}

/// Waits for the checkpoint that follows when nothing is written any more, and for the allocator to
/// give back what it has freed: until the process has written nothing for some seconds.
pub(crate) fn await_written(server: &Server) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = server.process.usage()?.written_bytes;
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < Duration::from_secs(8) {
        std::thread::sleep(Duration::from_millis(250));
        let now = server.process.usage()?.written_bytes;
        if now != last {
            (last, quiet_since) = (now, Instant::now());
        }
        ensure!(Instant::now() < deadline, "the server still writes after {PATIENCE:?}");
    }
    Ok(())
}

impl Accounts {
    /// Adds what generators have sent.
    pub(crate) fn add(&mut self, generators: &[Generator], sent: &[u64]) {
        for (Generator { order, .. }, sent) in generators.iter().zip(sent) {
            let targets = Targets::of(order);
            for id in (0..*sent).filter_map(|n| targets.id(n)) {
                *self.sent.entry(id).or_default() += 1;
            }
        }
    }

    /// Compares a sample of those that were sent something.
    pub(crate) fn check(&self, server: &Server, function: &str) -> Result<()> {
        let mut ids: Vec<_> = self.sent.iter().collect();
        ids.sort_unstable();
        let step = (ids.len() / SAMPLE).max(1);
        for (id, sent) in ids.into_iter().step_by(step) {
            let expected = self.before + sent;
            let count = server.ask_number(function, id, Read::TYPENAME)?;
            ensure!(
                count == expected,
                "{function} {id} on shard {} is {count}, and {expected} messages were sent",
                shard_of(id)
            );
        }
        Ok(())
    }
}

impl Counted {
    pub(crate) fn per_second(&self) -> f64 {
        self.messages as f64 / self.probe.elapsed.as_secs_f64()
    }

    pub(crate) fn row(&self, name: &str, title: &str) -> Row {
        let probe = &self.probe;
        let messages = self.messages.max(1) as f64;
        let mut row = Row::new(name, title);
        row.per_second = Some(self.per_second());
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
