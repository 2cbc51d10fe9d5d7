//! Fan-out between in-process functions: one sends 128 messages at once to functions of its shard that
//! have no state, and goes on when they have run.

use anyhow::{Context as _, Result};

use crate::functions::generator::Pattern;
use crate::rows::generators::{self, Accounts};
use crate::rows::{Bench, raw};

const NAME: &str = "fan-out";

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let bare = raw::fan_out_loop(bench)?.per_second.unwrap_or(0.0);
    let generators = generators::all("fan-", |shard| (Pattern::Leaves(shard), None));
    let server = bench.start("embedded", &[])?;
    let counted = generators::under_load(&server, &generators, bench.measured).context(NAME)?;
    generators::check(&server, &generators, 0, &mut Accounts::default()).context(NAME)?;
    server.stop().context(NAME)?;
    let mut row = counted.row(NAME, "16 functions, each to 128 of 50,000 stateless ones at once");
    row.of_limit("bare fan-out", bare);
    row.aim("at least 35 % of the bare fan-out", counted.per_second() >= 0.35 * bare);
    bench.add(row);
    Ok(())
}
