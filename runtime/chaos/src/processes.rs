//! The two processes that are hurt: the application, on the disk that can break, and the endpoint that it
//! calls. An end that was not asked for, or that is not explained in one line, is an error.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use dormouse_chaos::actor::TOPIC;
use dormouse_chaos::order::REMOTE;
use dormouse_interop::http;
use dormouse_interop::process::Running;

/// How long a start, a stop, or an end after a failed write may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Longest time until it notices what became of its disk: it goes on with the room that its log has taken
/// already, megabytes that a starved machine takes minutes to fill.
const PATIENCE_FULL: Duration = Duration::from_secs(600);

/// Pause between two looks at a process.
const POLL: Duration = Duration::from_millis(10);

/// The application.
#[derive(Debug)]
pub(crate) struct Application {
    directory: PathBuf,
    data: PathBuf,
    pub(crate) ports: Ports,
    running: Option<Running>,
    /// Length of the log when the process was started.
    log_from: usize,
}

/// Where everything listens, from start to start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) ingress: u16,
    pub(crate) egress: u16,
    pub(crate) admin: u16,
    pub(crate) endpoint: u16,
}

/// The endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    directory: PathBuf,
    port: u16,
    running: Option<Running>,
}

impl Ports {
    /// Ports that no outgoing connection is given between two starts.
    pub(crate) fn choose() -> Result<Self> {
        let mut ports = Vec::new();
        let mut port = 10_000 + (std::process::id() % 2_000) as u16 * 8;
        while ports.len() < 4 {
            ensure!(port < 32_000, "no port between 10000 and 32000 is free");
            if std::net::TcpListener::bind(("0.0.0.0", port)).is_ok() {
                ports.push(port);
            }
            port += 1;
        }
        Ok(Self { ingress: ports[0], egress: ports[1], admin: ports[2], endpoint: ports[3] })
    }
}

impl Application {
    /// `directory` gets manifest and log, `data` the state.
    pub(crate) fn new(directory: PathBuf, data: PathBuf, ports: Ports) -> Result<Self> {
        let Ports { ingress, egress, endpoint, .. } = ports;
        let manifest = format!(
            "kind: dormouse.http.v1/ingress\nspec: {{listen: \"127.0.0.1:{ingress}\"}}\n---\n\
             kind: io.statefun.playground.v1/egress\nspec: {{port: {egress}, topics: [{TOPIC}]}}\n---\n\
             kind: io.statefun.endpoints.v2/http\nspec:\n  functions: {REMOTE}\n  \
             urlPathTemplate: http://127.0.0.1:{endpoint}/statefun\n  transport: {{call: 1500ms}}\n"
        );
        fs::write(directory.join("module.yaml"), manifest)?;
        Ok(Self { directory, data, ports, running: None, log_from: 0 })
    }

    /// Starts it with these settings, and does not wait until it serves.
    pub(crate) fn spawn(&mut self, settings: &[String]) -> Result<()> {
        let mut command = lasting_as_long_as_we("chaos-application")?;
        command.args(["run", "module.yaml", "--admin"]);
        command.arg(format!("127.0.0.1:{}", self.ports.admin)).arg("--data").arg(&self.data);
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        command.current_dir(&self.directory).env_remove("DORMOUSE_LOG");
        self.log_from = self.log()?.len();
        self.running = Some(Running::start(&mut command, &self.log_path())?);
        Ok(())
    }

    /// Waits until it serves.
    pub(crate) fn await_ready(&mut self) -> Result<()> {
        let running = self.running.as_mut().context("the application was not started")?;
        running.wait_for("/readyz answered 200", PATIENCE, || {
            let answer = http::request("GET", self.ports.admin, "/readyz", &[], b"").ok()?;
            (answer.status == 200).then_some(())
        })
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.check()?;
        self.running.take().context("the application was not started")?.kill()
    }

    /// SIGTERM; it has to end with code 0.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let mut running = self.running.take().context("the application was not started")?;
        let status = running.terminate(PATIENCE)?;
        ensure!(status.success(), "after SIGTERM: {status}\n{}", running.log_tail());
        Ok(())
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal(&mut self, name: &str) -> Result<()> {
        self.check()?;
        self.running.as_ref().context("the application was not started")?.signal(name)
    }

    /// An error when it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(running) = &mut self.running
            && let Some(status) = running.ended()?
        {
            bail!("the application ended by itself: {status}\n{}", running.log_tail());
        }
        Ok(())
    }

    /// Waits until it ends by itself, doing `meanwhile` again and again. It has to exit with code 1 and
    /// one line that says one of `why`. With `may_serve` it may serve instead, and is killed: false then.
    pub(crate) fn fails_with(
        &mut self,
        why: &[&str],
        may_serve: bool,
        mut meanwhile: impl FnMut() -> Result<()>,
    ) -> Result<bool> {
        let mut running = self.running.take().context("the application was not started")?;
        let deadline = Instant::now() + PATIENCE_FULL;
        let status = loop {
            if let Some(status) = running.ended()? {
                break status;
            }
            let asked = http::request("GET", self.ports.admin, "/readyz", &[], b"");
            if may_serve && asked.is_ok_and(|answer| answer.status == 200) {
                running.kill()?;
                return Ok(false);
            }
            if Instant::now() > deadline {
                bail!("still running after {PATIENCE_FULL:?} of {why:?}\n{}", running.log_tail());
            }
            meanwhile()?;
            std::thread::sleep(POLL);
        };
        let log = self.log()?;
        let log = log.get(self.log_from..).unwrap_or_default();
        let errors: Vec<&str> = log.lines().filter(|line| line.starts_with("error: ")).collect();
        ensure!(
            status.code() == Some(1)
                && errors.len() == 1
                && why.iter().any(|why| errors[0].contains(why)),
            "expected exit code 1 and one line with one of {why:?}, got {status}\n{}",
            running.log_tail()
        );
        Ok(true)
    }

    /// The sum of a metric over its labels.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let page = http::request("GET", self.ports.admin, "/metrics", &[], b"")?;
        let mut values = Vec::new();
        for line in page.text()?.lines() {
            if line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) {
                let (_, value) = line.rsplit_once(' ').context("a metric without a value")?;
                values.push(value.parse::<f64>()?);
            }
        }
        ensure!(!values.is_empty(), "there is no metric {name}");
        Ok(values.iter().sum())
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("application.log")
    }

    fn log(&self) -> Result<String> {
        match fs::read(self.log_path()) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error).context("cannot read the application's log"),
        }
    }
}

impl Endpoint {
    pub(crate) fn new(directory: PathBuf, port: u16) -> Self {
        Self { directory, port, running: None }
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(&mut self) -> Result<()> {
        let mut command = lasting_as_long_as_we("chaos-endpoint")?;
        command.arg(self.port.to_string());
        let mut running = Running::start(&mut command, &self.directory.join("endpoint.log"))?;
        running.wait_for("it listens", PATIENCE, || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        })?;
        self.running = Some(running);
        Ok(())
    }

    /// SIGKILL: it vanishes, with all calls under way.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.running.take().context("the endpoint was not started")?.kill()
    }

    /// SIGSTOP (it takes connections and answers nothing) or SIGCONT.
    pub(crate) fn signal(&mut self, name: &str) -> Result<()> {
        self.running.as_ref().context("the endpoint was not started")?.signal(name)
    }
}

/// A program beside this one, killed by the kernel when the thread that starts it ends: also a paused one
/// does not outlive a run that is interrupted.
fn lasting_as_long_as_we(program: &str) -> Result<Command> {
    let path = std::env::current_exe()?.with_file_name(program);
    ensure!(path.is_file(), "{} is missing: run `cargo xtask chaos`", path.display());
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(path);
    Ok(command)
}
