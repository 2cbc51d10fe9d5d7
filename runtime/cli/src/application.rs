//! A directory with a `Cargo.toml` is an application with functions in Rust: its binary is built
//! with cargo and takes the place of this process, with the same arguments. The binary has the same
//! command line; it knows itself by its name, or by what it was told when it was built.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::failure::Failure;
use crate::report;

/// Tells the built binary its own path, so that it does not build itself again.
const BUILT: &str = "DORMOUSE_BUILT";

/// Returns when this process is the right one to run these paths; else builds the application and
/// becomes it, and returns only if that fails.
pub(crate) fn become_if_needed(paths: &[PathBuf]) -> Result<(), Failure> {
    let Some(directory) = to_build(paths)? else {
        return Ok(());
    };
    let shown = directory.display();
    report::tell(format_args!("building {shown} (cargo build --release)"));
    let binary = build(&directory)?;
    report::tell(format_args!("running {}", binary.display()));
    let error = Command::new(&binary).args(env::args_os().skip(1)).env(BUILT, &binary).exec();
    let binary = binary.display();
    Err(Failure::Failed(format!("cannot start {binary}: {error}")))
}

/// The directory whose application is not this binary.
fn to_build(paths: &[PathBuf]) -> Result<Option<PathBuf>, Failure> {
    let here = [PathBuf::from(".")];
    let paths = if paths.is_empty() { &here } else { paths };
    let mut directories: Vec<&PathBuf> =
        paths.iter().filter(|path| path.join("Cargo.toml").is_file()).collect();
    directories.dedup();
    match directories[..] {
        [] => Ok(None),
        [directory] if is_own(directory) => Ok(None),
        [directory] => Ok(Some(directory.clone())),
        [one, other, ..] => Err(Failure::Input(format!(
            "{} and {} each hold an application with functions in Rust, and one process cannot be \
             both; start them separately, or name their manifests",
            one.display(),
            other.display()
        ))),
    }
}

/// Whether this process runs the application that `directory` holds.
fn is_own(directory: &Path) -> bool {
    let Ok(executable) = env::current_exe().and_then(fs::canonicalize) else {
        return false;
    };
    if env::var_os(BUILT).is_some_and(|built| Path::new(&built) == executable) {
        return true;
    }
    let text = fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
    let own = executable.file_name().and_then(|name| name.to_str());
    own.is_some_and(|own| binary_names(&text).iter().any(|name| name == own))
}

/// The names of the package and of its binaries, from a `Cargo.toml`. Read by hand: the binary must
/// know itself where no cargo is installed.
fn binary_names(cargo_toml: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut section = "";
    for line in cargo_toml.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section.starts_with("[package]") || section.starts_with("[[bin]]") {
            let value = line.split_once('=').filter(|(key, _)| key.trim() == "name");
            names.extend(value.and_then(|(_, value)| quoted(value)));
        }
    }
    names
}

fn quoted(value: &str) -> Option<String> {
    let value = value.trim();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value.split(quote).nth(1).map(str::to_owned)
}

/// Builds the application; cargo's own messages go to standard error as they come.
fn build(directory: &Path) -> Result<PathBuf, Failure> {
    let manifest = directory.join("Cargo.toml");
    let shown = manifest.display();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(cargo)
        .args(["build", "--release", "--message-format=json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(&manifest)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| {
            Failure::Failed(format!(
                "{shown}: this application is built with cargo, which cannot be started ({error}); \
                 install Rust from https://rustup.rs, or start the application's own binary"
            ))
        })?;
    let mut binaries = Vec::new();
    if let Some(messages) = child.stdout.take() {
        for line in BufReader::new(messages).lines().map_while(Result::ok) {
            binaries.extend(binary_of(&line, &manifest));
        }
    }
    let status =
        child.wait().map_err(|error| Failure::Failed(format!("{shown}: cargo: {error}")))?;
    if !status.success() {
        return Err(Failure::Failed(format!("{shown}: cargo could not build it ({status})")));
    }
    choose(&shown.to_string(), binaries)
}

/// A binary of this package, from one line of cargo's messages.
fn binary_of(message: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let kinds = message.pointer("/target/kind")?.as_array()?;
    let of = Path::new(message.get("manifest_path")?.as_str()?);
    let is_ours = fs::canonicalize(of).ok()? == fs::canonicalize(manifest).ok()?;
    let is_binary = kinds.iter().any(|kind| kind == "bin");
    let executable = message.get("executable")?.as_str()?;
    (is_ours && is_binary).then(|| PathBuf::from(executable))
}

fn choose(package: &str, mut binaries: Vec<PathBuf>) -> Result<PathBuf, Failure> {
    if binaries.len() > 1 {
        let names: Vec<_> = binaries.iter().map(|b| b.display().to_string()).collect();
        return Err(Failure::Input(format!(
            "{package}: has several binaries; start the one that you mean: {}",
            names.join(", ")
        )));
    }
    let binary = binaries.pop().ok_or_else(|| {
        Failure::Input(format!(
            "{package}: has no binary; an application is a package with a `src/main.rs` that calls \
             `dormouse::main()`"
        ))
    })?;
    let found = fs::canonicalize(&binary);
    found.map_err(|error| Failure::Failed(format!("{}: {error}", binary.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_a_cargo_toml() {
        let text = "[package]\nname = \"shop\" # the shop\nedition = \"2024\"\n\n[[bin]]\n\
                    name = 'till'\n\n[dependencies]\nname = \"other\"\n";
        assert_eq!(binary_names(text), ["shop", "till"]);
        assert!(binary_names("[workspace]\nmembers = []\n").is_empty());
    }

    #[test]
    fn several_binaries_or_none_are_refused() {
        let both = vec![PathBuf::from("a"), PathBuf::from("b")];
        assert!(choose("Cargo.toml", both).unwrap_err().to_string().contains("a, b"));
        assert!(choose("Cargo.toml", vec![]).unwrap_err().to_string().contains("no binary"));
    }
}
