//! Manifests of StateFun applications: what loads as it is, and, beside each reason for which StateFun
//! refuses to start or stops later, what the user reads here.

mod endpoints;
mod format;
mod forms;
mod kafka;
mod kinesis;

use std::fs;
use std::path::PathBuf;

use expect_test::{Expect, expect, expect_file};

use crate::sandbox::Sandbox;

/// Something that makes the rest of a manifest an application.
const ENDPOINT: &str = "\
kind: io.statefun.endpoints.v2/http
spec: {functions: a/*, urlPathTemplate: http://127.0.0.1:8000/}
---
";
const INGRESS: &str = "\
kind: io.statefun.playground.v1/ingress
spec: {port: 8090}
---
";

/// What `dormouse check` says of a manifest.
#[allow(clippy::needless_pass_by_value, reason = "expect! makes values")]
fn check(manifest: &str, expected: Expect) {
    expected.assert_eq(&Sandbox::with(manifest).run(&["check"]));
}

/// The fixtures, sorted: manifests such as StateFun's tests, documentation and playground have them.
fn fixtures() -> Vec<(String, String)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/manifests");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<(String, String)> = files
        .map(|file| {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(file).unwrap())
        })
        .collect();
    fixtures.sort();
    fixtures
}

#[test]
fn manifests_of_statefun_load_as_they_are() {
    let sandbox = Sandbox::new();
    let mut said = String::new();
    for (name, manifest) in fixtures() {
        sandbox.write(&name, manifest);
        said.push_str(&format!("$ dormouse check {name}\n{}", sandbox.run(&["check", &name])));
    }
    expect_file!["../manifests.txt"].assert_eq(&said);
}

#[test]
fn an_application_with_kinds_that_are_not_available_is_never_half_run() {
    let sandbox = Sandbox::new();
    for (name, manifest) in fixtures() {
        sandbox.write(&name, &manifest);
        if manifest.contains("kafka") || manifest.contains("kinesis") {
            let said = sandbox.run(&["run", &name, "--admin", "off"]);
            assert!(said.ends_with("exit 2\n"), "{name}: {said}");
            let components = said.lines().filter(|line| line.contains(": error: "));
            assert!(components.clone().count() > 0, "{name}: {said}");
            for line in components {
                assert!(line.starts_with(&format!("{name}:")), "{line}");
                assert!(line.contains(" is not available yet: "), "{line}");
            }
            assert!(!sandbox.path(".dormouse").exists(), "{name} has opened a store");
        }
    }
    expect![[r#"
        showcase-go.yaml:9:7: error: `io.statefun.kafka.v1/ingress` is not available yet: `showcase.io/names` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        showcase-go.yaml:22:7: error: `io.statefun.kafka.v1/egress` is not available yet: `showcase.io/greets` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        2 errors
        exit 2
    "#]].assert_eq(&sandbox.run(&["run", "showcase-go.yaml"]));
}

#[test]
fn directories_of_modules_are_merged_and_java_modules_are_named() {
    let sandbox = Sandbox::new();
    sandbox.write("modules/a/module.yaml", ENDPOINT);
    sandbox.write("modules/b/module.yaml", INGRESS);
    sandbox.write("modules/b/embedded.jar", "");
    sandbox.write("modules/c/deeper/module.yaml", "is not looked at");
    sandbox.write("modules/other.yaml", "is not looked at");
    expect![[r#"
        ok: 2 manifests, 1 ingress, 1 function target, 0 egresses
        modules/b/embedded.jar:1:1: warning: Java modules are not run in this process: serve their functions over HTTP, and name them in an endpoint
        exit 0
    "#]].assert_eq(&sandbox.run(&["check", "modules"]));
    sandbox.write("modules/d/module.yaml", ENDPOINT);
    expect![[r#"
        modules/b/embedded.jar:1:1: warning: Java modules are not run in this process: serve their functions over HTTP, and name them in an endpoint
        modules/d/module.yaml:1:7: error: function `a/*` is already served at modules/a/module.yaml:1:7 (http://127.0.0.1:8000/); remove one of the two
        1 error, 1 warning
        exit 2
    "#]].assert_eq(&sandbox.run(&["check", "modules"]));
    sandbox.write("java/a/embedded.jar", "");
    expect![[r#"
        error: java: holds no module.yaml, nor does any directory in it (Java modules are not run in this process: serve their functions over HTTP)
        exit 2
    "#]].assert_eq(&sandbox.run(&["check", "java"]));
    expect![[r#"
        error: nowhere: No such file or directory (os error 2)
        exit 2
    "#]]
    .assert_eq(&sandbox.run(&["check", "nowhere"]));
}

/// StateFun reads the directories of `/opt/statefun/modules` and no file beside them; a directory may be an
/// application of its own as well.
#[test]
fn a_directory_with_a_manifest_and_modules_says_which_it_reads() {
    let sandbox = Sandbox::new();
    sandbox.write("modules/module.yaml", format!("{ENDPOINT}{INGRESS}"));
    let ok = "ok: 1 manifest, 1 ingress, 1 function target, 0 egresses\n";
    sandbox.write("modules/a/other.yaml", ENDPOINT);
    sandbox.write("modules/..data/module.yaml", ENDPOINT);
    assert_eq!(sandbox.run(&["check", "modules"]), format!("{ok}exit 0\n"));
    sandbox.write("modules/b/module.yaml", "kind: nobody looks at it");
    sandbox.write("modules/c/module.yaml", ENDPOINT.replace("a/", "c/"));
    expect![[r#"
        ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
        modules/module.yaml:1:1: warning: this one alone is read, and not modules/b/module.yaml, modules/c/module.yaml: name those that belong to the application, or move this one into a directory beside them
        exit 0
    "#]]
    .assert_eq(&sandbox.run(&["check", "modules"]));
    expect![[r#"
        ok: 2 manifests, 1 ingress, 2 function targets, 0 egresses
        modules/module.yaml:1:1: warning: this one alone is read, and not modules/b/module.yaml: name those that belong to the application, or move this one into a directory beside them
        exit 0
    "#]]
    .assert_eq(&sandbox.run(&["check", "modules", "modules/c"]));
    let mut here = sandbox.command(&["check"]);
    let output = here.current_dir(sandbox.path("modules")).output().unwrap();
    let said = sandbox.ended(output);
    assert!(
        said.contains(
            "\nmodule.yaml:1:1: warning: this one alone is read, and not b/module.yaml, c/"
        ),
        "{said}"
    );
    sandbox.write("modules/module.yaml", "");
    let said = sandbox.run(&["check", "modules/module.yaml"]);
    assert!(!said.contains("this one alone"), "a file says itself what is meant: {said}");
}
