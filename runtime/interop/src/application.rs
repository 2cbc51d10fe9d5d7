//! One application under test: `dormouse` with a data directory of its own on free ports, driven through
//! the playground's ingress and egress. Who serves its functions is the test's matter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::http::{self, Answer};
use crate::packages;
use crate::process::{Running, lasting_port, run};
use crate::wire::request::Value;

/// `dormouse` is ready after so long, on a busy machine too.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Something that is on its way arrives within this time, retries of a failed call included.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(60);
/// `dormouse` ends so long after SIGTERM.
const STOP_TIME_MAX: Duration = Duration::from_secs(45);

/// The process and where it listens.
#[derive(Debug)]
pub struct Application {
    directory: PathBuf,
    ports: Ports,
    running: Option<Running>,
}

/// Where an application listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub ingress: u16,
    pub egress: u16,
    pub admin: u16,
}

impl Application {
    /// An application that is not started; `name` tells the data directories of tests apart.
    pub fn new(name: &str) -> Result<Self> {
        let directory = packages::target().join("interop/run").join(name);
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot empty {}", directory.display()))?;
        }
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let ports =
            Ports { ingress: lasting_port()?, egress: lasting_port()?, admin: lasting_port()? };
        Ok(Self { directory, ports, running: None })
    }

    /// Where its files are: `module.yaml`, `dormouse.log`, the data, and what the test adds.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    #[must_use]
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Starts `dormouse run` with this manifest, whose playground has the ports 8090 and 8091, and
    /// returns once it is ready.
    pub fn start_with(&mut self, manifest: &str) -> Result<()> {
        let manifest = changed(
            manifest,
            &[
                ("port: 8090", &format!("port: {}", self.ports.ingress)),
                ("port: 8091", &format!("port: {}", self.ports.egress)),
            ],
        )?;
        fs::write(self.directory.join("module.yaml"), manifest)
            .context("cannot write module.yaml")?;
        self.start()
    }

    /// Starts it again, with the manifest that it had.
    pub fn start(&mut self) -> Result<()> {
        let admin = self.ports.admin;
        let mut command = Command::new(binary()?);
        command
            .args(["run", "module.yaml", "--data", "data", "--shards", "2"])
            .args(["--admin", &format!("127.0.0.1:{admin}")])
            // Retries that fit into a test.
            .args(["--set", "limits.retry-delay-min=50ms"])
            .args(["--set", "limits.retry-delay-max=500ms"])
            .env_remove("DORMOUSE_LOG")
            .current_dir(&self.directory);
        let mut running = Running::start(&mut command, &self.directory.join("dormouse.log"))?;
        running.wait_for("/readyz answered 200", START_TIME_MAX, || {
            let answer = http::request("GET", admin, "/readyz", &[], b"").ok()?;
            (answer.status == 200).then_some(())
        })?;
        self.running = Some(running);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.running.take().context("dormouse is not running")?.kill()
    }

    /// SIGTERM; it has to end with code 0.
    pub fn stop(&mut self) -> Result<()> {
        let mut running = self.running.take().context("dormouse is not running")?;
        let status = running.terminate(STOP_TIME_MAX)?;
        if !status.success() {
            bail!("after SIGTERM: {status}\n{}", running.log_tail());
        }
        Ok(())
    }

    /// Sends messages to itself; may be used from another thread.
    #[must_use]
    pub fn sender(&self) -> Sender {
        Sender { ingress: self.ports.ingress }
    }

    /// A text to `namespace/name/id`, which has to be accepted.
    pub fn tell(&self, target: &str, text: &str) -> Result<()> {
        self.sender().accepted(target, &Value::string(text))
    }

    /// The next record of a topic, once it is there.
    pub fn record(&mut self, topic: &str) -> Result<String> {
        let (egress, path) = (self.ports.egress, format!("/{topic}"));
        let running = self.running.as_mut().context("dormouse is not running")?;
        let answer = running.wait_for("a record came", ARRIVAL_TIME_MAX, || {
            let answer = http::request("GET", egress, &path, &[], b"").ok()?;
            (answer.status != 404).then_some(answer)
        })?;
        if answer.status != 200 {
            bail!("GET {path}: {} {:?}", answer.status, answer.text());
        }
        Ok(answer.text()?.to_owned())
    }

    /// What the egress answers right now.
    pub fn egress_answer(&self, path: &str) -> Result<Answer> {
        http::request("GET", self.ports.egress, path, &[], b"")
    }

    /// Waits until `done` says so.
    pub fn wait_for(
        &mut self,
        what: &str,
        mut done: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        let mut running = self.running.take().context("dormouse is not running")?;
        let outcome = running.wait_for(what, ARRIVAL_TIME_MAX, || {
            done(self).is_ok_and(|is_done| is_done).then_some(())
        });
        self.running = Some(running);
        outcome
    }

    /// The sum of a metric over its labels.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let page = http::request("GET", self.ports.admin, "/metrics", &[], b"")?;
        http::metric(page.text()?, name)
    }

    /// All dead letters, as the admin listener shows them.
    pub fn dead_letters(&self) -> Result<String> {
        let json = [("content-type", "application/json")];
        let answer = http::request("POST", self.ports.admin, "/dead-letters/list", &json, b"{}")?;
        ensure!(answer.status == 200, "{:?}", answer.text());
        Ok(answer.text()?.to_owned())
    }

    /// Waits for so many dead letters; what they say.
    pub fn given_up(&mut self, count: usize) -> Result<String> {
        self.wait_for(&format!("{count} dead letters"), |application| {
            Ok(application.metric("dormouse_dead_letters")? == count as f64)
        })?;
        self.dead_letters()
    }

    /// Everything that all its processes have printed.
    #[must_use]
    pub fn printed(&self) -> String {
        fs::read_to_string(self.directory.join("dormouse.log")).unwrap_or_default()
    }

    /// The end of its log, for the message of a failure.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.running.as_ref().map(Running::log_tail).unwrap_or_default()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        drop(self.running.take());
        // Tens of megabytes each; the logs stay. A directory that is gone already is no harm.
        drop(fs::remove_dir_all(self.directory.join("data")));
    }
}

/// Sends messages to an application's playground ingress.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    ingress: u16,
}

impl Sender {
    /// `curl -X PUT -H "Content-Type: application/vnd.TYPENAME" -d BODY localhost:8090/TARGET`
    pub fn put(self, target: &str, typename: &str, body: &[u8]) -> Result<Answer> {
        let content_type = format!("application/vnd.{typename}");
        let headers = [
            ("User-Agent", "curl/7.88.1"),
            ("Accept", "*/*"),
            ("Content-Type", content_type.as_str()),
        ];
        http::request("PUT", self.ingress, &format!("/{target}"), &headers, body)
    }

    /// A message that has to be accepted.
    pub fn accepted(self, target: &str, value: &Value) -> Result<()> {
        let answer = self.put(target, &value.typename, &value.bytes)?;
        ensure!(
            answer.status == 200 && answer.header("status") == Some("200"),
            "PUT {target}: {} {:?}",
            answer.status,
            answer.text()
        );
        Ok(())
    }
}

/// `text` with each of the changes made; what is changed has to be there once.
pub fn changed(text: &str, changes: &[(&str, &str)]) -> Result<String> {
    let mut text = text.to_owned();
    for (from, to) in changes {
        if text.matches(from).count() != 1 {
            bail!("expected '{from}' once in\n{text}");
        }
        text = text.replace(from, to);
    }
    Ok(text)
}

/// The binary: what `DORMOUSE_BINARY` names, else the one of this checkout, brought up to date once.
fn binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(binary) = std::env::var_os("DORMOUSE_BINARY") {
        return Ok(binary.into());
    }
    let built = BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build
            .args(["build", "--quiet", "--locked", "--package", "dormouse", "--bin", "dormouse"])
            .current_dir(packages::checkout());
        run(&mut build, "Rust: https://rustup.rs").map_err(|error| format!("{error:#}"))?;
        Ok(packages::target().join("debug/dormouse"))
    });
    built.clone().map_err(anyhow::Error::msg)
}
