//! One key that everybody writes to: in-process with messages from inside, and remote over HTTP, where
//! 64 clients wait for their replies.

use anyhow::{Result, ensure};

use crate::functions::REQUEST_COUNTER;
use crate::load::Load;
use crate::load::traffic::HotKey;
use crate::rows::{Bench, counter, raw, remote};

const CLIENTS: usize = 64;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let bare = raw::counter_loop(bench)?.per_second.unwrap_or(0.0);
    let mut row = counter::measure(bench, "hot-key", "embedded", &counter::hot())?;
    row.title = "one key in-process, embedded store, messages from inside".to_owned();
    row.of_limit("bare loop", bare);
    bench.add(row);
    over_http(bench)
}

fn over_http(bench: &mut Bench) -> Result<()> {
    // First, since it may have to build something.
    let pair = remote::start(bench, REQUEST_COUNTER)?;
    let proxy = raw::proxy(bench, CLIENTS)?.per_second.unwrap_or(0.0);
    let load = Load::closed(&pair.server.address, CLIENTS, bench.measured);
    let traffic = (0..CLIENTS).map(|_| HotKey::new(REQUEST_COUNTER)).collect();
    let (outcome, ended) = load.run(&pair.server.process, traffic)?;
    let answered: u64 = ended.iter().map(|one: &HotKey| one.answered).sum();
    let last = ended.iter().map(HotKey::last).max().unwrap_or(0);
    ensure!(last == answered, "{answered} requests were answered, and the count is {last}");
    pair.stop()?;
    let title = format!("one key, remote Rust function over HTTP, {CLIENTS} clients");
    let mut row = outcome.row("hot-key/remote", &title);
    row.of_limit("bare proxy", proxy);
    row.aim("at least 80,000 requests/s", outcome.per_second() >= 80_000.0);
    bench.add(row);
    Ok(())
}
