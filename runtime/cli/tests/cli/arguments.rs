//! Wrong arguments and settings: exit code 2, and what to type instead.

use expect_test::{Expect, expect};

use crate::sandbox::Sandbox;

const GOOD: &str = "\
kind: dormouse.http.v1/ingress
spec: {listen: 127.0.0.1:0}
---
kind: io.statefun.endpoints.v2/http
spec: {functions: shop/*, urlPathTemplate: http://127.0.0.1:1/}
";

#[allow(clippy::needless_pass_by_value, reason = "expect! makes values")]
fn check(arguments: &[&str], expected: Expect) {
    expected.assert_eq(&Sandbox::with(GOOD).run(arguments));
}

#[test]
fn what_is_typed_wrong_is_named() {
    check(
        &["rum"],
        expect![[r#"
        error: unrecognized subcommand 'rum'

          tip: a similar subcommand exists: 'run'

        Usage: dormouse <COMMAND>

        For more information, try '--help'.
        exit 2
    "#]],
    );
    check(
        &["run", "--sharts", "3"],
        expect![[r#"
        error: unexpected argument '--sharts' found

          tip: a similar argument exists: '--shards'

        Usage: dormouse run --shards <N> [MODULE.yaml | DIR]...

        For more information, try '--help'.
        exit 2
    "#]],
    );
    check(
        &["run", "nowhere.yaml", "nor-here"],
        expect![[r#"
        error: nowhere.yaml: No such file or directory (os error 2)
        error: nor-here: No such file or directory (os error 2)
        exit 2
    "#]],
    );
    check(
        &["new"],
        expect![[r#"
        error: the following required arguments were not provided:
          <NAME>

        Usage: dormouse new <NAME>

        For more information, try '--help'.
        exit 2
    "#]],
    );
}

#[test]
fn values_that_do_not_fit_are_named_all_at_once() {
    check(
        &[
            "run",
            "--memory",
            "lots",
            "--shards",
            "0",
            "--partitions",
            "2000",
            "--admin",
            "here",
            "--store",
            "disk",
            "--set",
            "idle-sleep=soon",
            "--set",
            "limits.batch",
            "--set",
            "limits.bach=1MB",
            "--set",
            "nothing.of.the.kind=1",
        ],
        expect![[r#"
            error: --set limits.batch: expected KEY=VALUE
            error: --set: unknown key `limits.bach`; did you mean `limits.batch`?
            error: --set: unknown key `nothing.of.the.kind`; all keys are in docs/configuration.md
            error: --memory: expected a size of at least 96MB, found `lots`
            error: --store: expected `embedded` or `memory`, found `disk`
            error: --shards: expected a whole number from 1 to 256, or `auto`, found `0`
            error: --partitions: expected a whole number from 1 to 1024, or `auto`, found `2000`
            error: --set idle-sleep: expected a duration such as `500ms`, `60s`, `5min`, found `soon`
            error: --admin: expected an address such as `127.0.0.1:9095`, or `off`, found `here`
            exit 2
        "#]],
    );
    check(
        &["run", "--shards", "3", "--partitions", "2"],
        expect![[r#"
            error: 3 shards cannot share 2 partitions; a shard needs one at least
            exit 2
        "#]],
    );
    check(
        &["run", "--set", "log.filter=warn=="],
        expect![[r#"
            error: log.filter: expected directives such as `warn` or `info,dormouse_store=debug`, found `warn==` (invalid filter directive: too many '=' in filter directive, expected 0 or 1)
            exit 2
        "#]],
    );
}

#[test]
fn a_directory_without_a_manifest_says_so() {
    let sandbox = Sandbox::new();
    sandbox.write("empty/deep/down/module.yaml", "");
    expect![[r#"
        error: there is no module.yaml in this directory; name a manifest or a directory that holds one, or make an application with `dormouse new NAME`
        exit 2
    "#]].assert_eq(&sandbox.run(&["check"]));
    expect![[r#"
        error: empty: holds no module.yaml, nor does any directory in it
        exit 2
    "#]]
    .assert_eq(&sandbox.run(&["run", "empty"]));
}

#[test]
fn a_configuration_file_is_checked_like_a_manifest() {
    let sandbox = Sandbox::with(GOOD);
    let yaml = "shards: many\nlimits:\n  batch: 2MB\n  mailbx: 1MB\n  backlog: [1]\nmemory:\n";
    sandbox.write("conf.yaml", yaml);
    expect![[r#"
        conf.yaml:4:3: error: unknown key `limits.mailbx`; did you mean `limits.mailbox`?
        conf.yaml:5:12: error: `limits.backlog`: expected a value, found a list
        conf.yaml:6:7: error: `memory`: expected a value, found nothing
        3 errors
        exit 2
    "#]]
    .assert_eq(&sandbox.run(&["run", "--config", "conf.yaml"]));
    sandbox.write("conf.yaml", "shards: many\n");
    expect![[r#"
        error: conf.yaml:1:9: `shards`: expected a whole number from 1 to 256, or `auto`, found `many`
        exit 2
    "#]].assert_eq(&sandbox.run(&["run", "--config", "conf.yaml"]));
    sandbox.write("conf.yaml", "a: {}\n---\nb: {}\n");
    expect![[r#"
        conf.yaml:3:1: error: a configuration file has one document; remove this one
        1 error
        exit 2
    "#]]
    .assert_eq(&sandbox.run(&["run", "--config", "conf.yaml"]));
    expect![[r#"
        none.yaml:1:1: error: cannot be read: No such file or directory (os error 2)
        1 error
        exit 2
    "#]]
    .assert_eq(&sandbox.run(&["run", "--config", "none.yaml"]));
}

#[test]
fn a_flag_wins_over_set_and_set_over_the_file() {
    let sandbox = Sandbox::with(GOOD);
    sandbox.write("conf.yaml", "memory: a\nstore: b\nlog.format: c\n");
    let arguments =
        ["run", "--config", "conf.yaml", "--set", "memory=d", "--set", "store=e", "--memory", "f"];
    expect![[r#"
        error: --memory: expected a size of at least 96MB, found `f`
        error: --set store: expected `embedded` or `memory`, found `e`
        error: conf.yaml:3:13: `log.format`: expected `text` or `json`, found `c`
        exit 2
    "#]]
    .assert_eq(&sandbox.run(&arguments));
    let mut command = sandbox.command(&["run", "--set", "admin=off"]);
    let output = command.env("DORMOUSE_LOG", "what=is=this").output().unwrap();
    expect![[r#"
        error: log.filter: expected directives such as `warn` or `info,dormouse_store=debug`, found `what=is=this` (invalid filter directive: too many '=' in filter directive, expected 0 or 1)
        exit 2
    "#]].assert_eq(&sandbox.ended(output));
}
