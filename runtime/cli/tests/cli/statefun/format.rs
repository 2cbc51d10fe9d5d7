//! The form of a manifest: documents, kinds, values, and the old format of one document. StateFun stops at
//! the first thing that is wrong and names no line.

use expect_test::expect;

use super::{ENDPOINT, INGRESS, check};

/// StateFun: "Invalid ComponentJsonObject; components should be a JSON object with the required fields".
#[test]
fn a_document_without_kind_or_spec() {
    check(
        "spec: {}\n---\nkind: a/b\n---\n[a]\n",
        expect![[r#"
        module.yaml:1:1: error: missing field `kind`: expected a kind such as `io.statefun.endpoints.v2/http`
        module.yaml:3:1: error: missing field `spec`: expected a map with the settings of this component
        module.yaml:5:1: error: expected a map with `kind` and `spec`, found a list
        3 errors
        exit 2
    "#]],
    );
}

/// StateFun: "Invalid binder kind format."
#[test]
fn a_kind_that_is_no_type_name() {
    check(
        &format!("{ENDPOINT}{INGRESS}kind: http\nspec: {{}}\n"),
        expect![[r#"
        module.yaml:7:7: error: unknown kind `http`; kinds are `dormouse.functions.v1/in-process`, `dormouse.http.v1/ingress`, `io.statefun.endpoints.v1/http`, `io.statefun.endpoints.v2/http`, `io.statefun.kafka.v1/egress`, `io.statefun.kafka.v1/ingress`, `io.statefun.kinesis.v1/egress`, `io.statefun.kinesis.v1/ingress`, `io.statefun.playground.v1/egress`, `io.statefun.playground.v1/ingress`
        1 error
        exit 2
    "#]],
    );
}

/// StateFun: "An extension with type TypeName(...) does not exist."
#[test]
fn a_kind_that_nobody_knows() {
    check(
        &format!("{ENDPOINT}{INGRESS}kind: io.statefun.kafka/ingress\nspec: {{}}\n"),
        expect![[r#"
            module.yaml:7:7: error: unknown kind `io.statefun.kafka/ingress`; did you mean `io.statefun.kafka.v1/ingress`? Kinds are `dormouse.functions.v1/in-process`, `dormouse.http.v1/ingress`, `io.statefun.endpoints.v1/http`, `io.statefun.endpoints.v2/http`, `io.statefun.kafka.v1/egress`, `io.statefun.kafka.v1/ingress`, `io.statefun.kinesis.v1/egress`, `io.statefun.kinesis.v1/ingress`, `io.statefun.playground.v1/egress`, `io.statefun.playground.v1/ingress`
            1 error
            exit 2
        "#]],
    );
}

/// StateFun: "Failed loading a module at ...".
#[test]
fn malformed_yaml() {
    check(
        &format!("{ENDPOINT}{INGRESS}kind: [a\n"),
        expect![[r#"
        module.yaml:8:1: error: malformed YAML: while parsing a flow sequence, expected ',' or ']'
        1 error
        exit 2
    "#]],
    );
}

/// StateFun takes them as written, and fails later or never.
#[test]
fn placeholders_are_not_replaced() {
    check(
        &format!(
            "{ENDPOINT}kind: io.statefun.playground.v1/ingress\nspec: {{port: \"${{PORT}}\"}}\n---\n\
             kind: io.statefun.kafka.v1/ingress\nspec:\n  id: a/b\n  address: kafka:9092\n  consumerGroupId: of-${{HOME}}\n  \
             topics: [{{topic: t, valueType: a/b, targets: [a/f]}}]\n  properties: [{{a: '${{A}}'}}]\n"
        ),
        expect![[r#"
            module.yaml:5:14: warning: `${...}` is taken as it is written: there are no placeholders
            module.yaml:5:14: error: `port`: expected a whole number from 0 to 65535, found `${PORT}`
            module.yaml:7:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `a/b` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
            module.yaml:11:20: warning: `${...}` is taken as it is written: there are no placeholders
            module.yaml:13:20: warning: `${...}` is taken as it is written: there are no placeholders
            1 error, 4 warnings
            exit 2
        "#]],
    );
}

/// StateFun ignores them and says nothing.
#[test]
fn fields_in_the_wrong_place_are_warnings() {
    let v2 = "kind: io.statefun.endpoints.v2/http
spec:
  functions: b/*
  urlPathTemplate: http://127.0.0.1:8000/
  timeouts: {}
  call: 1min
  transport:
    maxNumBatchRequests: 10
---
";
    let v1 = "kind: io.statefun.endpoints.v1/http
spec: {functions: c/*, urlPathTemplate: 'http://127.0.0.1:8000/', transport: {call: 1min}}
";
    check(
        &format!("{INGRESS}{v2}{v1}"),
        expect![[r#"
        ok: 1 manifest, 1 ingress, 2 function targets, 0 egresses
        module.yaml:8:3: warning: unknown field `timeouts`; it belongs into `transport` (it has no effect)
        module.yaml:9:3: warning: unknown field `call`; it belongs into `transport` (it has no effect)
        module.yaml:11:5: warning: unknown field `maxNumBatchRequests`; it belongs directly into `spec` (it has no effect)
        module.yaml:14:67: warning: unknown field `transport`; kind `io.statefun.endpoints.v2/http` has it (it has no effect)
        exit 0
    "#]],
    );
}

/// StateFun: "Wrong type for key /version not a string" without quotes, else "Only format versions higher
/// than or equal to 3.0 is supported" or "Unrecognized format version".
#[test]
fn versions_of_the_old_format() {
    let module = |version: &str| {
        format!(
            "version: {version}\nmodule:\n  meta: {{type: remote}}\n  spec:\n    endpoints:\n      - endpoint:\n          \
             meta: {{kind: http}}\n          spec: {{functions: a/*, urlPathTemplate: 'http://h/'}}\n    ingresses:\n      \
             - ingress:\n          meta: {{type: io.statefun.playground.v1/ingress, id: a/b}}\n          \
             spec: {{port: 1}}\n"
        )
    };
    check(
        &module("\"3.0\""),
        expect![[r#"
        ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
        module.yaml:11:63: warning: unknown field `id`; known are `port` (it has no effect)
        exit 0
    "#]],
    );
    check(
        &module("3.0"),
        expect![[r#"
        ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
        module.yaml:1:10: warning: `version`: StateFun wants this in quotes: `"3.0"`
        module.yaml:11:63: warning: unknown field `id`; known are `port` (it has no effect)
        exit 0
    "#]],
    );
    check(
        &module("\"2.0\""),
        expect![[r#"
        module.yaml:1:10: error: `version`: format 2.0 belongs to StateFun 2.0, whose functions speak another protocol: only 3.0 is supported; write each endpoint, ingress and egress as a document with `kind` and `spec`, separated by `---`
        1 error
        exit 2
    "#]],
    );
    check(
        &module("\"1.0\""),
        expect![[r#"
        module.yaml:1:10: error: `version`: format 1.0 belongs to StateFun 1.0, whose functions speak another protocol: only 3.0 is supported; write each endpoint, ingress and egress as a document with `kind` and `spec`, separated by `---`
        1 error
        exit 2
    "#]],
    );
    check(
        &module("\"3.1\""),
        expect![[r#"
        module.yaml:1:10: error: `version`: unrecognized format version: expected `"3.0"`, found `3.1`; write each endpoint, ingress and egress as a document with `kind` and `spec`, separated by `---`
        1 error
        exit 2
    "#]],
    );
    check(
        &module("[3]"),
        expect![[r#"
        module.yaml:1:10: error: `version`: unrecognized format version: expected `"3.0"`, found a list; write each endpoint, ingress and egress as a document with `kind` and `spec`, separated by `---`
        1 error
        exit 2
    "#]],
    );
}

/// StateFun: a null pointer, or "missing key ...".
#[test]
fn what_the_old_format_requires() {
    check(
        "version: \"3.0\"\n",
        expect![[r#"
        module.yaml:1:1: error: missing field `module`: expected a map with `meta` and `spec`
        1 error
        exit 2
    "#]],
    );
    check(
        "version: \"3.0\"\nmodule: {}\n",
        expect![[r#"
        module.yaml:2:9: error: missing field `meta`: expected a map with `type: remote`
        module.yaml:2:9: error: missing field `spec`: expected a map with `endpoints`
        2 errors
        exit 2
    "#]],
    );
    check(
        "version: \"3.0\"
module:
  meta: {type: embedded}
  spec:
    endpoints: none
    ingresses:
      - {}
      - ingress: {meta: {}, spec: {}}
      - ingress: {meta: {type: io.statefun.kafka/ingress}}
    egresses:
      - egress: {meta: {type: [a], id: a/b}, spec: {}}
",
        expect![[r#"
            module.yaml:3:16: error: `module.meta.type`: expected `remote`, found `embedded`
            module.yaml:5:16: error: `endpoints`: expected a list, found `none`
            module.yaml:7:9: error: missing field `ingress`: expected a map with `meta` and `spec`
            module.yaml:8:25: error: missing field `type`: expected a type such as `http` or `io.statefun.kafka/ingress`
            module.yaml:8:25: error: missing field `id`: expected `<namespace>/<name>`
            module.yaml:9:18: error: missing field `spec`: expected a map with the settings of this component
            module.yaml:9:25: error: missing field `id`: expected `<namespace>/<name>`
            module.yaml:11:31: error: `type`: expected text, found a list
            8 errors
            exit 2
        "#]],
    );
}

/// StateFun 3.1 and later: an unknown extension.
#[test]
fn protobuf_ingresses_of_the_first_release() {
    check(
        "version: \"3.0\"
module:
  meta: {type: remote}
  spec:
    ingresses:
      - ingress:
          meta: {type: statefun.kafka.io/protobuf-ingress, id: a/b}
          spec: {address: kafka:9092, topics: [names]}
",
        expect![[r#"
            module.yaml:7:24: error: `statefun.kafka.io/protobuf-ingress` worked in StateFun 3.0 only; use `io.statefun.kafka/ingress`, with `valueType` and `targets` for each of its `topics`
            1 error
            exit 2
        "#]],
    );
}

/// What is wrong in a component of the old format is named where it stands; its id comes from `meta`.
#[test]
fn components_of_the_old_format_are_checked_like_others() {
    check(
        "version: \"3.0\"
module:
  meta: {type: remote}
  spec:
    ingresses:
      - ingress:
          meta: {type: io.statefun.kafka/ingress, id: nobody}
          spec:
            id: a/b
            consumerGroupId: g
            topics: []
",
        expect![[r#"
            module.yaml:7:55: error: `id`: expected `<namespace>/<name>`, found `nobody`
            module.yaml:9:13: warning: `id` has no effect beside that of `meta`
            module.yaml:9:13: error: missing field `address`: expected brokers, `host:port`, separated by commas (or `bootstrap.servers` in `properties`)
            module.yaml:11:21: error: `topics`: expected at least one `topic`, found an empty list
            3 errors, 1 warning
            exit 2
        "#]],
    );
}

/// StateFun: "There are no ingress defined.", "There are no function providers defined."
#[test]
fn an_application_without_ingress_or_functions() {
    check(
        ENDPOINT,
        expect![[r#"
        module.yaml:1:1: error: there are no ingress defined: nothing could send a message; add a document such as `kind: dormouse.http.v1/ingress` with `spec: {listen: 127.0.0.1:8080}`
        1 error
        exit 2
    "#]],
    );
    check(
        INGRESS,
        expect![[r#"
        module.yaml:1:1: error: there are no function providers defined: nothing could receive a message; add a document of kind `io.statefun.endpoints.v2/http`, or link Rust functions into the binary
        1 error
        exit 2
    "#]],
    );
}

/// StateFun: "A binding for the key ... was previously defined."
#[test]
fn names_that_occur_twice() {
    let egress = "kind: io.statefun.kafka.v1/egress\nspec: {id: a/out, address: 'k:1'}\n---\n";
    check(
        &format!("{ENDPOINT}{INGRESS}{egress}{ENDPOINT}{INGRESS}{egress}"),
        expect![[r#"
        module.yaml:7:7: warning: `io.statefun.kafka.v1/egress` is not available yet: `a/out` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        module.yaml:10:7: error: function `a/*` is already served at module.yaml:1:7 (http://127.0.0.1:8000/); remove one of the two
        module.yaml:13:7: error: ingress id `io.statefun.playground/ingress` is already taken at module.yaml:4:7; give one of the two another id
        module.yaml:16:7: error: egress id `a/out` is already taken at module.yaml:7:7; give one of the two another id
        module.yaml:16:7: warning: `io.statefun.kafka.v1/egress` is not available yet: `a/out` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        3 errors, 2 warnings
        exit 2
    "#]],
    );
}
