//! The machine and the commit that figures belong to: a figure without them says nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Where and with what a run was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory: String,
    pub(crate) kernel: String,
    pub(crate) commit: String,
    pub(crate) command: String,
}

impl Facts {
    pub(crate) fn gather() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: field("/proc/cpuinfo", "model name"),
            memory: field("/proc/meminfo", "MemTotal"),
            kernel: read("/proc/sys/kernel/osrelease"),
            commit: commit(),
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        }
    }

    pub(crate) fn print(&self) {
        let Self { cores, processor, memory, kernel, commit, command } = self;
        println!("cores      {cores}");
        println!("processor  {processor}");
        println!("memory     {memory}");
        println!("kernel     {kernel}");
        println!("commit     {commit}");
        println!("arguments  {}", if command.is_empty() { "none" } else { command });
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// The value of the first line `name: value`.
fn field(path: &str, name: &str) -> String {
    let text = read(path);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    line.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

/// The commit of the checkout, and whether something in it is changed.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new("git").args(arguments).current_dir(directory).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit} with changes"),
    }
}
