//! Restart after `kill -9`: much state in the base, and a log that is almost as long as it may get,
//! full of small changes, all of which must be read again. The time is from the start of the process
//! to the answer of its first message; afterwards the counts are compared with what was sent.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use dormouse_sdk::ValueType as _;

use crate::functions::Read;
use crate::functions::generator::Pattern;
use crate::functions::instances::{Kind, VALUE, VALUE_BYTES};
use crate::histogram::Histogram;
use crate::report::Row;
use crate::rows::Bench;
use crate::rows::generators::{self, Accounts};
use crate::server::Server;

/// Crashes whose restart is measured.
const CRASHES: usize = 3;

/// Length of the log at which its changes move to the base, at most: the default of the setting.
const LOG_BYTES_MAX: u64 = 128 << 20;

/// Segments of a log, and the shortest that the setting takes.
const SEGMENTS: u64 = 8;
const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// How much of that length is written before the crash.
const FULL: f64 = 0.9;

/// When the log has not grown for so long, it is not waited for any more.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let empty = start_empty(bench)?;
    let values = bench.sizes.state_bytes / VALUE_BYTES as u64;
    let log_bytes = (bench.sizes.state_bytes / SEGMENTS).min(LOG_BYTES_MAX);
    let flags = [
        "--set".to_owned(),
        format!("embedded.log={log_bytes}"),
        "--set".to_owned(),
        format!("embedded.segment={}", (log_bytes / SEGMENTS).max(SEGMENT_BYTES_MIN)),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let directory = bench.new_directory();
    let mut server = bench.start_in(&directory, "embedded", &flags)?;
    generators::sweep(&server, Kind::Value, 0, values)?;
    let mut accounts = Accounts::default();
    let (mut times, mut log, mut state) = (Histogram::new(), 0.0, 0);
    for crash in 0..CRASHES {
        generators::await_written(&server)?;
        state = server.data_bytes()?;
        let pattern = Pattern::Uniform;
        let generators = generators::paced(&format!("restart-{crash}-"), pattern);
        generators::start(&server, &generators)?;
        log = fill_log(&server, log_bytes)?;
        server.process.kill()?;
        let began = Instant::now();
        server = bench.start_in(&directory, "embedded", &flags)?;
        let count = server.ask_number(VALUE, &Kind::Value.id(values / 2), Read::TYPENAME)?;
        times.record(began.elapsed());
        ensure!(count == 1, "a value that was stored once has a count of {count} after a crash");
        let sent = generators::halt(&server, &generators)?;
        server.settle()?;
        accounts.add(&generators, &sent);
        let function = generators::function_of(&generators);
        accounts.check(&server, function).context("restart")?;
    }
    check_values(&server, values)?;
    server.stop()?;
    bench.add(row(&times, empty, log, state));
    Ok(())
}

fn row(times: &Histogram, empty: Duration, log: f64, state: u64) -> Row {
    let title = format!("kill -9 under load to the first answer, {CRASHES} times");
    let mut row = Row::new("restart", title);
    row.latency = times.latency();
    let (p50, slowest) = (times.percentile(0.5) as f64, times.percentile(1.0) as f64);
    row.of_limit_in("us", "without data", p50 / 1e3, empty.as_secs_f64() * 1e6);
    row.figure("start to first answer, p50", p50 / 1e6, "ms");
    row.figure("start to first answer, slowest", slowest / 1e6, "ms");
    row.figure("start to first answer without data", empty.as_secs_f64() * 1e3, "ms");
    row.figure("data directory before the load", state as f64 / 1e6, "MB");
    row.figure("committed since the last checkpoint", log / 1e6, "MB");
    row.aim("at most 1.2 s", slowest <= 1.2e9);
    row
}

/// The limit: the same server without a data directory, from its start to its first answer.
fn start_empty(bench: &mut Bench) -> Result<Duration> {
    let began = Instant::now();
    let server = bench.start("embedded", &[])?;
    let count = server.ask_number(VALUE, "none", Read::TYPENAME)?;
    let elapsed = began.elapsed();
    ensure!(count == 0, "a fresh server has a count of {count}");
    server.stop()?;
    Ok(elapsed)
}

/// Waits until so much is committed since the last checkpoint; answers how much it is.
fn fill_log(server: &Server, log_bytes: u64) -> Result<f64> {
    let committed = || Ok::<_, anyhow::Error>(server.metrics()?.sum("dormouse_commit_bytes_total"));
    let before = committed()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let grown = committed()? - before;
        if grown >= FULL * log_bytes as f64 {
            return Ok(grown);
        }
        ensure!(Instant::now() < deadline, "{grown} bytes were committed within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Values were stored once, before the crashes.
fn check_values(server: &Server, values: u64) -> Result<()> {
    for number in (0..values).step_by((values / 50).max(1) as usize) {
        let count = server.ask_number(VALUE, &Kind::Value.id(number), Read::TYPENAME)?;
        ensure!(count == 1, "value {number} was stored once, and has a count of {count}");
    }
    Ok(())
}
