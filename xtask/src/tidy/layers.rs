//! Which package of the workspace may depend on which: the table, checked against `cargo metadata`.
//!
//! Arrows that are not in the table do not exist. Development dependencies (tests) may also reach
//! what their package's tests drive, listed in a column of their own.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

/// One row of the table.
struct Layer {
    package: &'static str,
    directory: &'static str,
    may_use: &'static [&'static str],
    /// Allowed in tests besides `may_use`.
    tests_may_use: &'static [&'static str],
}

const PROTOCOL: &str = "dormouse-protocol";
const SDK: &str = "dormouse-sdk";
const SERVE: &str = "dormouse-serve";
const ENGINE: &str = "dormouse-engine";
const STORE: &str = "dormouse-store";
const HOST: &str = "dormouse-host";
const LISTENER: &str = "dormouse-listener";
const TESTKIT: &str = "dormouse-testkit";
const STATEFUN: &str = "dormouse-statefun";
const KAFKA: &str = "dormouse-kafka";
const KINESIS: &str = "dormouse-kinesis";
const PLAYGROUND: &str = "dormouse-playground";
const HTTP: &str = "dormouse-http";
const DORMOUSE: &str = "dormouse";
const INTEROP: &str = "dormouse-interop";

const LAYERS: &[Layer] = &[
    layer(PROTOCOL, "protocol", &[], &[]),
    layer(SDK, "sdk", &[PROTOCOL], &[]),
    layer(SERVE, "sdk/serve", &[SDK, PROTOCOL], &[]),
    layer(ENGINE, "runtime/engine", &[PROTOCOL], &[]),
    layer(STORE, "runtime/store", &[ENGINE, PROTOCOL], &[]),
    layer(HOST, "runtime/host", &[ENGINE, STORE, SDK, PROTOCOL], &[]),
    layer(LISTENER, "modules/listener", &[SDK, PROTOCOL], &[TESTKIT]),
    layer(TESTKIT, "modules/testkit", &[SDK, PROTOCOL], &[]),
    layer(STATEFUN, "modules/statefun", &[SDK, PROTOCOL], &[SERVE, TESTKIT]),
    layer(KAFKA, "modules/kafka", &[SDK, PROTOCOL], &[TESTKIT]),
    layer(KINESIS, "modules/kinesis", &[SDK, PROTOCOL], &[TESTKIT]),
    layer(PLAYGROUND, "modules/playground", &[LISTENER, SDK, PROTOCOL], &[TESTKIT]),
    layer(HTTP, "modules/http", &[LISTENER, SDK, PROTOCOL], &[TESTKIT]),
    layer(
        DORMOUSE,
        "runtime/cli",
        &[HOST, STATEFUN, PLAYGROUND, HTTP, KAFKA, KINESIS, SDK],
        &[SERVE, PROTOCOL, STORE],
    ),
    layer("dormouse-sim", "runtime/sim", &[ENGINE, PROTOCOL], &[]),
    layer(
        "dormouse-bench",
        "runtime/bench",
        &[PROTOCOL, SDK, SERVE, ENGINE, STORE, HOST, STATEFUN, PLAYGROUND, HTTP, DORMOUSE, INTEROP],
        &[],
    ),
    layer(
        "dormouse-fuzz",
        "runtime/fuzz",
        &[PROTOCOL, SDK, ENGINE, STORE, HOST, LISTENER, STATEFUN, PLAYGROUND, HTTP, KAFKA, KINESIS],
        &[],
    ),
    layer(INTEROP, "runtime/interop", &[SDK, SERVE, DORMOUSE], &[]),
    layer("dormouse-chaos", "runtime/chaos", &[SDK, SERVE, DORMOUSE, INTEROP], &[]),
    layer("xtask", "xtask", &[], &[]),
];

/// What an application, each package in `examples/`, may use besides other examples.
const EXAMPLE_MAY_USE: &[&str] = &[SDK, SERVE, PROTOCOL, DORMOUSE];

/// The engine takes no time, randomness or I/O of its own, so nothing it links may bring one.
const ENGINE_BANNED: &[&str] = &[
    "tokio",
    "mio",
    "hyper",
    "axum",
    "async-std",
    "futures",
    "rand",
    "getrandom",
    "uuid",
    "tracing",
    "log",
    "libc",
    "rustix",
];

const fn layer(
    package: &'static str,
    directory: &'static str,
    may_use: &'static [&'static str],
    tests_may_use: &'static [&'static str],
) -> Layer {
    Layer { package, directory, may_use, tests_may_use }
}

/// Checks the output of `cargo metadata --format-version 1`.
pub(super) fn check(metadata: &str) -> Result<Vec<String>> {
    let metadata: Value = serde_json::from_str(metadata).context("cargo metadata: no JSON")?;
    let root = text(&metadata["workspace_root"]);
    let members: BTreeSet<&str> = array(&metadata["workspace_members"]).iter().map(text).collect();
    let packages: Vec<&Value> = array(&metadata["packages"])
        .iter()
        .filter(|package| members.contains(text(&package["id"])))
        .collect();
    let ours: BTreeSet<&str> = packages.iter().map(|p| text(&p["name"])).collect();

    let mut findings = Vec::new();
    for package in &packages {
        findings.extend(package_findings(package, root, &ours));
    }
    for row in LAYERS.iter().filter(|row| !ours.contains(row.package)) {
        findings.push(format!(
            "Cargo.toml:1: the table of layers names '{}', which is no member of the workspace",
            row.package
        ));
    }
    findings.extend(banned_in_engine(&metadata));
    Ok(findings)
}

fn package_findings(package: &Value, root: &str, ours: &BTreeSet<&str>) -> Vec<String> {
    let name = text(&package["name"]);
    let manifest = text(&package["manifest_path"]);
    let manifest = manifest.strip_prefix(root).unwrap_or(manifest);
    let manifest = manifest.trim_start_matches('/');
    let directory = manifest.trim_end_matches("/Cargo.toml");

    let row = LAYERS.iter().find(|row| row.package == name);
    let (may_use, tests_may_use): (&[&str], &[&str]) = match row {
        Some(row) if row.directory != directory => {
            let expected = row.directory;
            return vec![format!("{manifest}:1: '{name}' belongs into {expected}/")];
        }
        Some(row) => (row.may_use, row.tests_may_use),
        None if directory.starts_with("examples/") => (EXAMPLE_MAY_USE, &[HOST]),
        None => {
            return vec![format!(
                "{manifest}:1: '{name}' is not in the table of layers (xtask/src/tidy/layers.rs)"
            )];
        }
    };
    let mut findings = Vec::new();
    for dependency in array(&package["dependencies"]) {
        let used = text(&dependency["name"]);
        let in_tests = text(&dependency["kind"]) == "dev";
        let example = row.is_none() && LAYERS.iter().all(|other| other.package != used);
        let allowed =
            may_use.contains(&used) || in_tests && tests_may_use.contains(&used) || example;
        if ours.contains(used) && used != name && !allowed {
            let whom = if in_tests { "the tests of " } else { "" };
            findings.push(format!("{manifest}:1: {whom}'{name}' may not use '{used}'"));
        }
    }
    findings
}

/// Follows normal and build dependencies from the engine to everything it links.
fn banned_in_engine(metadata: &Value) -> Vec<String> {
    let names: BTreeMap<&str, &str> = array(&metadata["packages"])
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let nodes: BTreeMap<&str, &Value> =
        array(&metadata["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), node)).collect();
    let engine = names.iter().find(|(_, name)| **name == ENGINE);
    let mut open: Vec<&str> = engine.map(|(id, _)| *id).into_iter().collect();
    let mut seen: BTreeSet<&str> = open.iter().copied().collect();
    let mut findings = Vec::new();
    while let Some(id) = open.pop() {
        let name = names.get(id).copied().unwrap_or(id);
        if ENGINE_BANNED.contains(&name) {
            findings.push(format!(
                "runtime/engine/Cargo.toml:1: the engine links '{name}': it may have no clock, \
                 randomness or I/O of its own"
            ));
        }
        let Some(node) = nodes.get(id) else { continue };
        for dependency in array(&node["deps"]) {
            let linked = array(&dependency["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null() && kind["target"].is_null());
            let next = text(&dependency["pkg"]);
            if linked && seen.insert(next) {
                open.push(next);
            }
        }
    }
    findings
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A workspace of all packages of the table, where `user` depends on `used`.
    fn with_edge(user: &str, used: &str, kind: &Value) -> Vec<String> {
        let packages: Vec<Value> = LAYERS
            .iter()
            .map(|row| {
                let manifest = format!("/w/{}/Cargo.toml", row.directory);
                let edge = json!({"name": used, "kind": kind});
                let dependencies = if row.package == user { vec![edge] } else { vec![] };
                json!({"id": row.package, "name": row.package, "manifest_path": manifest,
                       "dependencies": dependencies})
            })
            .collect();
        let members: Vec<&str> = LAYERS.iter().map(|row| row.package).collect();
        let nodes = json!([{"id": user, "deps": [
            {"pkg": used, "dep_kinds": [{"kind": kind, "target": null}]}]},
            {"id": used, "deps": []}]);
        let metadata = json!({"workspace_root": "/w", "workspace_members": members,
                              "packages": packages, "resolve": {"nodes": nodes}});
        check(&metadata.to_string()).unwrap()
    }

    #[test]
    fn arrows_of_the_table_pass_and_others_do_not() {
        assert_eq!(with_edge(HOST, ENGINE, &Value::Null), Vec::<String>::new());
        assert_eq!(
            with_edge(HTTP, HOST, &Value::Null),
            ["modules/http/Cargo.toml:1: 'dormouse-http' may not use 'dormouse-host'"]
        );
        let direct = with_edge(ENGINE, "tokio", &Value::Null);
        assert_eq!(direct.len(), 1, "{direct:?}");
    }

    #[test]
    fn tests_have_a_column_of_their_own() {
        assert_eq!(with_edge(STATEFUN, SERVE, &Value::Null).len(), 1);
        assert_eq!(with_edge(STATEFUN, SERVE, &json!("dev")).len(), 0);
        assert_eq!(with_edge(PROTOCOL, SDK, &json!("dev")).len(), 1);
    }

    #[test]
    fn the_engine_may_not_reach_a_clock_through_others() {
        let metadata = json!({
            "workspace_root": "/w",
            "workspace_members": [],
            "packages": [{"id": "e", "name": ENGINE}, {"id": "m", "name": "middle"},
                         {"id": "t", "name": "tokio"}],
            "resolve": {"nodes": [
                {"id": "e", "deps": [{"pkg": "m", "dep_kinds": [{"kind": null, "target": null}]}]},
                {"id": "m", "deps": [{"pkg": "t", "dep_kinds": [{"kind": null, "target": null}]}]}]},
        });
        let found = banned_in_engine(&metadata);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("'tokio'"));
    }

    #[test]
    fn every_row_uses_rows_of_the_table() {
        let known: BTreeSet<&str> = LAYERS.iter().map(|row| row.package).collect();
        for row in LAYERS {
            for used in row.may_use.iter().chain(row.tests_may_use) {
                assert!(known.contains(used), "{}: {used}", row.package);
            }
        }
    }
}
