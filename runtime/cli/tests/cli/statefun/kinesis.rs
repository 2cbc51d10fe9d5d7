//! What is wrong with Kinesis' kinds.

use expect_test::{Expect, expect};

use super::{ENDPOINT, INGRESS, check};
use crate::sandbox::Sandbox;

fn ingress(spec: &str, expected: Expect) {
    check(&format!("{ENDPOINT}kind: io.statefun.kinesis.v1/ingress\nspec:\n{spec}"), expected);
}

fn egress(spec: &str, expected: Expect) {
    let rest = format!("{ENDPOINT}{INGRESS}kind: io.statefun.kinesis.v1/egress\nspec:\n{spec}");
    check(&rest, expected);
}

const REST: &str = "  id: a/in\n  streams: [{stream: s, valueType: a/b, targets: [a/f]}]\n";

/// StateFun: null pointers, and an exception for no streams.
#[test]
fn what_the_kinds_require() {
    ingress(
        "  {}\n",
        expect![[r#"
        module.yaml:6:3: error: missing field `id`: expected `<namespace>/<name>`
        module.yaml:6:3: error: missing field `streams`: expected a list of streams, at least one
        2 errors
        exit 2
    "#]],
    );
    ingress(
        "  id: a/in\n  streams: []\n",
        expect![[r#"
            module.yaml:7:12: error: `streams`: expected at least one `stream`, found an empty list
            1 error
            exit 2
        "#]],
    );
    egress(
        "  {}\n",
        expect![[r#"
        module.yaml:9:3: error: missing field `id`: expected `<namespace>/<name>`
        1 error
        exit 2
    "#]],
    );
}

/// StateFun: null pointers; a name that cannot be is found when Kinesis refuses it.
#[test]
fn streams_that_cannot_be() {
    ingress(
        "  id: a/in\n  streams: [{}, {stream: 's/1', valueType: x, targets: [b/f]}, {stream: s, valueType: x, targets: [b/f]}]\n",
        expect![[r#"
            module.yaml:7:13: error: missing field `stream`: expected the name of a stream: 1 to 128 letters, digits, `.`, `_` and `-`
            module.yaml:7:13: error: missing field `valueType`: expected the type of the values, `<namespace>/<name>`
            module.yaml:7:13: error: missing field `targets`: expected a list of function types, `<namespace>/<name>`
            module.yaml:7:26: error: `stream`: expected the name of a stream: 1 to 128 letters, digits, `.`, `_` and `-`, found `s/1`
            4 errors
            exit 2
        "#]],
    );
    ingress(
        "  id: a/in\n  streams: [{stream: s, valueType: x, targets: [b/f]}]\n",
        expect![[r#"
            ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
            module.yaml:4:7: warning: `io.statefun.kinesis.v1/ingress` is not available yet: `a/in` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
            module.yaml:7:49: warning: nobody serves `b/f`: no endpoint has it in its `functions`, and no function of that type is linked; correct the name, or add an endpoint
            exit 0
        "#]],
    );
}

/// StateFun: "Invalid startup position type", "Unable to parse date string for startup position".
#[test]
fn startup_positions_that_cannot_be() {
    ingress(
        &format!("{REST}  startupPosition: {{type: group-offsets}}\n"),
        expect![[r#"
        module.yaml:8:27: error: `startupPosition.type`: expected one of `earliest`, `latest`, `date`, found `group-offsets`
        1 error
        exit 2
    "#]],
    );
    ingress(
        &format!("{REST}  startupPosition: {{type: date}}\n"),
        expect![[r#"
        module.yaml:8:20: error: missing field `date`: expected a date such as `2020-02-01 04:15:00.000 +0000`
        1 error
        exit 2
    "#]],
    );
    ingress(
        &format!("{REST}  startupPosition: {{type: date, date: 2020-02-01}}\n"),
        expect![[r#"
            module.yaml:8:39: error: `startupPosition.date`: expected a date such as `2020-02-01 04:15:00.000 +0000` (an offset, or `Z`, stands at the end), found `2020-02-01`
            1 error
            exit 2
        "#]],
    );
}

/// StateFun: "Invalid AWS region type: X; valid values are [default, specific, custom-endpoint]", null pointers,
/// and "Only custom service endpoints using HTTPS are supported".
#[test]
fn regions_that_cannot_be() {
    egress(
        "  id: a/out\n  awsRegion: {type: nearest}\n",
        expect![[r#"
        module.yaml:10:21: error: `awsRegion.type`: expected one of `default`, `specific`, `custom-endpoint`, found `nearest`
        1 error
        exit 2
    "#]],
    );
    egress(
        "  id: a/out\n  awsRegion: {type: specific}\n",
        expect![[r#"
        module.yaml:10:14: error: missing field `id`: expected the id of a region, such as `eu-west-1`
        1 error
        exit 2
    "#]],
    );
    egress(
        "  id: a/out\n  awsRegion: {type: specific, id: Ireland}\n",
        expect![[r#"
        module.yaml:10:35: error: `awsRegion.id`: expected the id of a region, such as `eu-west-1`, found `Ireland`
        1 error
        exit 2
    "#]],
    );
    egress(
        "  id: a/out\n  awsRegion: {type: custom-endpoint}\n",
        expect![[r#"
        module.yaml:10:14: error: missing field `endpoint`: expected a URL such as `https://host:4567`
        module.yaml:10:14: error: missing field `id`: expected the id of a region, such as `eu-west-1`
        2 errors
        exit 2
    "#]],
    );
    egress(
        "  id: a/out\n  awsRegion: {type: custom-endpoint, endpoint: 'http://localhost:4567', id: us-west-1}\n",
        expect![[r#"
            module.yaml:10:48: error: `awsRegion.endpoint`: expected a URL such as `https://host:4567` (only https is supported), found `http://localhost:4567`
            1 error
            exit 2
        "#]],
    );
}

/// StateFun: "Invalid AWS credential type: X; valid values are [default, basic, profile]", and null pointers.
#[test]
fn credentials_that_cannot_be() {
    egress(
        "  id: a/out\n  awsCredentials: {type: root}\n",
        expect![[r#"
        module.yaml:10:26: error: `awsCredentials.type`: expected one of `default`, `basic`, `profile`, found `root`
        1 error
        exit 2
    "#]],
    );
    egress(
        "  id: a/out\n  awsCredentials: {type: basic}\n",
        expect![[r#"
        module.yaml:10:19: error: missing field `accessKeyId`: expected the id of an access key
        module.yaml:10:19: error: missing field `secretAccessKey`: expected the secret of the access key
        2 errors
        exit 2
    "#]],
    );
    egress(
        "  id: a/out\n  awsCredentials: {type: profile}\n",
        expect![[r#"
        module.yaml:10:19: error: missing field `profileName`: expected the name of a profile
        1 error
        exit 2
    "#]],
    );
}

/// StateFun: "Max outstanding records must be larger than 0."
#[test]
fn outstanding_records_that_cannot_be() {
    egress(
        "  id: a/out\n  maxOutstandingRecords: 0\n",
        expect![[r#"
        module.yaml:10:26: error: `maxOutstandingRecords`: expected a whole number of at least 1, found `0`
        1 error
        exit 2
    "#]],
    );
}

#[test]
fn secrets_are_not_shown() {
    let manifest = format!(
        "{ENDPOINT}{INGRESS}kind: io.statefun.kinesis.v1/egress\nspec:\n  id: a/out\n  awsCredentials:\n    type: basic\n    \
         accessKeyId: AKIA\n    secretAccessKey: hunter2${{x}}\n    secretAccesKey: hunter2\n"
    );
    let said = Sandbox::with(&manifest).run(&["check"]);
    assert!(said.contains("unknown field `secretAccesKey`"), "{said}");
    assert!(said.contains("there are no placeholders") && !said.contains("hunter2"), "{said}");
}
