//! `cargo xtask fuzz`: builds the fuzzing program with coverage counters, into a target directory of its
//! own, and runs it. The counters are LLVM's; the stable compiler has the flags, and the program reads
//! them itself, so no other compiler and no C++ library is needed.

use anyhow::{Context, Result};

use crate::process::{Workspace, cargo};

/// Counts how often each edge of the program is passed.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cdebug-assertions=on";

pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let target = host()?;
    // With a target, the flags are for it alone and not for build scripts, which lack the counters.
    cargo(workspace)
        .args(["run", "--release", "--locked", "--package", "dormouse-fuzz"])
        .args(["--target", &target, "--target-dir", "target/fuzz", "--"])
        .args(arguments)
        .env("RUSTFLAGS", COVERAGE)
        .run()
}

/// The machine that this runs on, as the compiler calls it.
fn host() -> Result<String> {
    let output = std::process::Command::new("rustc").arg("-vV").output();
    let output = output.context("rustc cannot be run")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` has no line \"host\"")
}
