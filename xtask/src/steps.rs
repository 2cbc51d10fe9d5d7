//! The list of what CI runs. `STEPS` is its only definition: `.ci/run`, the README and a desk call
//! `cargo xtask test` and get exactly this, in this order.
//!
//! Three builds exist in total, and steps are ordered so that they share them: check (clippy,
//! rustdoc), dev (all tests) and release (the simulator, the chaos and the commands of the
//! documents).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Workspace, cargo};
use crate::{docs, k8s, tidy};

/// One thing that must succeed.
struct Step {
    name: &'static str,
    title: &'static str,
    run: fn(&Workspace) -> Result<()>,
}

const STEPS: &[Step] = &[
    step("fmt", "sources are formatted", fmt),
    step("tidy", "sizes, documentation, layers, links", tidy::run),
    step("clippy", "lints of all targets", clippy),
    step("rustdoc", "API documentation builds", rustdoc),
    step("unit", "unit and integration tests", unit),
    step("doctest", "examples in the documentation", doctest),
    step("k8s", "Kubernetes files", k8s::run),
    step("system", "a whole application: restarts, failures, floods", system),
    step("statefun", "what applications of StateFun observe, with its four SDKs", statefun),
    step("sim", "simulated crashes and delays", sim),
    step("chaos", "an application that is killed, paused, and loses its disk", chaos),
    step("docs", "commands that the documents show", docs::run),
];

/// Schedules that each run simulates.
const SIM_SEEDS: &str = "2000";

/// How long the chaos goes on; the round in which it is over is played to its end.
const CHAOS_MINUTES: &str = "5";

/// Packages whose tests need other languages, or drive whole processes: steps of their own.
const INTEROP: &str = "dormouse-interop";

const fn step(name: &'static str, title: &'static str, run: fn(&Workspace) -> Result<()>) -> Step {
    Step { name, title, run }
}

/// Runs the named steps, all of them if none is named; stops at the first failure.
pub(crate) fn test(workspace: &Workspace, suites: &[String]) -> Result<()> {
    if let Some(unknown) = suites.iter().find(|s| STEPS.iter().all(|t| t.name != **s)) {
        bail!("unknown suite '{unknown}': one of {}", names());
    }
    let chosen = |s: &&Step| suites.is_empty() || suites.iter().any(|name| name == s.name);
    let steps: Vec<&Step> = STEPS.iter().filter(chosen).collect();
    let mut durations = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let (number, count) = (index + 1, steps.len());
        println!("\n=== {number}/{count} {}: {} ===", step.name, step.title);
        let started = Instant::now();
        (step.run)(workspace).with_context(|| format!("step '{}'", step.name))?;
        durations.push((step.name, started.elapsed()));
        println!("--- {} passed in {}", step.name, seconds(started.elapsed()));
    }
    println!("\nall steps passed");
    for (name, duration) in &durations {
        println!("  {name:<8} {:>8}", seconds(*duration));
    }
    let total = durations.iter().map(|(_, duration)| *duration).sum();
    println!("  {:<8} {:>8}", "total", seconds(total));
    Ok(())
}

/// The names of all steps, for messages.
pub(crate) fn names() -> String {
    let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
    names.join(", ")
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn fmt(workspace: &Workspace) -> Result<()> {
    cargo(workspace).args(["fmt", "--all", "--check"]).run()
}

fn clippy(workspace: &Workspace) -> Result<()> {
    cargo(workspace)
        .args(["clippy", "--workspace", "--all-targets", "--locked"])
        .args(["--", "--deny", "warnings"])
        .run()
}

fn rustdoc(workspace: &Workspace) -> Result<()> {
    cargo(workspace)
        .args(["doc", "--workspace", "--no-deps", "--locked"])
        .env("RUSTDOCFLAGS", "--deny warnings")
        .run()
}

fn unit(workspace: &Workspace) -> Result<()> {
    cargo(workspace)
        .args(["test", "--workspace", "--exclude", INTEROP])
        .args(["--tests", "--locked"])
        .run()?;
    // Off by default, for its build time: nothing else of the workspace is built with it.
    cargo(workspace)
        .args(["test", "--package", "dormouse-sdk", "--features", "fory"])
        .args(["--test", "fory", "--locked"])
        .run()
}

fn doctest(workspace: &Workspace) -> Result<()> {
    cargo(workspace).args(["test", "--workspace", "--doc", "--locked"]).run()
}

/// One test at a time: most of them keep both cores busy.
fn system(workspace: &Workspace) -> Result<()> {
    interop(workspace, &["--lib", "--bins", "--test", "system"], "1")
}

/// Manifests first. The conformance tests wait more than they work; function servers in four languages do
/// not.
fn statefun(workspace: &Workspace) -> Result<()> {
    let manifests = ["test", "--package", "dormouse", "--test", "cli", "--locked", "statefun::"];
    cargo(workspace).args(manifests).run()?;
    interop(workspace, &["--test", "statefun"], "4")?;
    interop(workspace, &["--test", "sdks"], "2")
}

fn interop(workspace: &Workspace, targets: &[&str], threads: &str) -> Result<()> {
    cargo(workspace)
        .args(["test", "--package", INTEROP, "--locked"])
        .args(targets)
        .args(["--", "--test-threads", threads, "--nocapture"])
        .run()
}

fn sim(workspace: &Workspace) -> Result<()> {
    cargo(workspace)
        .args(["run", "--release", "--locked", "--package", "dormouse-sim"])
        .args(["--", "--seeds", SIM_SEEDS])
        .run()
}

fn chaos(workspace: &Workspace) -> Result<()> {
    crate::chaos(workspace, &["--minutes".to_owned(), CHAOS_MINUTES.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_names_are_unique() {
        let mut names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }

    #[test]
    fn an_unknown_suite_is_refused_before_anything_runs() {
        let workspace = Workspace::find().unwrap();
        let error = test(&workspace, &["fmt".to_owned(), "no".to_owned()]).unwrap_err();
        assert!(error.to_string().starts_with("unknown suite 'no': one of fmt"));
    }
}
