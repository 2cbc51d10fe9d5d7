//! Runs benchmarks for a fraction of a second and as small as they go, in a debug build: every row
//! appears, with the limit that it is held against, and every count at the end is right. The figures
//! mean nothing here.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs benchmarks; answers their rows.
fn run(names: &[&str]) -> Vec<Value> {
    let directory = tempfile::tempdir().expect("a directory");
    let json = directory.path().join("rows.json");
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_dormouse-bench")));
    command.args(names).args(["--seconds", "0.2", "--instances", "20000", "--state", "16"]);
    let output = command.arg("--json").arg(&json).output().expect("the program runs");
    let shown = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{names:?} failed: {shown}\n{errors}");
    let text = std::fs::read_to_string(&json).expect("a report");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    report["rows"].as_array().expect("rows").clone()
}

/// The row was measured, and held against something.
#[track_caller]
fn is_limited(rows: &[Value], name: &str) {
    let row = row(rows, name);
    let ratio = row["limits"][0]["ratio"].as_f64();
    assert!(ratio.is_some_and(|ratio| ratio > 0.0 && ratio.is_finite()), "{name}: {row}");
}

#[track_caller]
fn row<'r>(rows: &'r [Value], name: &str) -> &'r Value {
    let found = rows.iter().find(|row| row["name"] == name);
    found.unwrap_or_else(|| panic!("no row {name} in {rows:?}"))
}

#[track_caller]
fn figure(row: &Value, what: &str) -> f64 {
    let figures = row["figures"].as_array().expect("figures");
    let found = figures.iter().find(|figure| figure["what"] == what);
    found.and_then(|figure| figure["value"].as_f64()).unwrap_or_else(|| panic!("{what}: {row}"))
}

#[test]
fn values_and_fan_out_are_measured() {
    let rows = run(&["values-4k", "fan-out"]);
    is_limited(&rows, "values-4k");
    is_limited(&rows, "fan-out");
    // Each value is written to the log at least, and no message carries it besides.
    let each = figure(row(&rows, "values-4k"), "bytes committed per message");
    assert!((4_096.0..4_500.0).contains(&each), "{each}");
    assert!(figure(row(&rows, "values-4k"), "bytes that reach the disk") > 0.0);
}

#[test]
fn chains_are_measured() {
    let rows = run(&["chain"]);
    is_limited(&rows, "chain/remote");
    is_limited(&rows, "chain/in-process");
}

#[test]
fn many_instances_are_measured() {
    let rows = run(&["scale", "growth"]);
    is_limited(&rows, "scale/uniform");
    is_limited(&rows, "scale/zipf");
    is_limited(&rows, "growth/3x");
    assert!(figure(row(&rows, "scale/hot"), "data directory") > 0.0);
}

#[test]
fn restarts_are_measured() {
    let rows = run(&["restart"]);
    is_limited(&rows, "restart");
    let row = row(&rows, "restart");
    // 16 MB of state, and nine tenths of a log that is an eighth as long.
    assert!(figure(row, "data directory before the load") > 16.0);
    assert!(figure(row, "committed since the last checkpoint") > 1.8);
}
