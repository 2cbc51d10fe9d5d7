//! The in-process keyed counter: 100,000 keys, 100-byte messages, every commit durable, messages from
//! generators inside the runtime.

use anyhow::{Context as _, Result};

use crate::functions::generator::{HOT, Pattern};
use crate::report::Row;
use crate::rows::generators::{self, Accounts, Generator};
use crate::rows::{Bench, raw};

/// Keys that messages are spread over.
pub(crate) const KEYS: usize = 100_000;

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

pub(crate) fn uniform() -> Vec<Generator> {
    generators::paced("generator-", Pattern::Uniform)
}

fn own_shard() -> Vec<Generator> {
    generators::all("generator-", |shard| (Pattern::OwnShard(shard), None))
}

/// All messages to one counter; every generator waits behind it.
pub(crate) fn hot() -> Vec<Generator> {
    generators::all("generator-", |_| (Pattern::Hot, Some(HOT.to_owned())))
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
    let counted = generators::under_load(&server, generators, measured);
    let counted = counted.with_context(|| name.to_owned())?;
    generators::check(&server, generators, 0, &mut Accounts::default())
        .with_context(|| name.to_owned())?;
    server.stop().with_context(|| name.to_owned())?;
    let title = format!("{store} store, {} generators, messages of 100 bytes", generators.len());
    Ok(counted.row(name, &title))
}
