//! What the runtime needs when it has nothing to do, how fast it is there, and what an instance costs
//! while it is awake and once it sleeps: one million instances are woken once.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::functions::instances::Kind;
use crate::histogram::Histogram;
use crate::load::connection::request;
use crate::process::Process;
use crate::report::Row;
use crate::rows::generators::{await_written, sweep};
use crate::rows::{Bench, SHARDS, project_binary};
use crate::server::{Server, Setup, http_ingress};

/// Instances that are woken.
const INSTANCES: u64 = 1_000_000;

/// Starts whose time is taken.
const STARTS: usize = 11;

/// An instance without messages for so long falls asleep.
const IDLE: Duration = Duration::from_secs(30);

/// All instances have been woken, or are asleep, within so long.
const PATIENCE: Duration = Duration::from_secs(300);

const AWAKE: &str = "dormouse_awake_instances";

/// The example application's manifest, and where it listens.
const GREETER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/greeter/module.yaml");
const GREETER_PORTS: [&str; 3] = ["8080", "8090", "8091"];

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    idle(bench)?;
    start(bench)?;
    instances(bench)
}

/// A fresh server of the plain distribution with an HTTP ingress, left alone.
fn idle(bench: &mut Bench) -> Result<()> {
    let binary = project_binary("greeter", "greeter")?;
    let directory = bench.new_directory();
    let server = Server::start(&Setup {
        binary,
        directory: &directory,
        manifest: http_ingress(),
        store: "embedded",
        shards: SHARDS,
        flags: &[],
    })?;
    std::thread::sleep(Duration::from_secs(2));
    let resident = server.process.resident_bytes()? as f64 / 1e6;
    let mut row = Row::new("memory/idle", "the greeter, fresh, without a message");
    row.peak_bytes = Some(server.process.peak_bytes()?);
    row.figure("resident memory", resident, "MB");
    row.aim("at most 30 MB resident", resident <= 30.0);
    server.stop()?;
    bench.add(row);
    Ok(())
}

/// From the start of the process to the first answer of the example application.
fn start(bench: &mut Bench) -> Result<()> {
    let binary = project_binary("greeter", "greeter")?;
    let mut histogram = Histogram::new();
    for _ in 0..STARTS {
        let directory = bench.new_directory();
        histogram.record(first_answer(&binary, &directory)?);
    }
    let mut row =
        Row::new("memory/start", format!("greeter run to its first answer, {STARTS} starts"));
    row.latency = histogram.latency();
    let p50 = histogram.percentile(0.5) as f64 / 1e6;
    row.figure("start to first answer, p50", p50, "ms");
    row.figure("start to first answer, slowest", histogram.percentile(1.0) as f64 / 1e6, "ms");
    row.aim("at most 100 ms", p50 <= 100.0);
    bench.add(row);
    Ok(())
}

/// Asks again and again, from the moment the process is started.
fn first_answer(binary: &Path, directory: &Path) -> Result<Duration> {
    let (manifest, address) = greeter_manifest(directory)?;
    let mut command = Command::new(binary);
    command.arg("run").arg(manifest).args(["--admin", "off"]);
    let began = Instant::now();
    let asking = std::thread::spawn(move || {
        let body = "POST /example/person/Bob?wait=5s HTTP/1.1\r\nhost: localhost\r\n\
                    content-length: 2\r\n\r\nhi";
        loop {
            match request(&address, body.as_bytes()) {
                Ok(answer) => return Ok((began.elapsed(), answer)),
                Err(error) if began.elapsed() > Duration::from_secs(30) => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_micros(500)),
            }
        }
    });
    let process = Process::start("greeter", command);
    let (elapsed, (status, text)) = asking.join().ok().context("asking panicked")??;
    ensure!(status == 200, "the greeter answered {status}: {text}");
    process?.stop()?;
    Ok(elapsed)
}

/// The example's manifest with free ports for its own, and where its HTTP ingress listens.
fn greeter_manifest(directory: &Path) -> Result<(PathBuf, String)> {
    let mut manifest = std::fs::read_to_string(GREETER).with_context(|| GREETER.to_owned())?;
    // All held until all are drawn, so that they differ.
    let mut listeners = Vec::new();
    for port in GREETER_PORTS {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        ensure!(manifest.contains(port), "{GREETER} does not listen on {port}");
        manifest = manifest.replace(port, &listener.local_addr()?.port().to_string());
        listeners.push(listener);
    }
    std::fs::create_dir_all(directory)?;
    let path = directory.join("module.yaml");
    std::fs::write(&path, manifest)?;
    Ok((path, listeners[0].local_addr()?.to_string()))
}

/// Wakes a million instances, then lets them fall asleep.
fn instances(bench: &mut Bench) -> Result<()> {
    let idle = format!("idle-sleep={}s", IDLE.as_secs());
    // Enough for all of them awake at once: it is the growth that is measured, not the bound.
    let flags = [
        "--memory",
        "16GB",
        "--set",
        &idle,
        "--set",
        "embedded.dirty=32MB",
        "--set",
        "embedded.cache=8MB",
    ];
    let server = bench.start("embedded", &flags)?;
    let fresh = server.process.resident_bytes()?;
    let began = Instant::now();
    sweep(&server, Kind::Sleeper, 0, INSTANCES)?;
    let woken = began.elapsed();
    let awake_peak = server.process.resident_bytes()?;
    await_written(&server)?;
    let (awake, count) = (server.process.resident_bytes()?, server.metrics()?.sum(AWAKE));
    ensure!(
        count >= INSTANCES as f64,
        "{count} of {INSTANCES} instances were awake when they were measured, {:?} after the first",
        began.elapsed()
    );
    await_awake(&server, |count| count == 0.0)?;
    await_written(&server)?;
    let asleep = server.process.resident_bytes()?;
    let each = |bytes: u64| bytes.saturating_sub(fresh) as f64 / INSTANCES as f64;
    let mut row =
        Row::new("memory/instances", "1,000,000 instances with one counter each, woken once");
    row.peak_bytes = Some(server.process.peak_bytes()?);
    row.figure("woken within", woken.as_secs_f64(), "s");
    row.figure("awake, right after", each(awake_peak), "bytes each");
    row.figure("awake, after a checkpoint", each(awake), "bytes each");
    row.figure("asleep, after a checkpoint", each(asleep), "bytes each");
    row.aim("at most 1 KB each awake", each(awake_peak) <= 1_024.0);
    row.aim("at most 200 bytes each asleep", each(asleep) <= 200.0);
    server.stop()?;
    bench.add(row);
    Ok(())
}

fn await_awake(server: &Server, is_reached: impl Fn(f64) -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let count = server.metrics()?.sum(AWAKE);
        if is_reached(count) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{count} instances awake after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
