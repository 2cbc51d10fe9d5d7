//! The benchmarks of the project. `cargo xtask bench [NAME...]` runs them; without a name all.
//!
//! Read in this order: `rows` (what is measured) → `server` and `process` (what is measured at)
//! → `load` (who asks) → `functions` (what runs inside) → `raw` (what the machine can do) →
//! `report`. The binary is its own server: started as `dormouse-bench run ...` it is an application
//! with the functions of the benchmarks, and `ROLE` starts bare servers.

pub mod allocations;
mod facts;
mod functions;
mod histogram;
mod load;
mod process;
mod raw;
mod report;
mod rows;
mod server;
mod tracer;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::facts::Facts;
use crate::process::READY;
use crate::raw::http::Service;
use crate::report::Report;
use crate::rows::{BENCHMARKS, Bench, Benchmark, Sizes};

/// First argument of a process that is something else than the program that measures.
const ROLE: &str = "--role";

/// Measures the runtime beside what the machine itself can do.
#[derive(Debug, Parser)]
#[command(name = "dormouse-bench", after_help = names())]
struct Arguments {
    /// Benchmarks to run [default: all but the long ones]
    names: Vec<String>,
    /// How long each figure is measured, in seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Instances of `scale` and `growth`
    #[arg(long, default_value_t = 10_000_000)]
    instances: u64,
    /// State of `restart`, in MB
    #[arg(long, default_value_t = 1_024)]
    state: u64,
    /// Writes everything that was found to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Shows each row as a multiple of the one in this file of an earlier run
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// Measures, or is a server, as the arguments of this process say.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["run", ..] => return dormouse::main(),
        [ROLE, role, ref rest @ ..] => play(role, rest),
        _ => measure(&Arguments::parse()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the benchmarks. One that fails does not keep the others from running.
fn measure(arguments: &Arguments) -> Result<()> {
    let chosen = choose(&arguments.names)?;
    // Read before anything is measured: a wrong name is found at once.
    let earlier = arguments.compare.as_deref().map(Report::read).transpose()?;
    let measured = Duration::try_from_secs_f64(arguments.seconds).context("--seconds")?;
    if measured < Duration::from_millis(100) {
        bail!("--seconds {}: expected at least 0.1", arguments.seconds);
    }
    raise_descriptors();
    let facts = Facts::gather();
    facts.print();
    if arguments.instances < 1_000 || arguments.state < 16 {
        bail!("expected at least --instances 1000 and --state 16");
    }
    let sizes = Sizes { instances: arguments.instances, state_bytes: arguments.state << 20 };
    let mut bench = Bench::new(measured, sizes)?;
    end_with_children(bench.directory())?;
    let mut failed = Vec::new();
    for benchmark in chosen {
        if let Err(error) = (benchmark.run)(&mut bench) {
            eprintln!("\n{} failed: {error:#}", benchmark.name);
            failed.push(benchmark.name);
        }
    }
    let report = Report { facts, rows: std::mem::take(&mut bench.rows) };
    println!("\n{}", report.table());
    if let Some(earlier) = earlier {
        println!("{}", report.compared_with(&earlier));
    }
    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed: {}", failed.join(", "))
}

/// When this program is told to stop, its servers and their data go with it.
fn end_with_children(data: &Path) -> Result<()> {
    let data = data.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = runtime.block_on(async {
        std::io::Result::Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    });
    let (mut terminate, mut interrupt) = signals?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        process::kill_all();
        drop(std::fs::remove_dir_all(&data));
        std::process::exit(130);
    });
    Ok(())
}

/// A thousand clients need more sockets than many shells allow; servers started from here inherit it.
fn raise_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where it may not be raised, a row that needs more says so when it cannot connect.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn choose(names: &[String]) -> Result<Vec<Benchmark>> {
    for name in names {
        if !BENCHMARKS.iter().any(|benchmark| benchmark.name == name) {
            let known: Vec<&str> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
            bail!("there is no benchmark `{name}`; there are {}", known.join(", "));
        }
    }
    let is_chosen = |b: &&Benchmark| match names {
        [] => !b.is_long,
        _ => names.iter().any(|name| name == b.name),
    };
    Ok(BENCHMARKS.iter().filter(is_chosen).copied().collect())
}

fn names() -> String {
    let line = |b: &Benchmark| {
        let when = if b.is_long { " (only when named: takes minutes)" } else { "" };
        format!("  {:<9} {}{when}", b.name, b.summary)
    };
    let lines = BENCHMARKS.iter().map(line);
    format!("Benchmarks:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// Serves as something that is measured, until SIGTERM.
fn play(role: &str, rest: &[&str]) -> Result<()> {
    match (role, rest) {
        ("echo", []) => raw::http::serve(Service::Echo),
        ("proxy", [backend]) => raw::http::serve(Service::Proxy(backend.parse()?)),
        ("functions", [name]) => serve_functions(name),
        _ => bail!("no role `{role}` with {} arguments", rest.len()),
    }
}

/// Serves a function over HTTP, as an application does that is called remotely.
fn serve_functions(name: &str) -> Result<()> {
    let functions = dormouse_serve::Functions::only(&[name])?;
    let listener = raw::http::listen()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(rows::SHARDS)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        println!("functions http://{}\n{READY}", listener.local_addr()?);
        let mut terminate = signal(SignalKind::terminate())?;
        let stopped = async move {
            terminate.recv().await;
        };
        dormouse_serve::serve_functions(listener, functions, stopped).await?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_choose_benchmarks() {
        assert!(choose(&[]).unwrap().iter().all(|b| !b.is_long));
        assert_eq!(choose(&["scale".to_owned()]).unwrap()[0].name, "scale");
        let chosen = choose(&["ring".to_owned(), "counter".to_owned()]).unwrap();
        assert_eq!(chosen.iter().map(|b| b.name).collect::<Vec<_>>(), ["counter", "ring"]);
        let unknown = choose(&["rings".to_owned()]).unwrap_err().to_string();
        assert!(unknown.starts_with("there is no benchmark `rings`; there are counter, "));
    }
}
