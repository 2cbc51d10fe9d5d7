//! Durable request-reply over HTTP with an in-process function: each request waits for its reply,
//! which leaves once it is durable. 10,000 keys; every reply is held to the count that it must have.

use anyhow::{Context as _, Result};

use crate::functions::REQUEST_COUNTER;
use crate::load::Load;
use crate::load::traffic::OwnKeys;
use crate::report::Row;
use crate::rows::raw::CONNECTIONS;
use crate::rows::{Bench, raw};

/// Keys that requests are spread over.
pub(crate) const KEYS: usize = 10_000;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let server = bench.start("embedded", &[])?;
    for (round, connections) in CONNECTIONS.into_iter().enumerate() {
        let echo = raw::echo(bench, connections)?;
        let load = Load::closed(&server.address, connections, bench.measured);
        let traffic = OwnKeys::shared_out(REQUEST_COUNTER, round, KEYS, connections);
        let name = format!("http/{connections}");
        let (outcome, _) = load.run(&server.process, traffic).with_context(|| name.clone())?;
        let title = format!("in-process function, durable request-reply, {connections} clients");
        let mut row = outcome.row(&name, &title);
        row.of_limit("bare echo", echo.per_second.unwrap_or(0.0));
        match connections {
            1 => single(bench, &echo, &mut row)?,
            256 => {
                let reached = outcome.per_second();
                row.aim("at least 90,000 requests/s", reached >= 90_000.0);
                let share = reached / echo.per_second.unwrap_or(f64::INFINITY);
                row.aim("at least 70 % of the bare echo", share >= 0.7);
                row.aim("at most 9 us of processor time", outcome.cpu_micros() <= 9.0);
            }
            _ => {}
        }
        bench.add(row);
    }
    server.stop()
}

/// One client waits for the disk and one round trip at least.
fn single(bench: &mut Bench, echo: &Row, row: &mut Row) -> Result<()> {
    let micros = |row: &Row| row.latency.map_or(0.0, |latency| latency.p50 as f64 / 1e3);
    let sync = raw::fdatasync(bench)?;
    let bound = 2.5 * micros(&sync) + micros(echo);
    let own = micros(row);
    row.of_limit_micros("2.5 fdatasync + echo, p50", own, bound);
    row.aim("p50 at most 2.5 fdatasync and one bare round trip", own <= bound);
    Ok(())
}
