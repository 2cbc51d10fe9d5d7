//! Unix domain sockets, with both transports.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use dormouse_statefun::transport::{HttpVersion, Transport};
use tokio::net::UnixListener;

use crate::calls::{NO_EFFECTS, assert_no_effects, bob, brief, call, failing, function, run};
use crate::server::{HTTP1, HTTP2, Seen, Spoken, good, serve};

fn socket_server(path: &Path, spoken: Spoken) -> Rc<Seen> {
    let listener = UnixListener::bind(path).unwrap();
    let seen = Rc::new(Seen::default());
    let outer = Rc::clone(&seen);
    let handler = Rc::new(async |_| good(NO_EFFECTS));
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(serve(stream, spoken, Rc::clone(&handler), Rc::clone(&outer)));
        }
    });
    seen
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("functions.sock");
    (directory, path)
}

#[test]
fn both_transports_call_over_a_socket() {
    run(async {
        let (_directory, path) = directory();
        let seen = socket_server(&path, HTTP1);
        let path = path.display();
        for (url, transport) in [
            (format!("http+unix://{path}/statefun/{{function.name}}?v=1"), Transport::default()),
            (format!("https+unix://{path}/statefun"), Transport::okhttp()),
            (format!("http+unix://{path}"), Transport::default()),
        ] {
            let function = function(&url, transport);
            for _ in 0..3 {
                assert_no_effects(function.invoke(bob(0)).await);
            }
        }
        assert_eq!(seen.connections.get(), 3, "connections are kept");
        let heads = seen.heads.borrow();
        let targets: Vec<_> = heads.iter().step_by(3).map(|head| head.uri.to_string()).collect();
        assert_eq!(targets, ["/statefun/person?v=1", "/statefun", "/"]);
        assert!(heads.iter().all(|head| head.headers["host"] == "localhost"));
    });
}

#[test]
fn a_socket_may_speak_http2() {
    run(async {
        let (_directory, path) = directory();
        let seen = socket_server(&path, HTTP2);
        let transport = Transport { http_version: HttpVersion::Two, ..Transport::default() };
        let url = format!("http+unix://{}/statefun", path.display());
        assert_no_effects(call(url, transport).await);
        assert_eq!(seen.heads.borrow()[0].uri.to_string(), "http://localhost/statefun");
    });
}

#[test]
fn a_socket_that_is_not_there_is_named() {
    run(async {
        let (_directory, path) = directory();
        let url = format!("http+unix://{}/statefun", path.display());
        let message = failing(url.clone(), brief()).await;
        let expected = format!(
            "at {url}: cannot connect to {}: there is no such socket; does the function run? (",
            path.display()
        );
        assert!(message.contains(&expected), "{message}");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let message = failing(url, brief()).await;
        assert!(message.contains("nobody listens on this socket"), "{message}");
    });
}
