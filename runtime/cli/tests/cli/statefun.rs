//! Manifests of StateFun applications: what loads as it is, and, beside each reason for which StateFun
//! refuses to start or stops later, what the user reads here.

mod endpoints;
mod format;
mod kafka;
mod kinesis;

use std::fs;
use std::path::PathBuf;

use expect_test::{Expect, expect};

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
        said.push_str(&sandbox.run(&["check", &name]));
    }
    expect![[r#"
        ok: 1 manifest, 1 ingress, 1 function target, 1 egress
        exit 0
        ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
        exit 0
        ok: 1 manifest, 1 ingress, 3 function targets, 0 egresses
        exit 0
        ok: 1 manifest, 1 ingress, 1 function target, 1 egress
        exit 0
        ok: 1 manifest, 1 ingress, 1 function target, 1 egress
        exit 0
        ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
        in-use.yaml:3:1: warning: unknown field `metadata`; a document has `kind`, `spec` (it has no effect)
        in-use.yaml:7:3: warning: unknown field `timeouts`; it belongs into `transport` (it has no effect)
        in-use.yaml:9:3: warning: unknown field `transports`; did you mean `transport`? (it has no effect)
        in-use.yaml:11:5: warning: unknown field `maxNumBatchRequests`; it belongs directly into `spec` (it has no effect)
        in-use.yaml:15:22: warning: unknown field `topics`; known are `port` (it has no effect)
        exit 0
        ok: 1 manifest, 4 ingresses, 1 function target, 4 egresses
        kafka.yaml:6:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `com.example.bar/ingress` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        kafka.yaml:29:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `com.example.bar/from-group` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        kafka.yaml:39:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `com.example.bar/from-offsets` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        kafka.yaml:52:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `com.example.bar/from-date` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        kafka.yaml:62:7: warning: `io.statefun.kafka.v1/egress` is not available yet: `com.example.bar/egress` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        kafka.yaml:72:7: warning: `io.statefun.kafka.v1/egress` is not available yet: `com.example.bar/egress-of-the-documentation` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        kafka.yaml:80:7: warning: `io.statefun.kafka.v1/egress` is not available yet: `com.example.bar/egress-that-may-lose` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        kafka.yaml:87:7: warning: `io.statefun.kafka.v1/egress` is not available yet: `com.example.bar/egress-without-more` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        exit 0
        ok: 1 manifest, 1 ingress, 1 function target, 1 egress
        kinesis-as-documented.yaml:7:7: warning: `io.statefun.kinesis.v1/ingress` is not available yet: `com.example/users` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        kinesis-as-documented.yaml:12:5: warning: `awsCredentials` holds a region: it belongs into `awsRegion`, and is taken so
        kinesis-as-documented.yaml:16:7: warning: `io.statefun.kinesis.v1/egress` is not available yet: `com.example/out` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        kinesis-as-documented.yaml:20:5: warning: `awsCredentials` of type `basic` holds a profile, and is taken for one: write `type: profile`
        exit 0
        ok: 1 manifest, 2 ingresses, 1 function target, 1 egress
        kinesis.yaml:6:7: warning: `io.statefun.kinesis.v1/ingress` is not available yet: `com.example.bar/ingress` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        kinesis.yaml:32:7: warning: `io.statefun.kinesis.v1/ingress` is not available yet: `com.example.bar/by-default` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        kinesis.yaml:38:7: warning: `io.statefun.kinesis.v1/egress` is not available yet: `com.example.bar/egress` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        exit 0
        ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
        kubernetes.yaml:6:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `example/in` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        exit 0
        ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
        old-format-as-documented.yaml:2:10: warning: `version`: StateFun wants this in quotes: `"3.0"`
        old-format-as-documented.yaml:8:9: warning: `meta` and `spec` belong below `endpoint:`, and are taken so
        old-format-as-documented.yaml:14:5: warning: unknown field `routers`; no release after 3.0 reads it: name `targets` in the ingress (it has no effect)
        old-format-as-documented.yaml:22:9: warning: `meta` and `spec` belong below `ingress:`, and are taken so
        old-format-as-documented.yaml:25:15: warning: unknown field `id`; known are `port` (it has no effect)
        exit 0
        ok: 1 manifest, 2 ingresses, 2 function targets, 2 egresses
        old-format.yaml:29:19: warning: `io.statefun.kafka.v1/ingress` is not available yet: `com.example.io/names` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        old-format.yaml:41:19: warning: `io.statefun.kinesis.v1/ingress` is not available yet: `com.example.io/events` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        old-format.yaml:52:19: warning: `io.statefun.kafka.v1/egress` is not available yet: `com.example.io/results` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        old-format.yaml:63:19: warning: `io.statefun.kinesis.v1/egress` is not available yet: `com.example.io/events` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        exit 0
        ok: 1 manifest, 1 ingress, 1 function target, 1 egress
        exit 0
        ok: 1 manifest, 1 ingress, 1 function target, 1 egress
        showcase-go.yaml:9:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `showcase.io/names` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        showcase-go.yaml:22:7: warning: `io.statefun.kafka.v1/egress` is not available yet: `showcase.io/greets` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        exit 0
        ok: 1 manifest, 1 ingress, 1 function target, 1 egress
        showcase-java.yaml:9:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `java.showcase.io/user-logins` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        showcase-java.yaml:22:7: warning: `io.statefun.kafka.v1/egress` is not available yet: `java.showcase.io/user-greetings` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        exit 0
        ok: 1 manifest, 1 ingress, 1 function target, 1 egress
        showcase-javascript.yaml:6:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `showcase/names` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        showcase-javascript.yaml:17:7: warning: `io.statefun.kafka.v1/egress` is not available yet: `showcase/greets` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        exit 0
        ok: 1 manifest, 1 ingress, 1 function target, 1 egress
        showcase-python-3.0.yaml:18:19: warning: `io.statefun.kafka.v1/ingress` is not available yet: `showcase/names` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        showcase-python-3.0.yaml:31:19: warning: `io.statefun.kafka.v1/egress` is not available yet: `showcase/greets` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        exit 0
        ok: 1 manifest, 1 ingress, 1 function target, 1 egress
        showcase-python.yaml:8:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `showcase/names` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        showcase-python.yaml:19:7: warning: `io.statefun.kafka.v1/egress` is not available yet: `showcase/greets` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        exit 0
    "#]].assert_eq(&said);
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
