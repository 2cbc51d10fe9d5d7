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

/// What a function server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The greeter of the playground, in all languages.
    Greeter,
    /// The same, taking several calls in one request, in Python and JavaScript.
    GreeterTogether,
    /// The function that does what its message says, in all languages.
    Actor,
    /// The same, taking several calls in one request, in Python and JavaScript.
    ActorTogether,
    /// The playground's shopping cart, in Java.
    ShoppingCart,
    /// The playground's connected components, in Python.
    ConnectedComponents,
}

/// Where the functions of all languages are, from the root of the checkout.
pub const FUNCTIONS: &str = "runtime/interop/functions";

impl Language {
    /// The directory that names the packages, from the root of the checkout.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Self::Python => "examples/greeter-python",
            Self::JavaScript => "runtime/interop/functions/javascript",
            Self::Go => "runtime/interop/functions/go",
            Self::Java => "runtime/interop/functions/java",
        }
    }

    /// Scheme, host and port of the endpoint in the greeter's module file.
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
            Self::Go => &[&["go", "build", "-o", "bin/", "./greeter", "./actor"]],
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

    fn start(self, program: Program, directory: &Path) -> Command {
        let python = directory.join(".venv/bin/python");
        let (runs, arguments): (PathBuf, &[&str]) = match (self, program) {
            (Self::Python, Program::Greeter) => (python, &["functions.py"]),
            (Self::Python, Program::GreeterTogether) => (python, &["together.py"]),
            (Self::Python, Program::ConnectedComponents) => (python, &["components.py"]),
            (Self::Python, _) => (python, &["actor.py"]),
            (Self::JavaScript, Program::Greeter | Program::GreeterTogether) => {
                ("node".into(), &["server.js"])
            }
            (Self::JavaScript, _) => ("node".into(), &["actor.js"]),
            (Self::Go, Program::Greeter) => (directory.join("bin/greeter"), &[]),
            (Self::Go, _) => (directory.join("bin/actor"), &[]),
            (Self::Java, Program::Greeter) => ("java".into(), &["greeter.Greeter"]),
            (Self::Java, Program::ShoppingCart) => ("java".into(), &["cart.ShoppingCart"]),
            (Self::Java, _) => ("java".into(), &["actor.Actor"]),
        };
        let mut command = Command::new(runs);
        if self == Self::Java {
            command.args(["-cp", "target/classes:target/dependency/*"]);
        }
        command.args(arguments).current_dir(directory);
        if matches!(program, Program::GreeterTogether | Program::ActorTogether) {
            command.env("TOGETHER", "1");
        }
        command
    }
}

/// Installs what `language` needs, once per process; the command that starts a program of it reads
/// `PORT`.
pub fn functions(language: Language, program: Program) -> Result<Command> {
    static READY: Mutex<Vec<Language>> = Mutex::new(Vec::new());
    let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = target().join(format!("interop/{language:?}").to_lowercase());
    if !ready.contains(&language) {
        prepare(language, &directory)?;
        ready.push(language);
    }
    Ok(language.start(program, &directory))
}

fn prepare(language: Language, directory: &Path) -> Result<()> {
    let source = checkout().join(language.source());
    copy(&source, directory)?;
    if language == Language::Python {
        // The greeter is an example for users, the rest is not.
        copy(&checkout().join(FUNCTIONS).join("python"), directory)?;
    }
    match language {
        Language::Python => copy(&checkout().join("sdk/shims/python"), directory)?,
        Language::JavaScript => copy(&checkout().join("sdk/shims/javascript"), directory)?,
        Language::Go | Language::Java => {}
    }
    let mut wanted = String::new();
    for name in language.package_files() {
        wanted += &fs::read_to_string(source.join(name))
            .with_context(|| format!("cannot read {}/{name}", language.source()))?;
    }
    // Written last: an interrupted installation is begun again.
    let installed = directory.join("installed");
    if !fs::read_to_string(&installed).is_ok_and(|present| present == wanted) {
        language.install(directory).with_context(|| format!("packages of {language:?}"))?;
        fs::write(&installed, wanted).context("cannot finish the installation")?;
    }
    language.build(directory)
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
