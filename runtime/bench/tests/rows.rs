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

/// The row is held against this. How much of it is reached is not looked at: on a busy machine it may
/// be nothing within so short a time.
#[track_caller]
fn is_limited(rows: &[Value], name: &str, limit: &str) {
    let row = row(rows, name);
    assert_eq!(row["limits"][0]["what"], limit, "{name}: {row}");
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
    is_limited(&rows, "values-4k", "sequential");
    is_limited(&rows, "fan-out", "bare fan-out");
    assert!(figure(row(&rows, "raw/sequential"), "bandwidth") > 0.0);
    assert!(figure(row(&rows, "values-4k"), "bytes that reach the disk") >= 0.0);
}

#[test]
fn chains_are_measured() {
    let rows = run(&["chain"]);
    is_limited(&rows, "chain/remote", "bare proxy");
    is_limited(&rows, "chain/in-process", "bare ring across");
}

#[test]
fn costs_are_counted() {
    let rows = run(&["cost"]);
    for name in ["cost/counter", "cost/http"] {
        let row = row(&rows, name);
        // A message, and the future that takes it, are allocated at least.
        assert!(figure(row, "allocations per message") > 2.0, "{row}");
        assert!(figure(row, "bytes allocated per message") > 100.0, "{row}");
        assert!(figure(row, "bytes committed per message") > 0.0, "{row}");
    }
}

#[test]
fn many_instances_are_measured() {
    let rows = run(&["scale", "growth"]);
    is_limited(&rows, "scale/uniform", "base alone");
    is_limited(&rows, "scale/zipf", "hot instances");
    is_limited(&rows, "growth/3x", "a third as many");
    assert!(figure(row(&rows, "scale/hot"), "data directory") > 0.0);
}

#[test]
fn restarts_are_measured() {
    let rows = run(&["restart"]);
    is_limited(&rows, "restart", "without data");
    let row = row(&rows, "restart");
    // 16 MB of state, and nine tenths of a log that is an eighth as long.
    assert!(figure(row, "data directory before the load") > 16.0);
    assert!(figure(row, "committed since the last checkpoint") > 1.8);
}

/// In every language, every hop is committed once.
#[test]
fn functions_of_the_sdks_are_measured() {
    let rows = run(&["sdk"]);
    for language in ["python", "javascript", "go", "java"] {
        let name = format!("sdk/{language}");
        is_limited(&rows, &name, "its server alone");
        assert!(figure(row(&rows, &name), "messages per call") >= 1.0);
        let alone = row(&rows, &format!("{name}-1"));
        assert!(figure(alone, "added to a call of the function").is_finite());
    }
    for language in ["python", "javascript"] {
        is_limited(&rows, &format!("sdk/{language}/together"), "one call in a request");
    }
    assert!(figure(row(&rows, "sdk/java/backlog"), "messages per call") >= 1.0);
}
