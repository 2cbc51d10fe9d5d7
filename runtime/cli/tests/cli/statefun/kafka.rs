//! What is wrong with Kafka's kinds.

use expect_test::{Expect, expect};

use super::{ENDPOINT, INGRESS, check};

fn ingress(spec: &str, expected: Expect) {
    check(&format!("{ENDPOINT}kind: io.statefun.kafka.v1/ingress\nspec:\n{spec}"), expected);
}

fn egress(spec: &str, expected: Expect) {
    let rest = format!("{ENDPOINT}{INGRESS}kind: io.statefun.kafka.v1/egress\nspec:\n{spec}");
    check(&rest, expected);
}

const TOPICS: &str = "  topics: [{topic: t, valueType: a/b, targets: [a/f]}]\n";
const REST: &str = "  id: a/in\n  address: kafka:9092\n  consumerGroupId: g\n  topics: [{topic: t, valueType: a/b, targets: [a/f]}]\n";

/// StateFun: "Missing setting for Kafka address.", "Missing setting for consumer group id.", null pointers.
#[test]
fn what_an_ingress_requires() {
    ingress(
        "  {}\n",
        expect![[r#"
        module.yaml:6:3: error: missing field `id`: expected `<namespace>/<name>`
        module.yaml:6:3: error: missing field `address`: expected brokers, `host:port`, separated by commas (or `bootstrap.servers` in `properties`)
        module.yaml:6:3: error: missing field `consumerGroupId`: expected the name of a consumer group (or `group.id` in `properties`)
        module.yaml:6:3: error: missing field `topics`: expected a list of topics, at least one
        4 errors
        exit 2
    "#]],
    );
}

/// StateFun: "Routing config for routable Kafka ingress cannot be empty."
#[test]
fn an_ingress_without_topics() {
    ingress(
        "  id: a/in\n  address: k:1\n  consumerGroupId: g\n  topics: []\n",
        expect![[r#"
            module.yaml:9:11: error: `topics`: expected at least one `topic`, found an empty list
            1 error
            exit 2
        "#]],
    );
}

/// StateFun: null pointers; an unknown name is found when Kafka refuses it.
#[test]
fn topics_that_cannot_be() {
    ingress(
        "  id: in\n  address: k:1\n  consumerGroupId: g\n  topics:\n    - {}\n    - topic: a/b\n      valueType: [x]\n      \
         targets: a/f\n    - {topic: t, valueType: x, targets: [f, 'a/*', dormouse.http/request]}\n    - t\n",
        expect![[r#"
            module.yaml:6:7: error: `id`: expected `<namespace>/<name>`, found `in`
            module.yaml:10:7: error: missing field `topic`: expected the name of a topic: 1 to 249 letters, digits, `.`, `_` and `-`
            module.yaml:10:7: error: missing field `valueType`: expected the type of the values, `<namespace>/<name>`
            module.yaml:10:7: error: missing field `targets`: expected a list of function types, `<namespace>/<name>`
            module.yaml:11:14: error: `topic`: expected the name of a topic: 1 to 249 letters, digits, `.`, `_` and `-`, found `a/b`
            module.yaml:12:18: error: `valueType`: expected text, found a list
            module.yaml:13:16: error: `targets`: expected a list, found `a/f`
            module.yaml:14:42: error: `targets`: expected `<namespace>/<name>`, found `f`
            module.yaml:14:45: error: `targets`: expected one function type, without `*`, found `a/*`
            module.yaml:14:52: error: `targets`: expected a function of the application: the namespace `dormouse.*` is reserved, found `dormouse.http/request`
            module.yaml:15:7: error: topics: expected a map, found `t`
            11 errors
            exit 2
        "#]],
    );
}

/// StateFun does not look at targets at the start, and stops when the first record for one arrives.
#[test]
fn targets_that_nobody_serves() {
    ingress(
        "  id: a/in\n  address: k:1\n  consumerGroupId: g\n  topics:\n    - topic: t\n      valueType: x\n      targets:\n        \
         - a/f\n    - {topic: u, valueType: x, targets: []}\n    - {topic: v, valueType: x, targets: [a/f, b/f]}\n    - {topic: t, valueType: y, targets: [a/g]}\n",
        expect![[r#"
            ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
            module.yaml:4:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `a/in` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
            module.yaml:14:41: warning: `targets` is empty: these records are dropped
            module.yaml:15:47: warning: nobody serves `b/f`: no endpoint has it in its `functions`, and no function of that type is linked; correct the name, or add an endpoint
            module.yaml:16:7: warning: topic `t` stands in line 10 too; this one counts
            exit 0
        "#]],
    );
}

/// The Kafka client: "Invalid url in bootstrap.servers".
#[test]
fn addresses_that_are_none() {
    ingress(
        &format!("  id: a/in\n  consumerGroupId: g\n{TOPICS}  address: kafka\n"),
        expect![[r#"
            module.yaml:9:12: error: `address`: expected brokers, `host:port`, separated by commas, found `kafka`
            1 error
            exit 2
        "#]],
    );
    ingress(
        &format!(
            "  id: a/in\n{TOPICS}  properties: [{{bootstrap.servers: 'a:1, b'}}, {{group.id: g}}]\n"
        ),
        expect![[r#"
            module.yaml:6:3: error: `address`: expected brokers, `host:port`, separated by commas, found `a:1, b`
            1 error
            exit 2
        "#]],
    );
}

/// Kafka's client passes over them.
#[test]
fn commas_too_many_between_brokers() {
    ingress(
        &format!("  id: a/in\n  consumerGroupId: g\n{TOPICS}  address: 'a:1,, b:2 ,'\n"),
        expect![[r#"
        ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
        module.yaml:4:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `a/in` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        exit 0
    "#]],
    );
}

/// StateFun: "Invalid startup position type: X; valid values are [...]". The names may have any case.
#[test]
fn startup_positions_that_cannot_be() {
    ingress(
        &format!("{REST}  startupPosition: {{type: newest}}\n"),
        expect![[r#"
        module.yaml:10:27: error: `startupPosition.type`: expected one of `group-offsets`, `earliest`, `latest`, `specific-offsets`, `date`, found `newest`
        1 error
        exit 2
    "#]],
    );
    ingress(
        &format!("{REST}  startupPosition: {{}}\n"),
        expect![[r#"
        module.yaml:10:20: error: missing field `type`: expected where to begin, such as `earliest`
        1 error
        exit 2
    "#]],
    );
    ingress(
        &format!("{REST}  startupPosition: earliest\n"),
        expect![[r#"
        module.yaml:10:20: error: startupPosition: expected a map, found `earliest`
        1 error
        exit 2
    "#]],
    );
    ingress(
        &format!("{REST}  startupPosition: {{type: EARLIEST}}\n"),
        expect![[r#"
        ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
        module.yaml:4:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `a/in` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        exit 0
    "#]],
    );
}

/// StateFun: "Provided specific offsets must not be empty.", a null pointer, or offset 0 for what is no number.
#[test]
fn offsets_that_cannot_be() {
    ingress(
        &format!("{REST}  startupPosition: {{type: specific-offsets}}\n"),
        expect![[r#"
        module.yaml:10:20: error: missing field `offsets`: expected a list of `- <topic>/<partition>: <offset>`, at least one
        1 error
        exit 2
    "#]],
    );
    ingress(
        &format!("{REST}  startupPosition: {{type: specific-offsets, offsets: []}}\n"),
        expect![[r#"
            module.yaml:10:54: error: `startupPosition.offsets`: expected a list of `- <topic>/<partition>: <offset>`, at least one, found an empty list
            1 error
            exit 2
        "#]],
    );
    ingress(
        &format!(
            "{REST}  startupPosition:\n    type: specific-offsets\n    offsets:\n      - t/0: some\n      - t: 1\n      \
             - t/-1: 1\n      - t/1: -1\n      - t/2: 7\n"
        ),
        expect![[r#"
            module.yaml:13:9: error: `startupPosition.offsets`: expected `<topic>/<partition>: <offset>`, found `t/0: some`
            module.yaml:14:9: error: `startupPosition.offsets`: expected `<topic>/<partition>: <offset>`, found `t: 1`
            module.yaml:15:9: error: `startupPosition.offsets`: expected `<topic>/<partition>: <offset>`, found `t/-1: 1`
            module.yaml:16:9: error: `startupPosition.offsets`: expected `<topic>/<partition>: <offset>`, found `t/1: -1`
            4 errors
            exit 2
        "#]],
    );
    ingress(
        &format!(
            "{REST}  startupPosition:\n    type: specific-offsets\n    offsets: [u/0: 1, t/0: 1, t/0: 2]\n"
        ),
        expect![[r#"
            ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
            module.yaml:4:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `a/in` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
            module.yaml:11:5: warning: `startupPosition.offsets`: `u/0` has no effect, since `u` is not in `topics`
            module.yaml:12:31: warning: `startupPosition.offsets`: `t/0` stands in line 12 too; this one counts
            exit 0
        "#]],
    );
}

/// StateFun: "Unable to parse date string for startup position", which it says of its documentation's date
/// too; Flink: "Startup time must be before current time".
#[test]
fn dates_that_cannot_be() {
    ingress(
        &format!("{REST}  startupPosition: {{type: date}}\n"),
        expect![[r#"
        module.yaml:10:20: error: missing field `date`: expected a date such as `2020-02-01 04:15:00.000 +0000`
        1 error
        exit 2
    "#]],
    );
    ingress(
        &format!("{REST}  startupPosition: {{type: date, date: yesterday}}\n"),
        expect![[r#"
            module.yaml:10:39: error: `startupPosition.date`: expected a date such as `2020-02-01 04:15:00.000 +0000` (an offset, or `Z`, stands at the end), found `yesterday`
            1 error
            exit 2
        "#]],
    );
    ingress(
        &format!(
            "{REST}  startupPosition: {{type: date, date: '9999-01-01 00:00:00.000 +0000'}}\n"
        ),
        expect![[r#"
            module.yaml:10:39: error: `startupPosition.date`: expected a date between 1970 and now: there are no records of another time, found `9999-01-01 00:00:00.000 +0000`
            1 error
            exit 2
        "#]],
    );
}

/// StateFun: "Invalid autoOffsetResetPosition: X; valid values are [...]".
#[test]
fn reset_positions_that_cannot_be() {
    ingress(
        &format!("{REST}  autoOffsetResetPosition: none\n"),
        expect![[r#"
        module.yaml:10:28: error: `autoOffsetResetPosition`: expected one of `earliest`, `latest`, found `none`
        1 error
        exit 2
    "#]],
    );
}

/// StateFun: a missing element, or silence about what has no effect.
#[test]
fn properties_that_cannot_be() {
    ingress(
        &format!("{REST}  properties: {{a: b}}\n"),
        expect![[r#"
        module.yaml:10:15: error: `properties`: expected a list, found a map
        1 error
        exit 2
    "#]],
    );
    ingress(
        &format!(
            "{REST}  properties:\n    - auto.offset.reset: earliest\n    - group.id: other\n    - a: 1\n      b: 2\n    \
             - c: [1]\n    - a: 3\n"
        ),
        expect![[r#"
            ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
            module.yaml:4:7: warning: `io.statefun.kafka.v1/ingress` is not available yet: `a/in` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
            module.yaml:11:7: warning: `auto.offset.reset` has no effect: `autoOffsetResetPosition`, or its default `latest`, wins
            module.yaml:12:7: warning: `group.id` has no effect beside `consumerGroupId`
            module.yaml:14:7: warning: `properties`: only the first entry of this map counts; put `- ` before `b`
            module.yaml:15:10: warning: `properties`: `c` is a list, which counts as empty text
            module.yaml:16:7: warning: `properties`: `a` stands in line 13 too; this one counts
            exit 0
        "#]],
    );
    ingress(
        &format!("{REST}  properties: [a, {{}}, {{[x]: y}}]\n"),
        expect![[r#"
            module.yaml:10:16: error: `properties`: expected a map of one entry, `- NAME: VALUE`, found `a`
            module.yaml:10:19: error: `properties`: expected a map of one entry, `- NAME: VALUE`, found an empty map
            module.yaml:10:24: error: `properties`: expected the name of a setting, found a list
            3 errors
            exit 2
        "#]],
    );
}

/// StateFun: a null pointer for either.
#[test]
fn what_an_egress_requires() {
    egress(
        "  {}\n",
        expect![[r#"
        module.yaml:9:3: error: missing field `id`: expected `<namespace>/<name>`
        module.yaml:9:3: error: missing field `address`: expected brokers, `host:port`, separated by commas (or `bootstrap.servers` in `properties`)
        2 errors
        exit 2
    "#]],
    );
    egress(
        "  id: a/out\n  properties: [{bootstrap.servers: 'kafka:9092'}]\n",
        expect![[r#"
        ok: 1 manifest, 1 ingress, 1 function target, 1 egress
        module.yaml:7:7: warning: `io.statefun.kafka.v1/egress` is not available yet: `a/out` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
        exit 0
    "#]],
    );
}

/// StateFun: "Invalid delivery semantic type: X; valid types are [at-least-once, exactly-once, none]".
#[test]
fn delivery_semantics_that_cannot_be() {
    let rest = "  id: a/out\n  address: k:1\n";
    egress(
        &format!("{rest}  deliverySemantic: {{type: twice}}\n"),
        expect![[r#"
        module.yaml:11:28: error: `deliverySemantic.type`: expected one of `at-least-once`, `exactly-once`, `none`, found `twice`
        1 error
        exit 2
    "#]],
    );
    egress(
        &format!("{rest}  deliverySemantic: exactly-once\n"),
        expect![[r#"
        module.yaml:11:21: error: deliverySemantic: expected a map, found `exactly-once`
        1 error
        exit 2
    "#]],
    );
    egress(
        &format!("{rest}  deliverySemantic: {{type: AT-LEAST-ONCE, transactionTimeout: 1min}}\n"),
        expect![[r#"
            ok: 1 manifest, 1 ingress, 1 function target, 1 egress
            module.yaml:7:7: warning: `io.statefun.kafka.v1/egress` is not available yet: `a/out` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
            module.yaml:11:63: warning: `transactionTimeout` has an effect with `exactly-once` only
            exit 0
        "#]],
    );
}

/// StateFun: "Transaction timeout durations must be larger than 0 when using exactly-once producer
/// semantics.", which it says of its documentation's `transactionTimeoutMillis: 15min` too.
#[test]
fn transaction_timeouts_that_cannot_be() {
    let semantic = |rest: &str| {
        format!("  id: a/out\n  address: k:1\n  deliverySemantic: {{type: exactly-once{rest}}}\n")
    };
    egress(
        &semantic(""),
        expect![[r#"
        module.yaml:11:21: error: missing field `transactionTimeout`: expected a duration such as `15min`, for `exactly-once`
        1 error
        exit 2
    "#]],
    );
    egress(
        &semantic(", transactionTimeout: 0s"),
        expect![[r#"
        module.yaml:11:62: error: `transactionTimeout`: expected a duration from `1ms` to `24days`, found `0s`
        1 error
        exit 2
    "#]],
    );
    egress(
        &semantic(", transactionTimeout: 30days"),
        expect![[r#"
        module.yaml:11:62: error: `transactionTimeout`: expected a duration from `1ms` to `24days`, found `30days`
        1 error
        exit 2
    "#]],
    );
    egress(
        &semantic(", transactionTimeout: soon"),
        expect![[r#"
        module.yaml:11:62: error: `transactionTimeout`: expected a duration such as `500 ms`, `10s`, `2min`, `1h`, `1day` (without a unit: milliseconds), found `soon`
        1 error
        exit 2
    "#]],
    );
    egress(
        &semantic(", transactionTimeout: 1s, transactionTimeoutMillis: 15min"),
        expect![[r#"
            ok: 1 manifest, 1 ingress, 1 function target, 1 egress
            module.yaml:7:7: warning: `io.statefun.kafka.v1/egress` is not available yet: `a/out` is written correctly, but this version of Dormouse cannot run it; remove this document, or put a kind in its place that runs
            module.yaml:11:62: warning: `transactionTimeout` has no effect beside `transactionTimeoutMillis`
            exit 0
        "#]],
    );
}
