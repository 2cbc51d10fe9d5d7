//! The binary in a directory of its own, started as often as a test wants with other manifests.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use dormouse_interop::http;
use dormouse_interop::process::Running;
pub(crate) use dormouse_interop::process::lasting_port;
use tempfile::TempDir;

use crate::client::Client;

/// Longest wait for the process to say or do something.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Retries that fit into a test.
const SETTINGS: [&str; 4] =
    ["--set", "limits.retry-delay-min=50ms", "--set", "limits.retry-delay-max=200ms"];

pub(crate) struct Application {
    directory: TempDir,
    pub(crate) ingress: u16,
    pub(crate) egress: u16,
    pub(crate) admin: u16,
    /// More fields of the ingress, each after a comma.
    pub(crate) ingress_fields: &'static str,
    running: Option<Running>,
}

impl Application {
    pub(crate) fn new() -> Result<Self> {
        let (ingress, egress, admin) = (lasting_port()?, lasting_port()?, lasting_port()?);
        let directory = TempDir::new()?;
        Ok(Self { directory, ingress, egress, admin, ingress_fields: "", running: None })
    }

    /// The document of the HTTP ingress; every manifest here begins with it.
    pub(crate) fn ingress_document(&self) -> String {
        let (port, more) = (self.ingress, self.ingress_fields);
        format!("kind: dormouse.http.v1/ingress\nspec: {{listen: \"127.0.0.1:{port}\"{more}}}\n")
    }

    /// The document of the playground's egress.
    pub(crate) fn egress_document(&self) -> String {
        let port = self.egress;
        format!(
            "---\nkind: io.statefun.playground.v1/egress\nspec: {{port: {port}, topics: [t]}}\n"
        )
    }

    /// Starts with the ingress and `documents`, and returns once it is ready.
    pub(crate) fn start(&mut self, documents: &str, more: &[&str]) -> Result<()> {
        let mut running = Running::start(&mut self.command(documents, more)?, &self.log())?;
        running.wait_for("/readyz answered 200", PATIENCE, || {
            let answer = http::request("GET", self.admin, "/readyz", &[], b"").ok()?;
            (answer.status == 200).then_some(())
        })?;
        self.running = Some(running);
        Ok(())
    }

    /// A start that has to be refused with exit code 1; what it printed.
    pub(crate) fn refused(&self, documents: &str) -> Result<String> {
        let output = self.command(documents, &[])?.output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "expected exit 1, got {output:?}");
        Ok(text)
    }

    fn command(&self, documents: &str, more: &[&str]) -> Result<Command> {
        let manifest = self.directory.path().join("module.yaml");
        fs::write(&manifest, self.ingress_document() + documents)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_puppet"));
        command
            .args(["run", "module.yaml", "--shards", "2"])
            .args(["--admin", &format!("127.0.0.1:{}", self.admin)])
            .args(SETTINGS)
            .args(more)
            .env_remove("DORMOUSE_LOG")
            .current_dir(self.directory.path());
        Ok(command)
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Everything that all its processes have printed.
    pub(crate) fn printed(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn tail(&self) -> String {
        self.running.as_ref().map(Running::log_tail).unwrap_or_default()
    }

    /// `dead-letters` with these arguments: exit code, and all that it prints.
    pub(crate) fn dead_letters(&self, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_puppet"));
        command.arg("dead-letters").args(arguments);
        let output = command.args(["--admin", &format!("127.0.0.1:{}", self.admin)]).output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8(text)?))
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        self.running.take().context("not running")?.kill()
    }

    /// SIGTERM; it has to end with code 0.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let mut running = self.running.take().context("not running")?;
        let status = running.terminate(PATIENCE)?;
        ensure!(status.success(), "after SIGTERM: {status}\n{}", running.log_tail());
        Ok(())
    }

    /// One request on a connection of its own.
    pub(crate) fn post(&self, path: &str, body: &str) -> Result<(u16, String)> {
        Client::open(self.ingress)?.post(path, body)
    }

    /// A message to a puppet, which has to be accepted.
    pub(crate) fn tell(&self, id: &str, line: &str) -> Result<()> {
        self.accepted(&format!("/sys/puppet/{id}"), line)
    }

    /// A message that has to be accepted.
    pub(crate) fn accepted(&self, path: &str, body: &str) -> Result<()> {
        let (status, text) = self.post(path, body)?;
        ensure!(status == 202, "POST {path}: expected 202, got {status} {text}");
        Ok(())
    }

    /// A request that has to be answered; the answer.
    pub(crate) fn ask(&self, path: &str, body: &str) -> Result<String> {
        let (status, text) = self.post(&format!("{path}?wait=15s"), body)?;
        ensure!(status == 200, "POST {path}: expected 200, got {status} {text}\n{}", self.tail());
        Ok(text)
    }

    /// A puppet's notes.
    pub(crate) fn notes(&self, id: &str) -> Result<Vec<String>> {
        let text = self.ask(&format!("/sys/puppet/{id}"), "list")?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Waits until `done` says so; an error of it, a process that ends, or too long a time are errors.
    pub(crate) fn wait_for(
        &mut self,
        what: &str,
        mut done: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        let mut running = self.running.take().context("not running")?;
        let outcome =
            running.wait_for(what, PATIENCE, || done(self).unwrap_or(false).then_some(()));
        let tail = running.log_tail();
        self.running = Some(running);
        if outcome.is_err()
            && let Err(error) = done(self)
        {
            bail!("{what}: {error:#}\n{tail}");
        }
        outcome
    }

    /// The sum of a metric over its labels.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let page = http::request("GET", self.admin, "/metrics", &[], b"")?;
        http::metric(page.text()?, name)
    }

    /// Peak resident memory in MiB.
    pub(crate) fn peak_mib(&self) -> Result<f64> {
        Ok(self.metric("dormouse_process_peak_resident_memory_bytes")? / f64::from(1 << 20))
    }
}
