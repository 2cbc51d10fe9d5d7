//! The benchmarks by name, and what they share: durations, directories, raw limits measured beside
//! them, and the rows found so far.

pub(crate) mod chain;
pub(crate) mod cost;
pub(crate) mod counter;
pub(crate) mod fan_out;
pub(crate) mod generators;
pub(crate) mod hot_key;
pub(crate) mod http;
pub(crate) mod memory;
pub(crate) mod raw;
pub(crate) mod remote;
pub(crate) mod restart;
pub(crate) mod ring;
pub(crate) mod scale;
pub(crate) mod sdk;
pub(crate) mod timers;
pub(crate) mod values;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::process::{Process, Usage};
use crate::report::Row;
use crate::server::{Server, Setup, http_ingress};

/// Shards of every server, and threads of everything that one is held against.
pub(crate) const SHARDS: usize = 2;

/// Partitions of every server.
pub(crate) const PARTITIONS: u16 = 128;

/// One benchmark: a name on the command line, and the rows that it adds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Benchmark {
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) run: fn(&mut Bench) -> Result<()>,
    /// Takes minutes, and runs only when it is named.
    pub(crate) is_long: bool,
}

/// All of them, in the order in which they run.
pub(crate) const BENCHMARKS: &[Benchmark] = &[
    benchmark("counter", "keyed counter in-process, messages from inside", counter::run),
    benchmark("hot-key", "one key: in-process, and remote over HTTP", hot_key::run),
    benchmark("ring", "rings of ten in-process functions", ring::run),
    benchmark("fan-out", "one in-process function that sends to many", fan_out::run),
    benchmark("values-4k", "values of 4 KB: what reaches the disk", values::run),
    benchmark("http", "durable request-reply over HTTP, in-process function", http::run),
    benchmark("remote", "durable request-reply over HTTP, remote Rust function", remote::run),
    benchmark("chain", "chains of ten functions, remote and in-process", chain::run),
    benchmark("memory", "idle memory, start, memory of awake and sleeping instances", memory::run),
    long("timers", "ten million delayed messages: lateness, memory, restart", timers::run),
    benchmark("cost", "allocations, system calls and bytes of a message", cost::run),
    long("sdk", "functions of the StateFun SDKs, beside what their servers can do", sdk::run),
    long("scale", "many more instances than fit into memory", scale::run),
    long("growth", "what a message costs with three times as many instances", scale::growth),
    long("restart", "kill -9 with much state and a full log, to the first answer", restart::run),
    // Last: what other rows have measured beside themselves is not measured again.
    benchmark("raw", "the disk, bare HTTP servers, bare loops: what the machine can do", raw::run),
];

const fn benchmark(
    name: &'static str,
    summary: &'static str,
    run: fn(&mut Bench) -> Result<()>,
) -> Benchmark {
    Benchmark { name, summary, run, is_long: false }
}

const fn long(
    name: &'static str,
    summary: &'static str,
    run: fn(&mut Bench) -> Result<()>,
) -> Benchmark {
    Benchmark { name, summary, run, is_long: true }
}

/// How large the long benchmarks are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Of `scale` and `growth`.
    pub(crate) instances: u64,
    /// Bytes of state of `restart`.
    pub(crate) state_bytes: u64,
}

/// One run of benchmarks.
#[derive(Debug)]
pub(crate) struct Bench {
    /// How long each figure is measured.
    pub(crate) measured: Duration,
    pub(crate) sizes: Sizes,
    pub(crate) rows: Vec<Row>,
    /// Data of servers; removed at the end.
    directory: TempDir,
    servers: usize,
}

impl Bench {
    /// Data lies in the build directory: on the disk that the project is built on, and ignored by git.
    pub(crate) fn new(measured: Duration, sizes: Sizes) -> Result<Self> {
        let parent = target_directory()?.join("bench");
        std::fs::create_dir_all(&parent)?;
        let directory = tempfile::Builder::new().prefix("run-").tempdir_in(&parent)?;
        Ok(Self { measured, sizes, rows: Vec::new(), directory, servers: 0 })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Prints and keeps a row.
    pub(crate) fn add(&mut self, row: Row) {
        row.print();
        self.rows.push(row);
    }

    /// A directory that no other server has had.
    pub(crate) fn new_directory(&mut self) -> PathBuf {
        self.servers += 1;
        self.directory.path().join(format!("server-{}", self.servers))
    }

    /// A server with the functions of the benchmarks and an HTTP ingress.
    pub(crate) fn start(&mut self, store: &str, flags: &[&str]) -> Result<Server> {
        let directory = self.new_directory();
        self.start_in(&directory, store, flags)
    }

    /// The same in a directory that may hold data of one before it.
    pub(crate) fn start_in(&self, directory: &Path, store: &str, flags: &[&str]) -> Result<Server> {
        Server::start(&Setup {
            binary: own_binary()?,
            directory,
            manifest: http_ingress(),
            store,
            shards: SHARDS,
            flags,
        })
    }

    /// This process's use of the processor, for bare loops that run in it.
    pub(crate) fn own_usage() -> Result<Usage> {
        Process::usage_of(std::process::id())
    }
}

/// One of the project's binaries, built as this program is: in release, but for its tests.
pub(crate) fn project_binary(package: &str, name: &str) -> Result<PathBuf> {
    let is_debug = cfg!(debug_assertions);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--package", package, "--bin", name])
        .args((!is_debug).then_some("--release"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo could not build {name}: {status}");
    let path = target_directory()?.join(if is_debug { "debug" } else { "release" }).join(name);
    ensure!(path.is_file(), "{} is not there after the build", path.display());
    Ok(path)
}

/// This binary in another role.
pub(crate) fn role(arguments: &[&str]) -> Result<Process> {
    let mut command = Command::new(own_binary()?);
    command.arg(crate::ROLE).args(arguments);
    Process::start(arguments.first().copied().unwrap_or("role"), command)
}

pub(crate) fn own_binary() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this program's file")
}

/// The directory that cargo built this binary in: above `release` or `debug`.
fn target_directory() -> Result<PathBuf> {
    let binary = own_binary()?;
    let found = binary.ancestors().find(|path| path.join("CACHEDIR.TAG").is_file());
    let found = found.context("this program does not lie in a build directory of cargo")?;
    Ok(found.to_owned())
}
