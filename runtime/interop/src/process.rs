//! A process under test: its log, its signals, and that it is gone when the test is.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Pause between two looks at something that is awaited.
const POLL: Duration = Duration::from_millis(20);
/// Lines of a log that are shown with a failure.
const TAIL_LINES: usize = 40;

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `command` with all its output going to the end of `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot start '{program}'"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("cannot kill")?;
        self.child.wait().context("cannot wait")?;
        Ok(())
    }

    /// Sends a signal, such as `TERM` or `STOP`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let (signal, id) = (format!("-{name}"), self.child.id().to_string());
        run(Command::new("kill").args([&signal, &id]), "procps").map(drop)
    }

    /// The status with which the process has ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// SIGTERM, and the status with which the process ends by itself.
    pub fn terminate(&mut self, time_max: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        let deadline = Instant::now() + time_max;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("still running {} s after SIGTERM\n{}", time_max.as_secs(), self.log_tail());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until `done` answers something. A process that ends meanwhile is an error, as is
    /// `time_max`.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        time_max: Duration,
        mut done: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + time_max;
        loop {
            if let Some(value) = done() {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("ended ({status}) before {what}\n{}", self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("waited {} s for {what}\n{}", time_max.as_secs(), self.log_tail());
            }
            std::thread::sleep(POLL);
        }
    }

    /// The end of what the process has written.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("--- {}\n{}", self.log.display(), tail.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is what is wanted.
        let _ = self.kill();
    }
}

/// Runs a command to its end; an error shows what it printed, or names what to install.
pub fn run(command: &mut Command, install: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("'{program}' is not installed; install {install}")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot start '{program}'")),
    };
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed: {}\n{printed}{errors}", output.status);
    }
    Ok(printed)
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

/// A port for a process that will be started more than once. Not one that the kernel gives to
/// outgoing connections: between two starts one of those could take it.
pub fn lasting_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes beside this one begin elsewhere.
    let first = (std::process::id() % 1_000) as u16 * 20;
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        ensure!(number < 10_000, "no port is free");
        let port = 10_000 + (first + number) % 20_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
}
