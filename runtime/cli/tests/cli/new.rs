//! `dormouse new`: what it makes builds and passes its own test.

use std::path::Path;
use std::process::Command;

use expect_test::expect;

use crate::sandbox::Sandbox;

#[test]
fn names_and_places_that_do_not_fit_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("taken/file", "");
    expect![[r#"
        error: "Shop" cannot be the name of an application: expected a small letter, then small letters, digits, `-` and `_`, 64 at most
        exit 2
    "#]].assert_eq(&sandbox.run(&["new", "Shop"]));
    expect![[r#"
        error: "fn" cannot be the name of an application: Rust or cargo has a use for it; choose another one
        exit 2
    "#]].assert_eq(&sandbox.run(&["new", "fn"]));
    expect![[r#"
        error: taken: exists already; choose another name
        exit 2
    "#]]
    .assert_eq(&sandbox.run(&["new", "taken"]));
}

/// Dependencies come from this checkout, so this builds little more than the application.
#[test]
fn what_it_makes_builds_runs_and_passes_its_test() {
    let sandbox = Sandbox::new();
    expect![[r#"
        made my-shop: a function in src/main.rs, a manifest in module.yaml, a test in tests/greeter.rs

          cd my-shop
          cargo run --release -- run
          curl -d World 'http://127.0.0.1:8080/my-shop/greeter/Bob?wait=5s'
        exit 0
    "#]].assert_eq(&sandbox.run(&["new", "my-shop"]));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directory = sandbox.path("my-shop");
    std::fs::copy(root.join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    let cargo = |command: &str| {
        let output = Command::new(env!("CARGO"))
            .args([command, "--offline"])
            .current_dir(&directory)
            .env("CARGO_TARGET_DIR", root.join("target"))
            .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
            .output()
            .unwrap();
        sandbox.ended(output)
    };
    let tested = cargo("test");
    assert!(tested.contains("test tests::a_greeter_counts_who_it_greets ... ok"), "{tested}");
    assert!(tested.contains("test every_id_has_a_count_of_its_own ... ok"), "{tested}");
    assert!(tested.ends_with("exit 0\n"), "{tested}");
    assert!(!tested.contains("warning"), "{tested}");
    let binary = root.join("target/debug/my-shop");
    let checked = sandbox.command_of(&binary, &["check", "my-shop"]).output().unwrap();
    expect![[r#"
        ok: 1 manifest, 1 ingress, 1 function target, 0 egresses
        exit 0
    "#]]
    .assert_eq(&sandbox.ended(checked));
}
