//! `dormouse check`: every mistake at once, with file, line and what was expected.

use expect_test::expect;

use crate::sandbox::Sandbox;

#[test]
fn five_different_mistakes_are_five_errors() {
    let sandbox = Sandbox::with(
        "\
kind: dormouse.http.v1/ingres
spec:
  listen: 127.0.0.1:8080
---
kind: io.statefun.endpoints.v2/http
spec:
  function: example/greeter
  urlPathTemplate: http://127.0.0.1:8000/statefun
---
kind: io.statefun.endpoints.v2/http
spec:
  functions: example/other
  urlPathTemplate: http://127.0.0.1:8000/statefun
  maxNumBatchRequests: many
---
kind: io.statefun.endpoints.v2/http
spec:
  functions: example/person
  urlPathTemplate: http://127.0.0.1:8000/statefun
---
kind: io.statefun.endpoints.v2/http
spec:
  functions: example/person
  urlPathTemplate: http://127.0.0.1:8001/statefun
---
kind: io.statefun.endpoints.v2/http
spec: [not, a, map]
",
    );
    expect![[r#"
        module.yaml:1:7: error: unknown kind `dormouse.http.v1/ingres`; did you mean `dormouse.http.v1/ingress`? Kinds are `dormouse.functions.v1/in-process`, `dormouse.http.v1/ingress`, `io.statefun.endpoints.v1/http`, `io.statefun.endpoints.v2/http`, `io.statefun.kafka.v1/egress`, `io.statefun.kafka.v1/ingress`, `io.statefun.kinesis.v1/egress`, `io.statefun.kinesis.v1/ingress`, `io.statefun.playground.v1/egress`, `io.statefun.playground.v1/ingress`
        module.yaml:7:3: error: missing field `functions`: expected `<namespace>/<name>` or `<namespace>/*`
        module.yaml:7:3: warning: unknown field `function`; did you mean `functions`? (it has no effect)
        module.yaml:14:24: error: `maxNumBatchRequests`: expected a whole number, found `many`
        module.yaml:21:7: error: function `example/person` is already served at module.yaml:16:7 (http://127.0.0.1:8000/statefun); remove one of the two
        module.yaml:27:7: error: spec: expected a map, found a list
        5 errors, 1 warning
        exit 2
    "#]].assert_eq(&sandbox.run(&["check"]));
}

#[test]
fn findings_of_all_files_are_sorted_by_file_and_line() {
    let sandbox = Sandbox::new();
    sandbox.write("app/b/module.yaml", "kind: x\nspec: {}\n---\nkind: y\nspec: {}\n");
    sandbox.write("app/a/module.yaml", "kind: [\n");
    sandbox.write("app/c/other.yaml", "is not looked at");
    sandbox.write("late.yaml", "spec: {}\n");
    expect![[r#"
        app/a/module.yaml:2:1: error: malformed YAML: while parsing a node, did not find expected node content
        app/b/module.yaml:1:7: error: unknown kind `x`; kinds are `dormouse.functions.v1/in-process`, `dormouse.http.v1/ingress`, `io.statefun.endpoints.v1/http`, `io.statefun.endpoints.v2/http`, `io.statefun.kafka.v1/egress`, `io.statefun.kafka.v1/ingress`, `io.statefun.kinesis.v1/egress`, `io.statefun.kinesis.v1/ingress`, `io.statefun.playground.v1/egress`, `io.statefun.playground.v1/ingress`
        app/b/module.yaml:4:7: error: unknown kind `y`; kinds are `dormouse.functions.v1/in-process`, `dormouse.http.v1/ingress`, `io.statefun.endpoints.v1/http`, `io.statefun.endpoints.v2/http`, `io.statefun.kafka.v1/egress`, `io.statefun.kafka.v1/ingress`, `io.statefun.kinesis.v1/egress`, `io.statefun.kinesis.v1/ingress`, `io.statefun.playground.v1/egress`, `io.statefun.playground.v1/ingress`
        late.yaml:1:1: error: missing field `kind`: expected a kind such as `io.statefun.endpoints.v2/http`
        4 errors
        exit 2
    "#]].assert_eq(&sandbox.run(&["check", "late.yaml", "app", "app/a/module.yaml"]));
}

#[test]
fn warnings_pass_unless_strict() {
    let sandbox = Sandbox::with(
        "\
kind: dormouse.http.v1/ingress
spec: {listen: 127.0.0.1:8080}
---
kind: io.statefun.endpoints.v2/http
spec:
  functions: example/*
  urlPathTemplate: http://127.0.0.1:8000/statefun
  transports: {}
",
    );
    expect![[r#"
        ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
        module.yaml:8:3: warning: unknown field `transports`; did you mean `transport`? (it has no effect)
        exit 0
    "#]].assert_eq(&sandbox.run(&["check"]));
    expect![[r#"
        module.yaml:8:3: error: unknown field `transports`; did you mean `transport`? (it has no effect)
        1 error
        exit 2
    "#]].assert_eq(&sandbox.run(&["check", "--strict"]));
}

#[test]
fn an_empty_application_is_told_what_it_lacks() {
    expect![[r#"
        ./module.yaml:1:1: error: there are no ingress defined: nothing could send a message; add a document such as `kind: dormouse.http.v1/ingress` with `spec: {listen: 127.0.0.1:8080}`
        ./module.yaml:1:1: error: there are no function providers defined: nothing could receive a message; add a document of kind `io.statefun.endpoints.v2/http`, or link Rust functions into the binary
        2 errors
        exit 2
    "#]].assert_eq(&Sandbox::with("---\n---\n").run(&["check", "."]));
}

/// A list of what is linked: a module that is not linked any more registers nothing, silently.
#[test]
fn the_shipped_binary_knows_exactly_these_kinds() {
    let output = Sandbox::with("kind: x\nspec: {}\n").run(&["check"]);
    expect![[r#"
        module.yaml:1:7: error: unknown kind `x`; kinds are `dormouse.functions.v1/in-process`, `dormouse.http.v1/ingress`, `io.statefun.endpoints.v1/http`, `io.statefun.endpoints.v2/http`, `io.statefun.kafka.v1/egress`, `io.statefun.kafka.v1/ingress`, `io.statefun.kinesis.v1/egress`, `io.statefun.kinesis.v1/ingress`, `io.statefun.playground.v1/egress`, `io.statefun.playground.v1/ingress`
        1 error
        exit 2
    "#]].assert_eq(&output);
}
