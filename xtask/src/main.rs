//! The project's own commands: `cargo xtask test`, `tidy`, `docs`, `k8s`, `sim`, `chaos`, `fuzz`,
//! `bench`.
//!
//! `test` is everything that CI runs, in one list (`steps.rs`). Nothing here is skipped when a
//! tool is missing: the command fails and names what to install.

mod docs;
mod files;
mod fuzz;
mod k8s;
mod markdown;
mod process;
mod steps;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::process::{Workspace, cargo};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--suite NAME]...        everything that CI runs, or only the named steps, in order
  tidy                          size, documentation and layering rules of the sources
  docs [FILE]...                run the commands that the documents show
  k8s                           render and check the Kubernetes files
  sim [--seeds N] [--seed S] [--with NAME=VALUE,..] [--trace]
                                simulate N schedules, the first with seed S
  chaos --minutes M [--seed S]  hurt an application under load, and check its accounts
  fuzz [--target NAME] [--seconds N] [--seed S] [--keep N]
                                feed parsers with inputs that nobody wrote
  bench [NAME] [ARGUMENT]...    build and run the benchmarks in release";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let workspace = Workspace::find()?;
    let Some((command, rest)) = arguments.split_first() else {
        bail!("no command given\n\n{USAGE}");
    };
    match command.as_str() {
        "test" => steps::test(&workspace, &suites(rest)?),
        "tidy" => no_arguments(rest).and_then(|()| tidy::run(&workspace)),
        "docs" => docs::run_only(&workspace, rest),
        "k8s" => no_arguments(rest).and_then(|()| k8s::run(&workspace)),
        "sim" => release(&workspace, "dormouse-sim", rest),
        "chaos" => chaos(&workspace, rest),
        "fuzz" => fuzz::run(&workspace, rest),
        "bench" => release(&workspace, "dormouse-bench", rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => bail!("unknown command '{other}'\n\n{USAGE}"),
    }
}

/// The values of `--suite NAME` or `--suite=NAME`.
fn suites(arguments: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.strip_prefix("--suite") {
            Some("") => match rest.next() {
                Some(name) => names.push(name.clone()),
                None => bail!("--suite needs a name: one of {}", steps::names()),
            },
            Some(value) if value.starts_with('=') => names.push(value[1..].to_owned()),
            _ => bail!("unknown argument '{argument}'\n\n{USAGE}"),
        }
    }
    Ok(names)
}

fn no_arguments(arguments: &[String]) -> Result<()> {
    match arguments.first() {
        None => Ok(()),
        Some(argument) => bail!("unknown argument '{argument}'\n\n{USAGE}"),
    }
}

fn release(workspace: &Workspace, package: &str, arguments: &[String]) -> Result<()> {
    cargo(workspace)
        .args(["run", "--release", "--locked", "--package", package, "--"])
        .args(arguments)
        .run()
}

/// Builds the processes that are hurt as well, which stand beside the one that hurts them.
fn chaos(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    const PACKAGE: &str = "dormouse-chaos";
    cargo(workspace).args(["build", "--release", "--locked", "--package", PACKAGE]).run()?;
    release(workspace, PACKAGE, arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Vec<String>> {
        let owned: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        suites(&owned)
    }

    #[test]
    fn suites_are_read_in_both_spellings() {
        assert_eq!(parsed(&["--suite", "fmt", "--suite=tidy"]).unwrap(), ["fmt", "tidy"]);
    }

    #[test]
    fn a_suite_without_a_name_and_an_unknown_argument_are_errors() {
        assert!(parsed(&["--suite"]).is_err());
        assert!(parsed(&["--suites=tidy"]).is_err());
        assert!(parsed(&["tidy"]).is_err());
    }
}
