//! A server under measurement: this binary with its functions, or one of the project's, run as a
//! user runs it (a manifest, a data directory, flags), seen only from outside: its listeners, its
//! metrics, and what the kernel tells of its process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::load::connection::{get, request};
use crate::process::Process;
use crate::rows::PARTITIONS;

/// How long messages under way may take to be finished.
const SETTLE: Duration = Duration::from_secs(60);

/// Metrics of the runtime; the names are part of its interface.
const BACKLOG: &str = "dormouse_backlog_messages";
const FAILURES: &str = "dormouse_invocation_failures_total";

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    /// Of its HTTP ingress.
    pub(crate) address: String,
    admin: String,
    data: PathBuf,
}

/// How a server is started.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) binary: PathBuf,
    /// Where the manifest and the data go; it is made.
    pub(crate) directory: &'a Path,
    pub(crate) manifest: String,
    pub(crate) store: &'a str,
    pub(crate) shards: usize,
    /// Further flags.
    pub(crate) flags: &'a [&'a str],
}

/// The metrics page, as it was at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(String);

/// A manifest with an HTTP ingress on a free port.
pub(crate) fn http_ingress() -> String {
    "kind: dormouse.http.v1/ingress\nspec:\n  id: bench/http\n  listen: 127.0.0.1:0\n".to_owned()
}

impl Server {
    pub(crate) fn start(setup: &Setup<'_>) -> Result<Self> {
        std::fs::create_dir_all(setup.directory)?;
        let manifest = setup.directory.join("module.yaml");
        std::fs::write(&manifest, &setup.manifest)?;
        let mut command = Command::new(&setup.binary);
        command.arg("run").arg(&manifest);
        let data = setup.directory.join("data");
        command.arg("--data").arg(&data);
        command.args([
            "--shards",
            &setup.shards.to_string(),
            "--partitions",
            &PARTITIONS.to_string(),
        ]);
        command.args(["--store", setup.store, "--admin", "127.0.0.1:0"]).args(setup.flags);
        let process = Process::start("the server", command)?;
        let address = process.address("ingress")?;
        let admin = process.address("admin")?;
        Ok(Self { process, address, admin, data })
    }

    pub(crate) fn metrics(&self) -> Result<Metrics> {
        get(&self.admin, "/metrics").map(Metrics)
    }

    /// Bytes of all files in its data directory.
    pub(crate) fn data_bytes(&self) -> Result<u64> {
        bytes_below(&self.data)
    }

    /// Sends a message of this type and waits until it is durable.
    pub(crate) fn send(&self, target: &str, id: &str, typename: &str, body: &[u8]) -> Result<()> {
        let (status, text) = self.post(&format!("/{target}/{id}"), typename, body)?;
        ensure!(status == 202, "{target} {id}: {status} {text}");
        Ok(())
    }

    /// Sends a message of this type and waits for the reply.
    pub(crate) fn ask(
        &self,
        target: &str,
        id: &str,
        typename: &str,
        body: &[u8],
    ) -> Result<String> {
        let (status, text) = self.post(&format!("/{target}/{id}?wait=30s"), typename, body)?;
        ensure!(status == 200, "{target} {id}: {status} {text}");
        Ok(text)
    }

    /// Asks for a reply that is a number.
    pub(crate) fn ask_number(&self, target: &str, id: &str, typename: &str) -> Result<u64> {
        let text = self.ask(target, id, typename, b"")?;
        text.trim().parse().with_context(|| format!("{target} {id}: `{text}` is no number"))
    }

    /// Waits until no message is left that is not finished.
    pub(crate) fn settle(&self) -> Result<Metrics> {
        let deadline = Instant::now() + SETTLE;
        let mut quiet = 0;
        loop {
            let metrics = self.metrics()?;
            // A message may be on its way between two shards, in neither's backlog: look twice.
            quiet = if metrics.sum(BACKLOG) == 0.0 { quiet + 1 } else { 0 };
            if quiet >= 3 {
                return Ok(metrics);
            }
            let left = metrics.sum(BACKLOG);
            ensure!(Instant::now() < deadline, "{left} messages are not finished after {SETTLE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it cleanly; an invocation that failed on the way is an error.
    pub(crate) fn stop(self) -> Result<()> {
        let failures = self.metrics()?.sum(FAILURES);
        ensure!(failures == 0.0, "{failures} invocations failed");
        self.process.stop()
    }

    fn post(&self, path: &str, typename: &str, body: &[u8]) -> Result<(u16, String)> {
        let length = body.len();
        let mut bytes = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/vnd.{typename}\r\ncontent-length: {length}\r\n\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        request(&self.address, &bytes)
    }
}

/// A file that is removed in the meantime counts for nothing.
fn bytes_below(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

impl Metrics {
    /// The sum of a metric over all its labels.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.lines(name).map(|(_, value)| value).sum()
    }

    /// Delayed messages that functions have sent.
    pub(crate) fn delayed(&self) -> u64 {
        let lines = self.lines("dormouse_effects_total");
        let delayed = lines.filter(|(labels, _)| labels.contains("kind=\"delayed\""));
        delayed.map(|(_, value)| value as u64).sum()
    }

    /// Messages that functions whose names begin like this were given.
    pub(crate) fn messages_of(&self, function: &str) -> u64 {
        let label = format!("{{function=\"{function}");
        let lines = self.lines("dormouse_function_messages_total");
        lines.filter(|(labels, _)| labels.starts_with(&label)).map(|(_, value)| value as u64).sum()
    }

    fn lines<'m>(&'m self, name: &'m str) -> impl Iterator<Item = (&'m str, f64)> {
        self.0.lines().filter_map(move |line| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            is_it.then(|| value.parse().ok())?.map(|value| (labels, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_name() {
        let page = "# TYPE a counter\na{shard=\"0\"} 3\na{shard=\"1\"} 4\na_b{shard=\"0\"} 100\n\
                    dormouse_function_messages_total{function=\"x/ring-1\"} 5\n\
                    dormouse_function_messages_total{function=\"x/ring-2\"} 6\nc 1.5\n";
        let metrics = Metrics(page.to_owned());
        assert_eq!(metrics.sum("a"), 7.0);
        assert_eq!(metrics.sum("c"), 1.5);
        assert_eq!(metrics.messages_of("x/ring-"), 11);
        assert_eq!(metrics.messages_of("x/ring-1"), 5);
    }
}
