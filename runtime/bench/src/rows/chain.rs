//! Chains of ten functions, 64 at once: a client asks the first address, each hop counts durably and
//! sends to the next address, and the last replies to the client. Every hop of the remote row is a call
//! over HTTP.

use anyhow::{Context as _, Result, ensure};

use crate::functions::chain::{CHAIN, HOPS};
use crate::load::Load;
use crate::load::traffic::OwnKeys;
use crate::process::Process;
use crate::report::Row;
use crate::rows::http::KEYS;
use crate::rows::{Bench, raw, remote};
use crate::server::Server;

/// Chains under way at once.
const CHAINS: usize = 64;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    // First, since it may have to build something.
    let pair = remote::start(bench, CHAIN)?;
    let proxy = raw::proxy(bench, CHAINS)?.per_second.unwrap_or(0.0);
    let mut row = measure(bench, "chain/remote", &pair.server)?;
    pair.stop().context("chain/remote")?;
    row.of_limit("bare proxy", proxy);
    let reached = row.per_second.unwrap_or(0.0);
    row.aim("at least 60,000 hops/s", reached >= 60_000.0);
    bench.add(row);

    let bare = raw::ring_loop(bench, true)?.per_second.unwrap_or(0.0);
    let server = bench.start("embedded", &[])?;
    let mut row = measure(bench, "chain/in-process", &server)?;
    server.stop().context("chain/in-process")?;
    row.of_limit("bare ring across", bare);
    bench.add(row);
    Ok(())
}

/// Hops a second; latencies are those of whole chains. Every reply must be the next count of its chain.
fn measure(bench: &Bench, name: &str, server: &Server) -> Result<Row> {
    let load = Load::closed(&server.address, CHAINS, bench.measured);
    let traffic = OwnKeys::shared_out(CHAIN, 0, KEYS, CHAINS);
    let process: &Process = &server.process;
    let (outcome, ended) = load.run(process, traffic).with_context(|| name.to_owned())?;
    let answered: u64 = ended.iter().map(OwnKeys::answered).sum();
    // Calls count a message again when it is given to a function twice, as the first ones of a remote
    // function are, which ask for its states; commits count it once.
    let done = server.settle()?.sum("dormouse_messages_processed_total") as u64;
    let due = answered * u64::from(HOPS);
    ensure!(done == due, "{answered} chains have {due} hops, and {done} were committed");
    let title = format!("chains of {HOPS} hops, {CHAINS} clients that wait for the end of theirs");
    let mut row = outcome.row(name, &title);
    let hops = f64::from(HOPS);
    row.per_second = Some(outcome.per_second() * hops);
    row.cpu_micros = Some(outcome.cpu_micros() / hops);
    Ok(row)
}
