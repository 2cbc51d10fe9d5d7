//! An application that `dormouse run DIR` builds and becomes, asked to stop while clients send requests:
//! it ends with code 0, every request that was acknowledged is there after the restart, and no other.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::sandbox::{Running, Sandbox, http, try_http};

const CLIENTS: usize = 8;
const PATH: &str = "/till/greeter/Bob?wait=20s";

/// Builds with the dependencies that the tests have built already, instead of all of them in release.
fn cargo_of_the_tests(sandbox: &Sandbox) -> std::path::PathBuf {
    let script = "#!/bin/bash\nexec \"$REAL_CARGO\" \"${@/--release/--offline}\"\n";
    sandbox.write("cargo", script);
    let path = sandbox.path("cargo");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn start(sandbox: &Sandbox) -> Running {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = sandbox.command(&["run", "till", "--data", "data", "--admin", "off"]);
    command
        .env("CARGO", cargo_of_the_tests(sandbox))
        .env("REAL_CARGO", env!("CARGO"))
        .env("CARGO_TARGET_DIR", root.join("target"))
        .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    Running::start(command)
}

#[test]
fn a_built_application_that_is_stopped_by_a_signal_leaves_nothing_in_doubt() {
    let sandbox = Sandbox::new();
    assert!(sandbox.run(&["new", "till"]).ends_with("exit 0\n"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::copy(root.join("Cargo.lock"), sandbox.path("till/Cargo.lock")).unwrap();
    let manifest = fs::read_to_string(sandbox.path("till/module.yaml")).unwrap();
    sandbox.write("till/module.yaml", manifest.replace("127.0.0.1:8080", "127.0.0.1:0"));
    let acknowledged = AtomicUsize::new(0);
    for signal in ["TERM", "INT"] {
        let running = start(&sandbox);
        let address = running.address("ingress");
        let before = acknowledged.load(Ordering::Relaxed);
        let ended = thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    // Until the server is gone.
                    while let Some((status, _)) = try_http(&address, "POST", PATH, "Bob") {
                        match status {
                            200 | 202 | 504 => acknowledged.fetch_add(1, Ordering::Relaxed),
                            503 => continue,
                            other => panic!("{other}"),
                        };
                    }
                });
            }
            while acknowledged.load(Ordering::Relaxed) < before + 500 {
                thread::sleep(Duration::from_millis(1));
            }
            running.signal(signal);
            running.end()
        });
        assert!(ended.ends_with("exit 0\n"), "{ended}");
    }
    let running = start(&sandbox);
    let answer = http(&running.address("ingress"), "POST", PATH, "Bob");
    let visits = acknowledged.into_inner() + 1;
    assert_eq!(answer, (200, format!("Hello Bob! You are visit number {visits}.")));
    running.signal("TERM");
    let ended = running.end();
    assert!(ended.ends_with("exit 0\n"), "{ended}");
}
