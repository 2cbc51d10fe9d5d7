//! Directories with a `Cargo.toml`: built, and taking this process's place.

use std::path::Path;

use expect_test::expect;

use crate::sandbox::Sandbox;

const MANIFEST: &str = "kind: none.of/these\nspec: {}\n";

fn crate_in(sandbox: &Sandbox, directory: &str, name: &str, main: &str) {
    let toml = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n"
    );
    sandbox.write(&format!("{directory}/Cargo.toml"), toml);
    sandbox.write(&format!("{directory}/src/main.rs"), main);
    sandbox.write(&format!("{directory}/module.yaml"), MANIFEST);
}

#[test]
fn the_application_is_built_and_gets_the_same_arguments() {
    let sandbox = Sandbox::new();
    let main = "fn main() { println!(\"{:?}\", std::env::args().skip(1).collect::<Vec<_>>()) }";
    crate_in(&sandbox, "app", "shop", main);
    let output = sandbox
        .command(&["check", "--strict", "app"])
        .env("CARGO_TARGET_DIR", sandbox.path("target"))
        .output()
        .unwrap();
    let text = sandbox.ended(output);
    let (began, cargo) = text.split_once("building app (cargo build --release)\n").unwrap();
    expect![[r#"
        ["check", "--strict", "app"]
    "#]]
    .assert_eq(began);
    assert!(cargo.ends_with("running target/release/shop\nexit 0\n"), "{cargo}");
}

#[test]
fn what_cannot_be_built_says_why() {
    let sandbox = Sandbox::new();
    crate_in(&sandbox, "app", "shop", "fn main() { this is not rust }");
    let target = sandbox.path("target");
    let output =
        sandbox.command(&["run", "app"]).env("CARGO_TARGET_DIR", &target).output().unwrap();
    let text = sandbox.ended(output);
    assert!(
        text.ends_with(
            "error: app/Cargo.toml: cargo could not build it (exit status: 101)\nexit 1\n"
        ),
        "{text}"
    );
    let output = sandbox
        .command(&["run", "app"])
        .env_remove("CARGO")
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    expect![[r#"
        building app (cargo build --release)
        error: app/Cargo.toml: this application is built with cargo, which cannot be started (No such file or directory (os error 2)); install Rust from https://rustup.rs, or start the application's own binary
        exit 1
    "#]].assert_eq(&sandbox.ended(output));
}

#[test]
fn two_applications_cannot_be_one_process() {
    let sandbox = Sandbox::new();
    crate_in(&sandbox, "one", "one", "fn main() {}");
    crate_in(&sandbox, "two", "two", "fn main() {}");
    expect![[r#"
        error: one and two each hold an application with functions in Rust, and one process cannot be both; start them separately, or name their manifests
        exit 2
    "#]].assert_eq(&sandbox.run(&["run", "one", "two"]));
}

/// An application's binary has this command line too: given its own directory, it must read the
/// manifest instead of building itself again.
#[test]
fn a_binary_of_this_name_does_not_build_itself() {
    let sandbox = Sandbox::new();
    crate_in(&sandbox, "app", "shop", "fn main() { unbuildable }");
    let binary = sandbox.path("shop");
    std::fs::copy(Path::new(env!("CARGO_BIN_EXE_dormouse")), &binary).unwrap();
    let text = sandbox.ended(sandbox.command_of(&binary, &["check", "app"]).output().unwrap());
    assert!(text.starts_with("app/module.yaml:1:7: error: unknown kind"), "{text}");
}
