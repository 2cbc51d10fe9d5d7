//! Many more instances than fit into memory, each with a state of 100 bytes in the base: messages to
//! any of them, to few of them very often, and to a hundred thousand that stay awake. The page cache is
//! warm: it is the base that is measured, not the disk.

use anyhow::{Context as _, Result};

use crate::functions::generator::Pattern;
use crate::functions::instances::{Draw, Kind, RECORD, ZIPF};
use crate::report::Row;
use crate::rows::generators::{self, Accounts};
use crate::rows::{Bench, raw};
use crate::server::Server;

/// What the server may use: less than the states of ten million instances need.
const MEMORY: &str = "512MB";

/// Instances that messages of `scale/hot` go to.
const HOT: u64 = 100_000;

/// A server with many instances, and what they must have counted.
struct Scaled {
    server: Server,
    accounts: Accounts,
    /// Messages that they were given so far.
    given: u64,
    instances: u64,
}

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let instances = bench.sizes.instances;
    let bare = raw::base_loop(bench)?.per_second.unwrap_or(0.0);
    let mut scaled = Scaled::start(bench)?;
    scaled.grow(instances)?;
    let hot = scaled.measure(bench, "scale/hot", Draw::Uniform { count: HOT.min(instances) })?;
    let mut uniform = scaled.measure(bench, "scale/uniform", Draw::Uniform { count: instances })?;
    let mut zipf = scaled.measure(bench, "scale/zipf", Draw::Zipf { count: instances })?;
    scaled.server.stop()?;
    let per_second = |row: &Row| row.per_second.unwrap_or(0.0);
    uniform.of_limit("base alone", bare);
    uniform.aim("at least 150,000 messages/s", per_second(&uniform) >= 150_000.0);
    uniform.aim("at least 70 % of the base alone", per_second(&uniform) >= 0.7 * bare);
    let fastest = per_second(&hot);
    zipf.of_limit("hot instances", fastest);
    zipf.figure("exponent", ZIPF, "");
    zipf.aim("at least 40 % of the hot figure", per_second(&zipf) >= 0.4 * fastest);
    for row in [hot, uniform, zipf] {
        bench.add(row);
    }
    Ok(())
}

/// The same with so many instances, and with three times as many.
pub(crate) fn growth(bench: &mut Bench) -> Result<()> {
    let mut scaled = Scaled::start(bench)?;
    let mut costs = Vec::new();
    for (name, instances) in [("growth/1x", 1), ("growth/3x", 3)] {
        let instances = instances * bench.sizes.instances;
        scaled.grow(instances)?;
        let mut row = scaled.measure(bench, name, Draw::Uniform { count: instances })?;
        costs.push(row.cpu_micros.unwrap_or(0.0));
        if let [before, after] = costs[..] {
            row.of_limit_in("us", "a third as many", after, before);
            row.aim("at most 30 % more processor time", after <= 1.3 * before);
        }
        bench.add(row);
    }
    scaled.server.stop()
}

impl Scaled {
    fn start(bench: &mut Bench) -> Result<Self> {
        let server = bench.start("embedded", &["--memory", MEMORY])?;
        let accounts = Accounts { before: 1, ..Accounts::default() };
        Ok(Self { server, accounts, given: 0, instances: 0 })
    }

    /// Sends each new instance its first message, and waits until the base holds them.
    fn grow(&mut self, to: u64) -> Result<()> {
        generators::sweep(&self.server, Kind::Record, self.instances, to)?;
        self.given += to - self.instances;
        self.instances = to;
        generators::await_written(&self.server)
    }

    fn measure(&mut self, bench: &Bench, name: &str, draw: Draw) -> Result<Row> {
        let pattern = Pattern::Instances { kind: Kind::Record, draw };
        let generators = generators::paced(&format!("{name}-").replace('/', "-"), pattern);
        let counted = generators::under_load(&self.server, &generators, bench.measured)
            .with_context(|| name.to_owned())?;
        generators::check(&self.server, &generators, self.given, &mut self.accounts)
            .with_context(|| name.to_owned())?;
        self.given = self.server.metrics()?.messages_of(RECORD);
        let millions = self.instances as f64 / 1e6;
        let title = format!("{millions} million instances of 100 bytes, memory {MEMORY}");
        let mut row = counted.row(name, &title);
        row.figure("data directory", self.server.data_bytes()? as f64 / 1e6, "MB");
        Ok(row)
    }
}
