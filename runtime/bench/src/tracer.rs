//! System calls of a process, counted by `strace` where it is installed. It slows the process down, so
//! what it counts is held against the commits of the same time and is in no other figure.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long it may take to attach to all threads.
const ATTACHING: Duration = Duration::from_millis(300);

/// A running `strace`.
#[derive(Debug)]
pub(crate) struct Tracer {
    child: Child,
    output: PathBuf,
}

impl Tracer {
    /// Attaches to a process; `None` where there is no `strace`.
    pub(crate) fn attach(id: u32, directory: &Path) -> Result<Option<Self>> {
        let output = directory.join("strace");
        let mut command = Command::new("strace");
        command.args(["-f", "-q", "-c", "-o"]).arg(&output).args(["-p", &id.to_string()]);
        let child = match command.stdin(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("cannot start strace"),
        };
        let mut tracer = Self { child, output };
        std::thread::sleep(ATTACHING);
        let ended = tracer.child.try_wait()?;
        ensure!(ended.is_none(), "strace could not attach to process {id}: {ended:?}");
        Ok(Some(tracer))
    }

    /// Detaches; answers how often each system call was made.
    pub(crate) fn detach(mut self) -> Result<Vec<(String, u64)>> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("strace has no process id")?, Signal::INT)?;
        self.child.wait()?;
        let summary = std::fs::read_to_string(&self.output).context("no summary of strace")?;
        let calls = calls(&summary);
        ensure!(!calls.is_empty(), "strace counted nothing: {summary}");
        Ok(calls)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It has ended unless something failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The lines of a summary, `% time, seconds, usecs/call, calls, errors (or nothing), name`.
fn calls(summary: &str) -> Vec<(String, u64)> {
    let lines = summary.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [share, _, _, calls, .., name] = fields[..] else { return None };
        share.parse::<f64>().ok()?;
        (name != "total").then(|| Some((name.to_owned(), calls.parse().ok()?)))?
    });
    let mut calls: Vec<(String, u64)> = lines.collect();
    calls.sort_unstable_by_key(|(_, calls)| std::cmp::Reverse(*calls));
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read() {
        let summary = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.94    0.001284           3       373           write
 20.00    0.000400           4       900        12 futex
------ ----------- ----------- --------- --------- ----------------
100.00    0.002073           3      1273        12 total
";
        assert_eq!(calls(summary), [("futex".to_owned(), 900), ("write".to_owned(), 373)]);
        assert_eq!(calls("strace: nothing"), []);
    }
}
