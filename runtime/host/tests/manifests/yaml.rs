//! How text becomes documents: what is malformed, what is more lenient in StateFun's kinds than in others,
//! and what bounds there are.

use std::path::Path;

use dormouse_host::manifest;
use dormouse_sdk::manifest::Diagnostics;
use expect_test::expect;

use super::{INGRESS, check, plan_of};

#[test]
fn malformed_yaml_is_one_error_and_what_stands_before_is_still_checked() {
    check(
        &format!("{INGRESS}---\nkind: nope\nspec: {{}}\n---\nkind: x\n  spec: [\n---\n{INGRESS}"),
        expect![[r#"
            module.yaml:4:7: error: unknown kind `nope`; kinds are `dormouse.functions.v1/in-process`, `io.statefun.test.v1/endpoint`, `test.v1/egress`, `test.v1/ingress`, `test.v1/later`
            module.yaml:8:7: error: malformed YAML: mapping values are not allowed in this context
        "#]],
    );
    check(
        "a: b: c\n",
        expect![[r#"
        module.yaml:1:5: error: malformed YAML: mapping values are not allowed in this context
    "#]],
    );
    check(
        "kind: \"never closed\n",
        expect![[r#"
        module.yaml:1:7: error: malformed YAML: while scanning a quoted scalar, found unexpected end of stream
    "#]],
    );
    check(
        "kind: *nobody\n",
        expect![[r#"
            module.yaml:1:7: error: malformed YAML: while parsing node, found unknown anchor (text that begins with `*` needs quotes)
        "#]],
    );
    check(
        "\tkind: x\n",
        expect![[r#"
        module.yaml:1:2: error: missing field `spec`: expected a map with the settings of this component
    "#]],
    );
    check(
        "kind: !!binary aGk=\nspec: !mine {}\n",
        expect![[r#"
            module.yaml:1:7: error: the YAML tag `!!binary` has no meaning here
            module.yaml:1:7: error: unknown kind `aGk=`; kinds are `dormouse.functions.v1/in-process`, `io.statefun.test.v1/endpoint`, `test.v1/egress`, `test.v1/ingress`, `test.v1/later`
            module.yaml:2:7: error: the YAML tag `!mine` has no meaning here
        "#]],
    );
}

/// What belongs to `[` or `{` may begin in any column; what is said of it names the column as written.
#[test]
fn lines_inside_of_brackets_may_begin_anywhere() {
    let functions = "functions: a/b, url: http://a";
    for spec in [
        format!("spec: {{\n    {functions}\n}}"),
        format!("spec: {{\n{functions}\n}}"),
        format!("spec: {{\n{functions},\n# here\nother: [\n1,\n  two\n]\n}}"),
        format!(
            "spec:\n    other: [{{\n  a: [\n1\n]\n  }},\n  {{b: 2\n  }}\n  ]\n    <<: {{\n {functions}}}"
        ),
    ] {
        let text = format!("{INGRESS}---\nkind: io.statefun.test.v1/endpoint\n{spec}\n");
        let (plan, findings) = plan_of(text.as_bytes(), &[]);
        assert!(!findings.contains("error"), "{text}\n{findings}");
        assert_eq!(plan.functions.served()[0].served_at, "http://a");
        assert_eq!(
            findings.contains("unknown field `other`"),
            text.contains("other"),
            "{findings}"
        );
    }
    for line_end in ["\n", "\r\n", "\r"] {
        let text = "# Größe: 1 €\nkind: test.v1/ingress\nspec:\n  id: &i [ # ü\n'ä€'\n  ]\n";
        expect![[r#"
            module.yaml:4:7: error: `id`: expected `<namespace>/<name>`, found a list
        "#]]
        .assert_eq(&plan_of(text.replace('\n', line_end).as_bytes(), &["linked/one"]).1);
    }
    check(
        "kind: test.v1/ingress\nspec: {\nid: a/in,\nidd: 1\n}\n",
        expect![[r#"
            module.yaml:4:1: error: unknown field `idd`; did you mean `id`?
        "#]],
    );
    let long = |lines: usize| format!("{INGRESS}more:\n  a: [\n{}  ]\n", "1,\n".repeat(lines));
    check(
        &long(100),
        expect![[r#"
            module.yaml:3:1: error: unknown field `more`; a document has `kind`, `spec`
        "#]],
    );
    check(
        &long(300),
        expect![[r#"
            module.yaml:205:1: error: malformed YAML: invalid indentation (indent what stands inside of brackets)
        "#]],
    );
}

/// StateFun takes the last one, and says nothing.
#[test]
fn of_keys_that_occur_twice_the_last_counts_in_statefuns_kinds_and_others_refuse_them() {
    let statefun = "kind: io.statefun.test.v1/endpoint\nspec:\n  functions: a/b\n  url: http://a\n  \
                    functions: a/c\n  \"url\": http://b\n  functions: a/d\n";
    let (plan, findings) = plan_of(format!("{INGRESS}---\n{statefun}").as_bytes(), &[]);
    expect![[r#"
        module.yaml:8:3: warning: key `functions` occurs twice in this map, also in line 6; this one counts
        module.yaml:9:3: warning: key `url` occurs twice in this map, also in line 7; this one counts
        module.yaml:10:3: warning: key `functions` occurs twice in this map, also in line 8; this one counts
    "#]]
    .assert_eq(&findings);
    let served: Vec<String> =
        plan.functions.served().iter().map(|s| format!("{} {}", s.target, s.served_at)).collect();
    assert_eq!(served, ["a/d http://b"]);
    check(
        "kind: test.v1/ingress\nkind: test.v1/egress\nspec:\n  id: a/b\n  \"id\": a/c\n",
        expect![[r#"
            module.yaml:2:1: error: key `kind` occurs twice in this map, also in line 1
            module.yaml:5:3: error: key `id` occurs twice in this map, also in line 4
        "#]],
    );
}

/// Each document of a file is read by its own kind's rules.
#[test]
fn tags_are_passed_over_in_statefuns_kinds() {
    check(
        &format!(
            "kind: io.statefun.test.v1/endpoint\nspec: !mine\n  functions: !!str a/b\n  url: !local http://a\n---\n\
             {INGRESS}---\nkind: test.v1/egress\nspec: !mine {{id: a/out}}\n"
        ),
        expect![[r#"
            module.yaml:2:7: warning: the YAML tag `!mine` has no meaning here (it has no effect)
            module.yaml:4:8: warning: the YAML tag `!local` has no meaning here (it has no effect)
            module.yaml:10:7: error: the YAML tag `!mine` has no meaning here
        "#]],
    );
}

#[test]
fn anchors_aliases_and_merge_keys_work() {
    let text = "kind: test.v1/ingress\nspec: &in\n  id: a/in\n---\n\
                kind: io.statefun.test.v1/endpoint\nspec:\n  <<: [{url: http://a}, {url: http://b}]\n  \
                functions: &f a/b\n  other: *f\n";
    let (plan, findings) = plan_of(text.as_bytes(), &[]);
    expect![[r#"
        module.yaml:9:3: warning: unknown field `other`; known are `functions`, `url` (it has no effect)
    "#]].assert_eq(&findings);
    assert_eq!(plan.functions.served()[0].served_at, "http://a");
    check(
        "kind: a/b\nspec: {<<: [{}, text]}\n",
        expect![[r#"
            module.yaml:1:7: error: unknown kind `a/b`; kinds are `dormouse.functions.v1/in-process`, `io.statefun.test.v1/endpoint`, `test.v1/egress`, `test.v1/ingress`, `test.v1/later`
            module.yaml:2:17: error: `<<` merges maps: expected a map or a list of maps, found `text`
        "#]],
    );
    check(
        &format!("kind: test.v1/ingress\nspec: {{id: &i a/in}}\n---\n{INGRESS}other: *i\n"),
        expect![[r#"
            module.yaml:6:8: error: this alias names an anchor of another document; write the value here
        "#]],
    );
    check(
        "kind: &k [*k]\nspec: {<<: text}\n",
        expect![[r#"
        module.yaml:1:11: error: this alias stands inside of the node that it names
    "#]],
    );
}

#[test]
fn small_files_cannot_become_large_trees() {
    let mut bomb = String::from("a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for (name, of) in "bcdefghi".chars().zip("abcdefgh".chars()) {
        let nine = vec![format!("*{of}"); 9].join(",");
        bomb.push_str(&format!("{name}: &{name} [{nine}]\n"));
    }
    check(
        &bomb,
        expect![[r#"
        module.yaml:6:34: error: the file needs more than 64 MiB with its aliases expanded
    "#]],
    );
    let deep = "[".repeat(100_000);
    check(
        &deep,
        expect![[r#"
        module.yaml:1:256: error: malformed YAML: recursion limit exceeded
    "#]],
    );
    let mut chain = String::from("a0: &a0 [x]\n");
    for i in 1..100 {
        chain.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    check(
        &chain,
        expect![[r#"
        module.yaml:64:12: error: more than 64 maps and lists inside one another
    "#]],
    );
}

#[test]
fn files_that_are_no_text_are_refused_where_they_go_wrong() {
    expect![[r#"
        module.yaml:2:1: error: is not UTF-8 text here; save the file as UTF-8
    "#]]
    .assert_eq(&plan_of(b"kind: a/b\nspec: \xff\n", &[]).1);
    let long = vec![b'#'; usize::try_from(manifest::FILE_BYTES_MAX).unwrap() + 1];
    expect![[r#"
        module.yaml:1:1: error: is longer than 4194304 bytes; split it into several files
    "#]]
    .assert_eq(&plan_of(&long, &[]).1);
    let with_mark = format!("\u{feff}{INGRESS}");
    assert_eq!(plan_of(with_mark.as_bytes(), &["a/b"]).1, "");
    let mut diagnostics = Diagnostics::default();
    let _ = manifest::read(&[Path::new("/nowhere/module.yaml").to_owned()], &mut diagnostics);
    expect![
        "/nowhere/module.yaml:1:1: error: cannot be read: No such file or directory (os error 2)"
    ]
    .assert_eq(&diagnostics.found[0].to_string());
}
