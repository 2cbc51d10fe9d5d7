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

/// One document's commands: its directory and the process groups that may still run for it: blocks that
/// stay, and what blocks that have ended left behind with `&`. All end with the document, whatever way
/// that ends.
#[derive(Debug)]
pub(super) struct Session<'a> {
    workspace: &'a Workspace,
    checkout: PathBuf,
    groups: Vec<Child>,
}

impl<'a> Session<'a> {
    pub(super) fn new(workspace: &'a Workspace, checkout: &Path) -> Self {
        Self { workspace, checkout: checkout.to_owned(), groups: Vec::new() }
    }

    pub(super) fn run(&mut self, block: &Block) -> Result<()> {
        match &block.mark {
            Mark::NotRun => Ok(()),
            Mark::Run { output } => self.foreground(block, output.as_deref()),
            Mark::Background { port } => self.background(block, *port),
        }
    }

    fn foreground(&mut self, block: &Block, expected: Option<&[String]>) -> Result<()> {
        let logs = self.logs()?;
        // Standard output goes to a file of its own: it is what the document shows.
        let printed = logs.join("stdout");
        let script = format!("exec >'{}'\n{}", printed.display(), block.script);
        let (child, log) = self.start(&script, &logs.join("stderr"))?;
        let deadline = Instant::now() + BLOCK_TIME_MAX;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
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
        let deadline = Instant::now() + BLOCK_TIME_MAX;
        while !is_open(port) {
            if let Some(status) = child.try_wait()? {
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

    /// Starts a process group, which is ended with the session.
    fn start(&mut self, script: &str, log: &Path) -> Result<(&mut Child, PathBuf)> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = bash(self.workspace, script).directory(&self.checkout).spawn(file)?;
        Ok((self.groups.push_mut(child), log.to_owned()))
    }

    fn logs(&self) -> Result<PathBuf> {
        let logs = self.workspace.target().join("docs/logs");
        fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        Ok(logs)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        for child in self.groups.iter_mut().rev() {
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

/// Asks the process group of `child` to stop, and ends it when it does not. The child may have ended
/// before others of its group.
fn stop(workspace: &Workspace, child: &mut Child) {
    let group = child.id();
    if is_alive(group) {
        signal(workspace, "TERM", group);
    }
    let deadline = Instant::now() + STOP_TIME_MAX;
    while is_alive(group) && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
    if is_alive(group) {
        signal(workspace, "KILL", group);
    }
    let _ = child.wait();
}

/// A group that is gone already is no error.
fn signal(workspace: &Workspace, name: &str, group: u32) {
    let _ = bash(workspace, &format!("kill -{name} -- -{group}")).output();
}

/// Whether a process of the group runs. One that has ended and that nobody has waited for does not.
fn is_alive(group: u32) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut stats = processes.filter_map(|p| fs::read_to_string(p.path().join("stat")).ok());
    stats.any(|stat| {
        // After the name, which may hold anything: state, parent, group.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let fields: Vec<&str> = fields.split(' ').take(3).collect();
        matches!(fields[..], [state, _, of] if state != "Z" && of.parse() == Ok(group))
    })
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
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::docs::block;

    /// Sessions write to the same logs.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    /// Runs a document in the checkout itself.
    fn run(text: &str) -> Result<()> {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Runs a block that leaves a job behind; answers whether it succeeded. The job has to be gone.
    fn leaves_a_job(name: &str, mark: &str, last: &str) -> bool {
        let workspace = Workspace::find().unwrap();
        let logs = Session::new(&workspace, &workspace.root).logs().unwrap();
        let file = logs.join(format!("job-{name}"));
        let job = format!("sleep 1000 & echo $! >'{}'", file.display());
        let ran = run(&format!("```sh {mark}\n{job}\n{last}\n```\n")).is_ok();
        let id = fs::read_to_string(&file).unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{name}: it still runs: {stat}");
        ran
    }

    #[test]
    fn jobs_that_a_block_leaves_behind_end_with_the_document() {
        assert!(leaves_a_job("succeeds", "test", "true"));
        assert!(!leaves_a_job("fails", "test", "false"));
        assert!(!leaves_a_job("prints", "test", "echo a\n```\n```text output\nb"));
        assert!(!leaves_a_job("serves", "test background port=1", "exit 3"));
        let panicking = std::panic::catch_unwind(|| {
            let workspace = Workspace::find().unwrap();
            let mut session = Session::new(&workspace, &workspace.root);
            let log = session.logs().unwrap().join("panics");
            let (child, _) = session.start("sleep 1000", &log).unwrap();
            std::panic::resume_unwind(Box::new(child.id()));
        });
        assert!(!is_alive(*panicking.unwrap_err().downcast().unwrap()));
    }
}
