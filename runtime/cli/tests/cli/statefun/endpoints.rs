//! What is wrong with an endpoint. StateFun finds much of it when the first message for a function arrives,
//! and stops the application then.

use expect_test::expect;

use super::{INGRESS, check};

fn endpoint(kind: &str, spec: &str) -> String {
    format!("{INGRESS}kind: io.statefun.endpoints.{kind}/http\nspec:\n{spec}")
}

/// StateFun: "Invalid syntax for target functions. Only <namespace>/<name> or <namespace>/* are supported."
#[test]
fn wildcards_in_other_places() {
    for functions in ["'*/*'", "a/b*", "'a*/b'", "a"] {
        let spec = format!("  functions: {functions}\n  urlPathTemplate: http://h/\n");
        let said = crate::sandbox::Sandbox::with(&endpoint("v2", &spec)).run(&["check"]);
        assert!(said.contains("module.yaml:6:14: error: "), "{said}");
        assert!(said.contains("<namespace>/<name>") && said.ends_with("exit 2\n"), "{said}");
    }
}

/// StateFun: "missing key /functions", or a null pointer.
#[test]
fn fields_that_are_required() {
    check(
        &endpoint("v1", "  timeouts: {}\n"),
        expect![[r#"
        module.yaml:6:3: error: missing field `functions`: expected `<namespace>/<name>` or `<namespace>/*`
        module.yaml:6:3: error: missing field `urlPathTemplate`: expected a URL such as `http://host:8000/statefun`
        2 errors
        exit 2
    "#]],
    );
    check(
        &endpoint("v2", "  transport: {}\n"),
        expect![[r#"
        module.yaml:6:3: error: missing field `functions`: expected `<namespace>/<name>` or `<namespace>/*`
        module.yaml:6:3: error: missing field `urlPathTemplate`: expected a URL such as `http://host:8000/statefun`
        2 errors
        exit 2
    "#]],
    );
}

/// StateFun's v1 refuses the number in quotes, its v2 reads it: here both do.
#[test]
fn numbers_in_quotes() {
    for kind in ["v1", "v2"] {
        let spec = "  functions: a/*\n  urlPathTemplate: http://h/\n  maxNumBatchRequests: \"5\"\n";
        let said = crate::sandbox::Sandbox::with(&endpoint(kind, spec)).run(&["check"]);
        assert_eq!(said, "ok: 1 manifest, 1 ingress, 1 function target, 0 egresses\nexit 0\n");
    }
    let spec = "  functions: a/*\n  urlPathTemplate: http://h/\n  maxNumBatchRequests: five\n";
    check(
        &endpoint("v1", spec),
        expect![[r#"
        module.yaml:8:24: error: `maxNumBatchRequests`: expected a whole number, found `five`
        1 error
        exit 2
    "#]],
    );
}

/// StateFun: an unknown extension.
#[test]
fn transports_that_nobody_knows() {
    let spec = "  functions: a/*\n  urlPathTemplate: http://h/\n  transport:\n    type: my.custom/http\n    \
                property1: value1\n";
    check(
        &endpoint("v2", spec),
        expect![[r#"
        module.yaml:9:11: error: unknown transport type `my.custom/http`; known are `io.statefun.transports.v1/async`, `io.statefun.transports.v1/okhttp`
        1 error
        exit 2
    "#]],
    );
}

/// StateFun: "Timeout durations must be larger than 0." and "Read timeout cannot be larger than request
/// timeout.", when the first message arrives.
#[test]
fn timeouts_that_cannot_be() {
    let spec = "  functions: a/*\n  urlPathTemplate: http://h/\n  timeouts: {call: 0, connect: 1 fortnight, read: 2m}\n";
    check(
        &endpoint("v1", spec),
        expect![[r#"
        module.yaml:8:20: error: `timeouts.call`: expected a duration larger than 0
        module.yaml:8:32: error: `timeouts.connect`: expected a duration such as `500 ms`, `10s`, `2min`, `1h`, `1day` (without a unit: milliseconds), found `1 fortnight`
        module.yaml:8:51: error: `timeouts.read` (120s) must not be longer than `timeouts.call` (60s)
        3 errors
        exit 2
    "#]],
    );
}

/// StateFun: an exception when the first message arrives.
#[test]
fn urls_that_are_none() {
    for url in [
        "functions:8000/statefun",
        "ftp://h/",
        "http:///x",
        "http://h:0/",
        "http://h/{name}",
        "http://${HOST}/",
    ] {
        let spec = format!("  functions: a/*\n  urlPathTemplate: {url}\n");
        let said = crate::sandbox::Sandbox::with(&endpoint("v2", &spec)).run(&["check"]);
        assert!(said.contains("module.yaml:7:20: error: `urlPathTemplate`: "), "{said}");
    }
}
