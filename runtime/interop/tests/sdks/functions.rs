//! A function server of one language: a process that tests start, kill and start again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use dormouse_interop::http;
use dormouse_interop::packages::{self, Language, Program};
use dormouse_interop::process::Running;
use dormouse_interop::wire;

/// A function server is there after so long, the Java one on a busy machine included.
const START_TIME_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Functions {
    language: Language,
    program: Program,
    port: u16,
    log: PathBuf,
    running: Running,
}

impl Functions {
    /// Starts a server, and returns once it answers.
    pub(crate) fn start(
        language: Language,
        program: Program,
        port: u16,
        log: &Path,
    ) -> Result<Self> {
        let log = log.to_owned();
        let running = server(language, program, port, &log)?;
        Ok(Self { language, program, port, log, running })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL: calls find nobody.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.running.kill()
    }

    /// A new process in the place of one that was killed.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.running = server(self.language, self.program, self.port, &self.log)?;
        Ok(())
    }

    pub(crate) fn log_tail(&self) -> String {
        self.running.log_tail()
    }
}

fn server(language: Language, program: Program, port: u16, log: &Path) -> Result<Running> {
    let mut command = packages::functions(language, program)?;
    let mut running = Running::start(command.env("PORT", port.to_string()), log)?;
    let what = format!("the {language:?} functions listened on port {port}");
    running.wait_for(&what, START_TIME_MAX, || {
        http::request("POST", port, language.path(), &[], &wire::greet_request(None)).ok()
    })?;
    Ok(running)
}
