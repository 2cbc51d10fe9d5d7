//! Ten million delayed messages pending: what they need in memory, how late those come that are due
//! meanwhile, and what a restart makes of them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use dormouse_sdk::ValueType as _;

use crate::functions::Read;
use crate::functions::alarm::{ALARM, Alarms, CLOCK, Noted, now};
use crate::report::Row;
use crate::rows::{Bench, SHARDS, own_binary};
use crate::server::{Server, Setup, http_ingress};

/// Messages that are pending in the background, due between one and two hours from now.
const PENDING: u64 = 10_000_000;
const PENDING_AFTER: Duration = Duration::from_secs(3_600);

/// Instances that send them.
const CLOCKS: u64 = 256;

/// Messages that fall due a second.
const RATES: [u64; 2] = [10_000, 50_000];

/// From the order until the first one is due: long enough for all of them to be sent.
const LEAD: Duration = Duration::from_secs(5);

/// The pending ones are sent within so long.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let directory = bench.new_directory();
    let server = start(&directory)?;
    let fresh = server.process.resident_bytes()?;
    let began = Instant::now();
    let over = PENDING_AFTER.as_millis() as u64;
    set_alarms(&server, PENDING, now() + PENDING_AFTER, over)?;
    let deadline = began + PATIENCE;
    while server.metrics()?.delayed() < PENDING / CLOCKS * CLOCKS {
        ensure!(Instant::now() < deadline, "not all are pending after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    server.settle()?;
    let elapsed = began.elapsed().as_secs_f64();
    let title = format!("{PENDING} delayed messages sent, every second one with a token");
    let mut row = Row::new("timers/send", title);
    row.per_second = Some(PENDING as f64 / elapsed);
    row.peak_bytes = Some(server.process.peak_bytes()?);
    row.figure("resident memory above a fresh server", grown(&server, fresh)?, "MB");
    bench.add(row);
    for rate in RATES {
        let row = fire(bench, &server, rate, &format!("timers/{rate}"))?;
        bench.add(row);
    }
    server.process.kill()?;
    restart(bench, &directory)
}

fn start(directory: &Path) -> Result<Server> {
    Server::start(&Setup {
        binary: own_binary()?,
        directory,
        manifest: http_ingress(),
        store: "embedded",
        shards: SHARDS,
        flags: &["--memory", "512MB"],
    })
}

/// Megabytes of resident memory more than before.
fn grown(server: &Server, before: u64) -> Result<f64> {
    Ok(server.process.resident_bytes()?.saturating_sub(before) as f64 / 1e6)
}

/// Has `count` messages sent that are due evenly from `from` (since 1970) on.
fn set_alarms(server: &Server, count: u64, from: Duration, over_ms: u64) -> Result<()> {
    let from_ms = from.as_millis() as u64;
    for clock in 0..CLOCKS {
        let token = format!("{from_ms}-");
        let order = Alarms { count: count / CLOCKS, set: 0, from_ms, over_ms, token };
        let body = order.encode().map_err(anyhow::Error::from_boxed)?;
        server.send(CLOCK, &format!("clock-{clock}"), Alarms::TYPENAME, &body)?;
    }
    Ok(())
}

/// Lets so many fall due a second for as long as figures are measured.
fn fire(bench: &Bench, server: &Server, rate: u64, name: &str) -> Result<Row> {
    let seconds = bench.measured.as_secs_f64();
    let count = (rate as f64 * seconds) as u64 / CLOCKS * CLOCKS;
    let (before, began) = (server.process.usage()?, server.metrics()?.messages_of(ALARM));
    server.process.forget_peak();
    set_alarms(server, count, now() + LEAD, bench.measured.as_millis() as u64)?;
    let deadline = Instant::now() + LEAD + bench.measured + PATIENCE;
    while server.metrics()?.messages_of(ALARM) - began < count {
        ensure!(Instant::now() < deadline, "not all have fired after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let used = before.until(&server.process.usage()?);
    let noted = server.ask(ALARM, "clock-0", Read::TYPENAME, b"")?;
    let noted: Noted = serde_json::from_str(&noted).with_context(|| noted.clone())?;
    ensure!(noted.early == 0, "{} messages came before their time", noted.early);
    ensure!(noted.count == count, "{count} messages were sent, and {} fired", noted.count);
    let title = format!("lateness of {rate} delayed messages a second, {PENDING} pending");
    let mut row = Row::new(name, title);
    row.latency = noted.latency;
    row.peak_bytes = Some(server.process.peak_bytes()?);
    row.cpu_micros = Some(used.cpu_seconds * 1e6 / count as f64);
    let p99 = noted.latency.map_or(u64::MAX, |latency| latency.p99);
    row.aim("p99 at most 20 ms late", p99 <= 20_000_000);
    Ok(row)
}

fn restart(bench: &mut Bench, directory: &Path) -> Result<()> {
    let began = Instant::now();
    let server = start(directory)?;
    server.ask(ALARM, "clock-0", Read::TYPENAME, b"")?;
    let answered = began.elapsed();
    let resident = server.process.resident_bytes()? as f64 / 1e6;
    let mut row = fire(bench, &server, RATES[0], "timers/restart")?;
    row.title = format!("after kill -9 with {PENDING} pending: {}", row.title);
    row.figure("start to first answer", answered.as_secs_f64() * 1e3, "ms");
    row.figure("resident memory then", resident, "MB");
    row.aim("first answer within 1.2 s", answered <= Duration::from_millis(1_200));
    server.stop()?;
    bench.add(row);
    Ok(())
}
