//! Values of 4 KB, each unlike the ones before it: how much of the disk's sequential bandwidth the log,
//! the base and its compaction use together. Messages are 8 bytes; the function makes the value.

use anyhow::{Context as _, Result};

use crate::functions::generator::Pattern;
use crate::functions::instances::{Draw, Kind, VALUE_BYTES};
use crate::rows::counter::KEYS;
use crate::rows::generators::{self, Accounts};
use crate::rows::{Bench, raw};

const NAME: &str = "values-4k";

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let disk = raw::sequential(bench)?.figure_of(raw::BANDWIDTH).context("no bandwidth")?;
    let draw = Draw::Uniform { count: KEYS as u64 };
    let generators = generators::paced("values-", Pattern::Instances { kind: Kind::Value, draw });
    let server = bench.start("embedded", &[])?;
    let counted = generators::under_load(&server, &generators, bench.measured).context(NAME)?;
    generators::check(&server, &generators, 0, &mut Accounts::default()).context(NAME)?;
    server.stop().context(NAME)?;
    let mut row = counted.row(NAME, "100,000 keys, a new value of 4 KB with each message, durable");
    let seconds = counted.probe.elapsed.as_secs_f64();
    let device = counted.probe.usage.written_bytes as f64 / 1e6 / seconds;
    row.of_limit_in("MB/s", "sequential", device, disk);
    row.figure("bytes that reach the disk", device, "MB/s");
    let values = counted.per_second() * VALUE_BYTES as f64 / 1e6;
    row.figure("values", values, "MB/s");
    row.figure("bytes that reach the disk per byte of values", device / values, "");
    row.aim("at least 60 % of the sequential bandwidth", device >= 0.6 * disk);
    bench.add(row);
    Ok(())
}
