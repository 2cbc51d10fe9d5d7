//! The benchmarks by name, and what they share: durations, directories, raw limits measured beside
//! them, and the rows found so far.

pub(crate) mod counter;
pub(crate) mod hot_key;
pub(crate) mod http;
pub(crate) mod memory;
pub(crate) mod raw;
pub(crate) mod remote;
pub(crate) mod ring;
pub(crate) mod timers;

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
}

/// All of them, in the order in which they run.
pub(crate) const BENCHMARKS: &[Benchmark] = &[
    benchmark("counter", "keyed counter in-process, messages from inside", counter::run),
    benchmark("hot-key", "one key: in-process, and remote over HTTP", hot_key::run),
    benchmark("ring", "rings of ten in-process functions", ring::run),
    benchmark("http", "durable request-reply over HTTP, in-process function", http::run),
    benchmark("remote", "durable request-reply over HTTP, remote Rust function", remote::run),
    benchmark("memory", "idle memory, start, memory of awake and sleeping instances", memory::run),
    benchmark(
        "timers",
        "ten million delayed messages pending: lateness, memory, restart",
        timers::run,
    ),
    // Last: what other rows have measured beside themselves is not measured again.
    benchmark("raw", "the disk, bare HTTP servers, bare loops: what the machine can do", raw::run),
];

const fn benchmark(
    name: &'static str,
    summary: &'static str,
    run: fn(&mut Bench) -> Result<()>,
) -> Benchmark {
    Benchmark { name, summary, run }
}

/// One run of benchmarks.
#[derive(Debug)]
pub(crate) struct Bench {
    /// How long each figure is measured.
    pub(crate) measured: Duration,
    pub(crate) rows: Vec<Row>,
    /// Data of servers; removed at the end.
    directory: TempDir,
    servers: usize,
    /// Whether the project's binaries are built.
    is_built: bool,
}

impl Bench {
    /// Data lies in the build directory: on the disk that the project is built on, and ignored by git.
    pub(crate) fn new(measured: Duration) -> Result<Self> {
        let parent = target_directory()?.join("bench");
        std::fs::create_dir_all(&parent)?;
        let directory = tempfile::Builder::new().prefix("run-").tempdir_in(&parent)?;
        Ok(Self { measured, rows: Vec::new(), directory, servers: 0, is_built: false })
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
        Server::start(&Setup {
            binary: own_binary()?,
            directory: &directory,
            manifest: http_ingress(),
            store,
            flags,
        })
    }

    /// One of the project's binaries, built as it is shipped.
    pub(crate) fn project_binary(&mut self, name: &str) -> Result<PathBuf> {
        if !self.is_built {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let status = Command::new(cargo)
                .args(["build", "--release", "--locked", "-p", "dormouse", "-p", "greeter"])
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status()
                .context("cannot run cargo")?;
            ensure!(status.success(), "cargo could not build the project's binaries: {status}");
            self.is_built = true;
        }
        let path = target_directory()?.join("release").join(name);
        ensure!(path.is_file(), "{} is not there after the build", path.display());
        Ok(path)
    }

    /// This process's use of the processor, for bare loops that run in it.
    pub(crate) fn own_usage() -> Result<Usage> {
        Process::usage_of(std::process::id())
    }
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
