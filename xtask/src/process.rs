//! Child processes: where they run, how a failure or a missing program is told.
//!
//! Every command of xtask goes through [`Command`], so that each one has the checkout as its working
//! directory unless another is named, no standard input, and an error that shows the command.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

/// The checkout in which xtask was built.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().context("xtask is not inside a checkout")?;
        if !root.join("Cargo.lock").is_file() {
            bail!(
                "{} holds no Cargo.lock: the checkout was moved, run `cargo clean -p xtask`",
                root.display()
            );
        }
        Ok(Self { root: root.to_owned() })
    }

    /// `target`, or what `CARGO_TARGET_DIR` says.
    pub(crate) fn target(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(directory) => self.root.join(directory),
            None => self.root.join("target"),
        }
    }

    /// Tools that xtask installs for itself.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target().join("tools")
    }
}

/// A command to run in the checkout.
#[derive(Debug)]
pub(crate) struct Command {
    inner: std::process::Command,
    shown: String,
    install: String,
}

/// `cargo`, the one that runs xtask.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(workspace, &program, "Rust: https://rustup.rs");
    command.shown = "cargo".to_owned();
    command
}

/// Runs one script with `bash`, stopping at its first failing command.
pub(crate) fn bash(workspace: &Workspace, script: &str) -> Command {
    let mut command = Command::new(workspace, "bash", "bash (apt-get install bash)");
    command.inner.args(["-euo", "pipefail", "-c", script]);
    command
}

impl Command {
    /// `install` says how to get the program if it is missing.
    pub(crate) fn new(workspace: &Workspace, program: impl AsRef<OsStr>, install: &str) -> Self {
        let mut inner = std::process::Command::new(program.as_ref());
        inner.current_dir(&workspace.root).stdin(Stdio::null());
        Self {
            inner,
            shown: program.as_ref().to_string_lossy().into_owned(),
            install: install.to_owned(),
        }
    }

    pub(crate) fn args<I, S>(mut self, arguments: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        for argument in arguments {
            let _ = write!(self.shown, " {}", argument.as_ref().to_string_lossy());
            self.inner.arg(argument);
        }
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(key, value);
        self
    }

    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.inner.current_dir(directory);
        self
    }

    /// Runs with the terminal's output; an error unless it exits with 0.
    pub(crate) fn run(mut self) -> Result<()> {
        let status = self.inner.status();
        let status = status.map_err(|error| self.not_started(&error))?;
        if !status.success() {
            bail!("`{}` failed: {status}", self.shown);
        }
        Ok(())
    }

    /// Runs and returns what it printed; standard error goes to the terminal.
    pub(crate) fn stdout(self) -> Result<String> {
        let shown = self.shown.clone();
        let output = self.output_with(Stdio::inherit())?;
        if !output.status.success() {
            bail!("`{shown}` failed: {}", output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed no UTF-8"))
    }

    /// Runs and returns status, output and errors, whatever they are.
    pub(crate) fn output(self) -> Result<std::process::Output> {
        self.output_with(Stdio::piped())
    }

    /// Starts it as a process group of its own, with all output going to `log`.
    pub(crate) fn spawn(mut self, log: std::fs::File) -> Result<std::process::Child> {
        use std::os::unix::process::CommandExt as _;
        self.inner.process_group(0).stderr(log.try_clone()?).stdout(log);
        let child = self.inner.spawn();
        child.map_err(|error| self.not_started(&error))
    }

    fn output_with(mut self, stderr: Stdio) -> Result<std::process::Output> {
        self.inner.stdout(Stdio::piped()).stderr(stderr);
        let output = self.inner.output();
        output.map_err(|error| self.not_started(&error))
    }

    fn not_started(&self, error: &std::io::Error) -> anyhow::Error {
        let program = self.inner.get_program().to_string_lossy();
        if error.kind() == std::io::ErrorKind::NotFound {
            anyhow::anyhow!("'{program}' is not installed; install {}", self.install)
        } else {
            anyhow::anyhow!("cannot start '{program}': {error}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_what_to_install() {
        let workspace = Workspace::find().unwrap();
        let command = Command::new(&workspace, "no-such-program", "the thing");
        assert_eq!(
            command.run().unwrap_err().to_string(),
            "'no-such-program' is not installed; install the thing"
        );
    }

    #[test]
    fn a_failing_script_stops_at_its_first_error_and_is_told() {
        let workspace = Workspace::find().unwrap();
        let output = bash(&workspace, "echo one; false; echo two").output();
        let output = output.unwrap();
        assert_eq!(output.stdout, b"one\n");
        assert!(!output.status.success());
        assert!(bash(&workspace, "exit 3").run().is_err());
    }
}
