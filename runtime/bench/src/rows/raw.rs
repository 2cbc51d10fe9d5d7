//! The raw limits as rows. Other rows ask for the one that they are held against right before they
//! are measured; `raw` alone measures all of them. Each is measured once in a run.

use anyhow::{Context as _, Result};

use crate::load::Load;
use crate::load::traffic::{Fixed, post};
use crate::process::Process;
use crate::raw::{Bare, base, counter, disk, fan_out, ring};
use crate::report::Row;
use crate::rows::{Bench, role};

/// Numbers of clients that HTTP rows are measured with.
pub(crate) const CONNECTIONS: [usize; 4] = [1, 64, 256, 1_024];

/// The figure of `raw/sequential`.
pub(crate) const BANDWIDTH: &str = "bandwidth";

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    fdatasync(bench)?;
    sequential(bench)?;
    counter_loop(bench)?;
    ring_loop(bench, false)?;
    ring_loop(bench, true)?;
    fan_out_loop(bench)?;
    for connections in CONNECTIONS {
        echo(bench, connections)?;
    }
    for connections in CONNECTIONS {
        proxy(bench, connections)?;
    }
    Ok(())
}

/// A 4 KB overwrite and `fdatasync`, one after the other.
pub(crate) fn fdatasync(bench: &mut Bench) -> Result<Row> {
    bench.once("raw/fdatasync", |bench| {
        let title = "4 KB overwritten in a preallocated file and synced, one at a time";
        let histogram = disk::overwrite_and_sync(bench.directory(), bench.measured)?;
        let mut row = Row::new("raw/fdatasync", title);
        row.per_second = Some(histogram.total() as f64 / bench.measured.as_secs_f64());
        row.latency = histogram.latency();
        Ok(row)
    })
}

/// One file written from its beginning to its end.
pub(crate) fn sequential(bench: &mut Bench) -> Result<Row> {
    bench.once("raw/sequential", |bench| {
        let title = "a new file written 1 MB at a time, synced beside and at the end";
        let (bytes, elapsed) = disk::write_and_sync(bench.directory(), bench.measured)?;
        let mut row = Row::new("raw/sequential", title);
        row.figure(BANDWIDTH, bytes as f64 / 1e6 / elapsed.as_secs_f64(), "MB/s");
        Ok(row)
    })
}

/// A bare hyper server that answers with the request's body.
pub(crate) fn echo(bench: &mut Bench, connections: usize) -> Result<Row> {
    let name = format!("raw/echo/{connections}");
    let title = format!("bare hyper server that echoes, {connections} clients");
    bench.once(&name, |bench| {
        let server = role(&["echo"])?;
        http_row(bench, &name, &title, &server, connections)
    })
}

/// A bare hyper server that asks a bare hyper server for each request.
pub(crate) fn proxy(bench: &mut Bench, connections: usize) -> Result<Row> {
    let name = format!("raw/proxy/{connections}");
    let title = format!("bare hyper server that asks a bare one, {connections} clients");
    bench.once(&name, |bench| {
        let backend = role(&["echo"])?;
        let server = role(&["proxy", &backend.address("bare")?])?;
        http_row(bench, &name, &title, &server, connections)
    })
}

/// The smallest loop that counts durably.
pub(crate) fn counter_loop(bench: &mut Bench) -> Result<Row> {
    bench.once("raw/loop", |bench| {
        let title = "bare loop: lookup, boxed async fn, coalesced log, one sync thread; 2 threads";
        let bare = counter::run(bench.directory(), bench.measured, Bench::own_usage)?;
        Ok(bare_row("raw/loop", title, bare))
    })
}

/// The smallest ring.
pub(crate) fn ring_loop(bench: &mut Bench, crosses: bool) -> Result<Row> {
    let (name, title) = match crosses {
        false => ("raw/ring", "bare ring: mailbox push and boxed async fn a hop; 2 threads"),
        true => ("raw/ring-across", "bare ring whose every hop goes to the other thread"),
    };
    bench.once(name, |bench| {
        let bare = ring::run(bench.measured, crosses, Bench::own_usage)?;
        Ok(bare_row(name, title, bare))
    })
}

/// The smallest fan-out.
pub(crate) fn fan_out_loop(bench: &mut Bench) -> Result<Row> {
    bench.once("raw/fan-out", |bench| {
        let title = "bare fan-out: mailbox push and boxed async fn a message; 2 threads";
        let bare = fan_out::run(bench.measured, Bench::own_usage)?;
        Ok(bare_row("raw/fan-out", title, bare))
    })
}

/// An LSM tree behind a map in memory.
pub(crate) fn base_loop(bench: &mut Bench) -> Result<Row> {
    bench.once("raw/base", |bench| {
        let title = "lsm-tree alone: a point read and a write-behind put a message; 2 threads";
        let directory = bench.new_directory();
        let bare = base::run(&directory, bench.sizes.instances, bench.measured, Bench::own_usage)?;
        Ok(bare_row("raw/base", title, bare))
    })
}

fn bare_row(name: &str, title: &str, bare: Bare) -> Row {
    let mut row = Row::new(name, title);
    row.per_second = Some(bare.per_second());
    row.cpu_micros = Some(bare.cpu_micros());
    row
}

fn http_row(
    bench: &Bench,
    name: &str,
    title: &str,
    server: &Process,
    connections: usize,
) -> Result<Row> {
    let load = Load::closed(&server.address("bare")?, connections, bench.measured);
    let fixed = Fixed { request: post("/"), status: 200, is_echo: true };
    let (outcome, _) = load.run(server, vec![fixed; connections])?;
    Ok(outcome.row(name, title))
}

impl Bench {
    /// The row of this name; measured now if it has not been.
    fn once(&mut self, name: &str, measure: impl FnOnce(&mut Self) -> Result<Row>) -> Result<Row> {
        if let Some(row) = self.rows.iter().find(|row| row.name == name) {
            return Ok(row.clone());
        }
        let row = measure(self).with_context(|| name.to_owned())?;
        self.add(row.clone());
        Ok(row)
    }
}
