//! The four SDKs: where the functions are, how their packages are installed, how they are started.
//!
//! Everything happens in a copy below `target/interop`, from the language's own registry, once: it is
//! repeated when a file that names the packages has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::process::run;

/// A language with an official SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Python,
    JavaScript,
    Go,
    Java,
}

impl Language {
    /// The functions' directory, from the root of the checkout.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Self::Python => "examples/greeter-python",
            Self::JavaScript => "runtime/interop/functions/javascript",
            Self::Go => "runtime/interop/functions/go",
            Self::Java => "runtime/interop/functions/java",
        }
    }

    /// Scheme, host and port of the endpoint in the module file.
    #[must_use]
    pub fn host_in_module(self) -> &'static str {
        match self {
            Self::Python => "http://127.0.0.1:8000",
            Self::JavaScript | Self::Go => "http://functions:8000",
            Self::Java => "http://greeter-functions:1108",
        }
    }

    /// Path of the endpoint.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Java => "/",
            _ => "/statefun",
        }
    }

    fn needs(self) -> &'static str {
        match self {
            Self::Python => "Python 3.11 or newer with venv (apt-get install python3-venv)",
            Self::JavaScript => "Node.js 20 with npm (apt-get install nodejs npm)",
            Self::Go => "Go 1.24 or newer (https://go.dev/dl)",
            Self::Java => "Java 17 and Maven (apt-get install maven default-jdk-headless)",
        }
    }

    fn package_files(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["requirements.txt"],
            Self::JavaScript => &["package.json", "package-lock.json"],
            Self::Go => &["go.mod", "go.sum"],
            Self::Java => &["pom.xml"],
        }
    }

    fn install(self, directory: &Path) -> Result<()> {
        let commands: &[&[&str]] = match self {
            Self::Python => &[
                &["python3", "-m", "venv", "--clear", ".venv"],
                &[".venv/bin/pip", "install", "--quiet", "--no-deps", "-r", "requirements.txt"],
            ],
            Self::JavaScript => &[&["npm", "ci", "--no-audit", "--no-fund"]],
            Self::Go => &[&["go", "mod", "download"]],
            Self::Java => &[&["mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies"]],
        };
        self.run_all(commands, directory)
    }

    /// What is compiled at each start; the tools themselves know when there is nothing to do.
    fn build(self, directory: &Path) -> Result<()> {
        let commands: &[&[&str]] = match self {
            Self::Python | Self::JavaScript => &[],
            Self::Go => &[&["go", "build", "-o", "server", "."]],
            Self::Java => &[&["mvn", "--quiet", "--batch-mode", "compile"]],
        };
        self.run_all(commands, directory)
    }

    fn run_all(self, commands: &[&[&str]], directory: &Path) -> Result<()> {
        for command in commands {
            let Some((program, arguments)) = command.split_first() else { continue };
            let program = match program.strip_prefix(".venv") {
                Some(_) => directory.join(program),
                None => PathBuf::from(program),
            };
            let mut command = Command::new(program);
            run(command.args(arguments).current_dir(directory), self.needs())?;
        }
        Ok(())
    }

    fn start(self, directory: &Path) -> Command {
        let (program, arguments): (PathBuf, &[&str]) = match self {
            Self::Python => (directory.join(".venv/bin/python"), &["functions.py"]),
            Self::JavaScript => ("node".into(), &["server.js"]),
            Self::Go => (directory.join("server"), &[]),
            Self::Java => {
                ("java".into(), &["-cp", "target/classes:target/dependency/*", "greeter.Greeter"])
            }
        };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(directory);
        command
    }
}

/// Installs what `language` needs; the command that starts its functions reads `PORT`.
pub fn functions(language: Language) -> Result<Command> {
    // Two tests of one process may want the same language.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);

    let source = checkout().join(language.source());
    let directory = target().join(format!("interop/{language:?}").to_lowercase());
    copy(&source, &directory)?;
    let mut wanted = String::new();
    for name in language.package_files() {
        wanted += &fs::read_to_string(source.join(name))
            .with_context(|| format!("cannot read {}/{name}", language.source()))?;
    }
    // Written last: an interrupted installation is begun again.
    let installed = directory.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|present| present == wanted) {
        language.build(&directory)?;
        return Ok(language.start(&directory));
    }
    language.install(&directory).with_context(|| format!("packages of {language:?}"))?;
    fs::write(&installed, wanted).context("cannot finish the installation")?;
    language.build(&directory)?;
    Ok(language.start(&directory))
}

/// The root of the checkout.
#[must_use]
pub fn checkout() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).map_or_else(|| package.to_owned(), Path::to_owned)
}

/// `target`, or what `CARGO_TARGET_DIR` says.
#[must_use]
pub fn target() -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR");
    checkout().join(chosen.unwrap_or_else(|| "target".into()))
}

/// Copies what differs, leaving out what running the example left there.
fn copy(from: &Path, to: &Path) -> Result<()> {
    const LEFT: [&str; 5] = [".venv", ".dormouse", "__pycache__", "node_modules", "target"];
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if LEFT.iter().any(|left| entry.file_name() == *left) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
            continue;
        }
        let wanted = fs::read(entry.path())?;
        if fs::read(&target).is_ok_and(|present| present == wanted) {
            continue;
        }
        fs::write(&target, wanted).with_context(|| format!("cannot write {}", target.display()))?;
    }
    Ok(())
}
