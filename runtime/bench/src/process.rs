//! A measured process: this binary in another role, or one of the project's. What it uses is read
//! from `/proc`, so that a row's processor time and memory are those of the server alone.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// The line with which a process says that it serves.
pub(crate) const READY: &str = "ready";

/// How long a process may take until it is ready, or until it has stopped.
const PATIENCE: Duration = Duration::from_secs(60);

/// Processor time is counted in ticks: 100 a second on every Linux that cargo runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Children that run, by process id.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// A child process, stopped when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    /// What it printed up to its line `ready`.
    pub(crate) banner: Vec<String>,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time of all its threads.
    pub(crate) cpu_seconds: f64,
    /// Bytes that it caused to be written to a device.
    pub(crate) written_bytes: u64,
}

impl Process {
    /// Starts a process and waits until it serves.
    pub(crate) fn start(name: &str, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        running().insert(child.id());
        let stdout = child.stdout.take().context("no standard output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // Read to its end, so that the process never waits for a reader.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
        let mut process = Self { name: name.to_owned(), child, banner: Vec::new() };
        process.await_ready(&lines)?;
        Ok(process)
    }

    /// Starts a process that says nothing, and waits until it listens on this port of 127.0.0.1.
    pub(crate) fn start_listening(name: &str, mut command: Command, port: u16) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.spawn().with_context(|| format!("cannot start {name}"))?;
        running().insert(child.id());
        let banner = vec![format!("{name} http://127.0.0.1:{port}")];
        let mut process = Self { name: name.to_owned(), child, banner };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = process.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                bail!("{name} did not listen on port {port}: {ended:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(process)
    }

    fn await_ready(&mut self, lines: &Receiver<String>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) if line == READY => return Ok(()),
                Ok(line) => self.banner.push(line),
                Err(_) => bail!("{} was not ready: {:?}", self.name, self.child.try_wait()),
            }
        }
    }

    /// The address in the first line of the banner that begins with `what`.
    pub(crate) fn address(&self, what: &str) -> Result<String> {
        let line = self.banner.iter().find(|line| line.trim_start().starts_with(what));
        let address = line.and_then(|line| line.rsplit_once("http://")).map(|(_, address)| address);
        let address = address
            .with_context(|| format!("{} does not say where its {what} listens", self.name))?;
        Ok(address.trim_end_matches('/').to_owned())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        Self::usage_of(self.child.id()).with_context(|| self.name.clone())
    }

    /// What any process has used.
    pub(crate) fn usage_of(id: u32) -> Result<Usage> {
        let stat = proc(id, "stat")?;
        // The name in parentheses may hold anything; the fields after it are numbers.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
        let io = proc(id, "io").unwrap_or_default();
        Ok(Usage {
            cpu_seconds: ticks as f64 / TICKS_PER_SECOND,
            written_bytes: number(&io, "write_bytes:").unwrap_or(0),
        })
    }

    /// Resident memory at this moment, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// The highest resident memory since the start, or since [`Process::forget_peak`], in bytes.
    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    /// The peak counts from here on, where the kernel allows it.
    pub(crate) fn forget_peak(&self) {
        let path = format!("/proc/{}/clear_refs", self.child.id());
        drop(fs::write(Path::new(&path), "5"));
    }

    /// Asks the process to stop and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.end()?;
        if !status.success() {
            bail!("{} did not stop cleanly: {status}", self.name);
        }
        Ok(())
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn end(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        send(self.child.id(), Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    fn status(&self, field: &str) -> Result<u64> {
        let status = proc(self.child.id(), "status")?;
        let kilobytes = number(&status, field).with_context(|| format!("no {field}"))?;
        Ok(kilobytes * 1_024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.end().is_err() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        running().remove(&self.child.id());
    }
}

/// Ends all children at once: this process is about to end without having dropped them.
pub(crate) fn kill_all() {
    for id in running().iter() {
        send(*id, Signal::KILL);
    }
}

fn running() -> std::sync::MutexGuard<'static, BTreeSet<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child that has ended in the meantime needs no signal.
fn send(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

impl Usage {
    /// What was used from `self` to `later`.
    pub(crate) fn until(&self, later: &Self) -> Self {
        Self {
            cpu_seconds: later.cpu_seconds - self.cpu_seconds,
            written_bytes: later.written_bytes.saturating_sub(self.written_bytes),
        }
    }
}

fn proc(id: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{id}/{file}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// The first number of the line that begins with `field`.
fn number(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_measured_and_stopped() {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; \
                             echo 'ingress a http://127.0.0.1:8080'; echo ready; sleep 5",
        ]);
        let process = Process::start("sh", command).unwrap();
        assert_eq!(process.address("ingress").unwrap(), "127.0.0.1:8080");
        assert!(process.address("admin").is_err());
        assert!(process.usage().unwrap().cpu_seconds > 0.0);
        assert!(process.resident_bytes().unwrap() > 100_000);
        assert!(process.stop().unwrap_err().to_string().contains("did not stop cleanly"));
    }

    #[test]
    fn a_process_that_ends_is_not_ready() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no; exit 3"]);
        assert!(Process::start("sh", command).unwrap_err().to_string().contains("not ready"));
    }
}
