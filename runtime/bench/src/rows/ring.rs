//! Rings of ten in-process functions with many tokens: what a message between functions costs, within
//! a shard and from shard to shard. Afterwards all tokens must be there, once.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use dormouse_sdk::ValueType as _;

use crate::functions::ring::{ACROSS, COLLECTOR, COLLECTOR_ID, FIRST, HALT, id_across};
use crate::functions::{PAYLOAD, Read};
use crate::load::traffic::PAYLOAD as BODY;
use crate::report::Row;
use crate::rows::{Bench, raw};
use crate::server::{Metrics, Server};

/// Functions of a ring.
pub(crate) const HOPS: usize = 10;

/// Tokens on their way at once, each in a ring of its own.
pub(crate) const TOKENS: usize = 1_000;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let bare = raw::ring_loop(bench, false)?.per_second.unwrap_or(0.0);
    let title = "10 function types, 1,000 tokens, each within its shard";
    let ids: Vec<String> = (0..TOKENS).map(|token| format!("token-{token}")).collect();
    let mut row = measure(bench, ("ring", title), FIRST, &ids)?;
    row.of_limit("bare ring", bare);
    let reached = row.per_second.unwrap_or(0.0);
    row.aim("at least 35 % of the bare ring", reached >= 0.35 * bare);
    bench.add(row);

    let bare = raw::ring_loop(bench, true)?.per_second.unwrap_or(0.0);
    let title = "10 ids of one type, 1,000 tokens, every hop to the other shard";
    let ids: Vec<String> = (0..TOKENS).map(|ring| id_across(ring, 0).to_string()).collect();
    let mut row = measure(bench, ("ring/across", title), ACROSS, &ids)?;
    row.of_limit("bare ring across", bare);
    bench.add(row);
    Ok(())
}

fn measure(
    bench: &mut Bench,
    (name, title): (&str, &str),
    function: &str,
    ids: &[String],
) -> Result<Row> {
    let server = bench.start("embedded", &[])?;
    for id in ids {
        server.send(function, id, PAYLOAD, &BODY).with_context(|| name.to_owned())?;
    }
    std::thread::sleep(bench.measured / 4);
    server.process.forget_peak();
    let before = (Instant::now(), server.metrics()?, server.process.usage()?);
    std::thread::sleep(bench.measured);
    let after = (Instant::now(), server.metrics()?, server.process.usage()?);
    let hops = hops(&after.1) - hops(&before.1);
    let grown = |name| after.1.sum(name) - before.1.sum(name);
    let mut row = Row::new(name, title);
    row.per_second = Some(hops as f64 / (after.0 - before.0).as_secs_f64());
    row.peak_bytes = Some(server.process.peak_bytes()?);
    row.cpu_micros = Some(before.2.until(&after.2).cpu_seconds * 1e6 / hops.max(1) as f64);
    row.figure("bytes committed per hop", grown("dormouse_commit_bytes_total") / hops as f64, "");
    row.figure("hops per commit", hops as f64 / grown("dormouse_commits_total"), "");
    check(&server, ids.len() as u64).with_context(|| name.to_owned())?;
    server.stop().with_context(|| name.to_owned())?;
    Ok(row)
}

fn hops(metrics: &Metrics) -> u64 {
    metrics.messages_of("bench/ring-")
}

/// Halts the rings; every token must arrive at the collector, once.
fn check(server: &Server, tokens: u64) -> Result<()> {
    server.ask(HALT, "halt", PAYLOAD, &BODY)?;
    server.settle()?;
    let collected = server.ask_number(COLLECTOR, COLLECTOR_ID, Read::TYPENAME)?;
    ensure!(collected == tokens, "{tokens} tokens were sent round, {collected} were left");
    Ok(())
}
