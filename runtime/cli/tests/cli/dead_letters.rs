//! `dormouse dead-letters`: whom it asks, and what it says when nobody answers. What it does with letters
//! is in the system tests of `runtime/interop`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use expect_test::expect;

use crate::sandbox::Sandbox;

const MANIFEST: &str = "\
kind: dormouse.http.v1/ingress
spec: {listen: 127.0.0.1:0}
---
kind: io.statefun.endpoints.v2/http
spec: {functions: shop/*, urlPathTemplate: http://127.0.0.1:1/statefun}
";

#[test]
fn a_running_process_is_asked() {
    let sandbox = Sandbox::with(MANIFEST);
    let running = sandbox.start(&["run", "--admin", "127.0.0.1:0", "--store", "memory"]);
    let admin = running.address("admin");
    let run = |arguments: &[&str]| {
        sandbox.run(&[&["dead-letters"], arguments, &["--admin", &admin]].concat())
    };
    expect![[r#"
        no dead letters
        exit 0
    "#]]
    .assert_eq(&run(&["list"]));
    expect![[r#"
        replayed 0 dead letters
        exit 0
    "#]]
    .assert_eq(&run(&["replay", "--all", "--type", "shop/cart"]));
    expect![[r#"
        error: which ones? Name letters, choose by --type, --id, --address or --cause, or discard --all
        exit 2
    "#]]
    .assert_eq(&run(&["discard"]));
    expect![[r#"
        error: --address: expected <namespace>/<name>/<id>, found `shop/cart`
        exit 2
    "#]]
    .assert_eq(&run(&["list", "--address", "shop/cart"]));
    expect![[r#"
        error: `letters`: expected the name of a dead letter, such as `17-42`, found `x`
        exit 2
    "#]]
    .assert_eq(&run(&["show", "x"]));
    expect![[r#"
        error: there is no dead letter 17-42
        error: there is no dead letter 999-1
        exit 1
    "#]]
    .assert_eq(&run(&["show", "17-42", "999-1"]));
    expect![[r#"
        discarded 0 dead letters
        error: 1 dead letter of those named: not there
        exit 1
    "#]]
    .assert_eq(&run(&["discard", "17-42"]));
    running.signal("TERM");
    assert_eq!(running.end(), "exit 0\n");
}

#[test]
fn who_does_not_answer_is_named() {
    let sandbox = Sandbox::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let list = ["dead-letters", "list", "--admin", &address];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = other.accept().unwrap();
            let mut request = [0; 1_000];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(b"SSH-2.0-OpenSSH\r\n").unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // Closed with the rest of the request unread, the connection would be broken instead.
            stream.read_to_end(&mut Vec::new()).unwrap();
        });
        let text = sandbox.run(&list);
        expect![[r#"
            error: ADDRESS is not the admin listener of a dormouse
            exit 1
        "#]]
        .assert_eq(&text.replace(&address, "ADDRESS"));
    });
    drop(other);
    let text = sandbox.run(&list);
    expect![[r#"
        error: the admin listener at ADDRESS does not answer: Connection refused (os error 111); is the process running, and with this --admin address?
        exit 1
    "#]]
    .assert_eq(&text.replace(&address, "ADDRESS"));
}
