//! Runs the blocks of one document in order and ends what they left running.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::docs::block::{Block, Mark, matches};
use crate::process::{Workspace, bash};

/// Longest run of one block: the first one builds everything in release.
const BLOCK_TIME_MAX: Duration = Duration::from_secs(20 * 60);
/// A background process that was asked to stop gets so long.
const STOP_TIME_MAX: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(50);

/// One document's commands: its directory and the processes still running for it.
#[derive(Debug)]
pub(super) struct Session<'a> {
    workspace: &'a Workspace,
    checkout: PathBuf,
    background: Vec<Child>,
}

impl<'a> Session<'a> {
    pub(super) fn new(workspace: &'a Workspace, checkout: &Path) -> Self {
        Self { workspace, checkout: checkout.to_owned(), background: Vec::new() }
    }

    pub(super) fn run(&mut self, block: &Block) -> Result<()> {
        match &block.mark {
            Mark::NotRun => Ok(()),
            Mark::Run { output } => self.foreground(block, output.as_deref()),
            Mark::Background { port } => self.background(block, *port),
        }
    }

    fn foreground(&self, block: &Block, expected: Option<&[String]>) -> Result<()> {
        let logs = self.logs()?;
        // Standard output goes to a file of its own: it is what the document shows.
        let printed = logs.join("stdout");
        let script = format!("exec >'{}'\n{}", printed.display(), block.script);
        let (mut child, log) = self.start(&script, &logs.join("stderr"))?;
        let deadline = Instant::now() + BLOCK_TIME_MAX;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                stop(self.workspace, &mut child);
                bail!("still running after {} s\n{}", BLOCK_TIME_MAX.as_secs(), tail(&log));
            }
            std::thread::sleep(POLL);
        };
        let printed = fs::read_to_string(&printed).unwrap_or_default();
        if !status.success() {
            bail!("{status}\n{}{}\n{printed}", tail(&log), block.script);
        }
        let lines: Vec<&str> = printed.trim_end().lines().collect();
        match expected {
            Some(expected) if !matches(expected, &lines) => {
                bail!("the document shows\n{}\nbut it printed\n{printed}", expected.join("\n"))
            }
            _ => Ok(()),
        }
    }

    fn background(&mut self, block: &Block, port: u16) -> Result<()> {
        if is_open(port) {
            bail!("port {port} is in use already: stop what listens there");
        }
        let name = format!("background-{port}");
        let (child, log) = self.start(&block.script, &self.logs()?.join(name))?;
        self.background.push(child);
        let deadline = Instant::now() + BLOCK_TIME_MAX;
        while !is_open(port) {
            let ended = match self.background.last_mut() {
                Some(child) => child.try_wait()?,
                None => None,
            };
            if let Some(status) = ended {
                bail!("ended before port {port} was open: {status}\n{}", tail(&log));
            }
            if Instant::now() > deadline {
                bail!(
                    "port {port} is not open after {} s\n{}",
                    BLOCK_TIME_MAX.as_secs(),
                    tail(&log)
                );
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn start(&self, script: &str, log: &Path) -> Result<(Child, PathBuf)> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = bash(self.workspace, script).directory(&self.checkout).spawn(file)?;
        Ok((child, log.to_owned()))
    }

    fn logs(&self) -> Result<PathBuf> {
        let logs = self.workspace.target().join("docs/logs");
        fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        Ok(logs)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        for child in self.background.iter_mut().rev() {
            stop(self.workspace, child);
        }
    }
}

/// Whether something accepts connections. A connection to a free port of the range from which the
/// system takes local ports can meet itself; that is nobody listening.
fn is_open(port: u16) -> bool {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    stream.is_ok_and(|s| s.local_addr().ok() != s.peer_addr().ok())
}

/// Asks the process group of `child` to stop, then ends it.
fn stop(workspace: &Workspace, child: &mut Child) {
    let deadline = Instant::now() + STOP_TIME_MAX;
    signal(workspace, "TERM", child.id());
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
        std::thread::sleep(POLL);
    }
    signal(workspace, "KILL", child.id());
    let _ = child.wait();
}

/// A group that is gone already is no error.
fn signal(workspace: &Workspace, name: &str, group: u32) {
    let _ = bash(workspace, &format!("kill -{name} -- -{group}")).output();
}

fn tail(log: &Path) -> String {
    const LINES: usize = 40;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LINES);
    lines[from..].iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docs::block;

    /// Runs a document in the checkout itself.
    fn run(text: &str) -> Result<()> {
        let workspace = Workspace::find().unwrap();
        let mut session = Session::new(&workspace, &workspace.root);
        block::parse(text).unwrap().iter().try_for_each(|block| session.run(block))
    }

    #[test]
    fn commands_must_succeed_and_print_what_is_shown() {
        run("```sh test\nls rustfmt.toml\n```\n```text output\nrustfmt.toml\n```\n").unwrap();
        run("```sh test\nls no-such-file\n```\n").unwrap_err();
        run("```sh test\nfalse\necho late\n```\n").unwrap_err();
        run("```sh test\necho a\n```\n```text output\nb\n```\n").unwrap_err();
    }

    #[test]
    fn a_server_is_awaited_and_ended_with_its_document() {
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let serve = format!("python3 -m http.server --bind 127.0.0.1 {port}");
        run(&format!(
            "```sh test background port={port}\n{serve}\n```\n\
             ```sh test\ncurl -sf http://127.0.0.1:{port}/rustfmt.toml\n```\n\
             ```text output\nmax_width = 100\n...\n```\n"
        ))
        .unwrap();
        assert!(!is_open(port));
        let error = run(&format!("```sh test background port={port}\nexit 3\n```\n")).unwrap_err();
        assert!(error.to_string().starts_with("ended before port"), "{error}");
    }
}
