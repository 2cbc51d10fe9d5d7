//! TLS to endpoints, against real servers: whom to trust, certificates that are awkward, and what is said
//! when it does not work.

mod clients;
mod renewal;
mod secure;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use dormouse_statefun::tls::TlsSettings;
use dormouse_statefun::transport::{HttpVersion, Transport};
use secure::{
    ONLY_12, ONLY_13, Server, assert_good, brief_with, fixture, location, refusal, trusting,
    verifying, with,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::calls::{
    GOOD_RAW, NO_EFFECTS, assert_no_effects, bob, brief, call, failing, function, ms, run,
};
use crate::server::{answer_raw, good, hyper_server, raw_server, read_request};

#[test]
fn an_endpoint_with_a_certificate_of_the_bundle_is_called() {
    run(async {
        let server = Server::new("server.pem", "server.key");
        let (address, seen) = server.start().await;
        let port = address.port();
        for host in ["127.0.0.1", "localhost"] {
            let url = format!("https://{host}:{port}/statefun");
            let function = function(&url, with(verifying("ca.pem")));
            for _ in 0..3 {
                assert_no_effects(function.invoke(bob(0)).await);
            }
        }
        assert_eq!((seen.connections.get(), seen.requests.borrow().len()), (2, 6));
        let head = seen.heads.borrow()[0].clone();
        assert_eq!((head.version, head.uri.path()), (http::Version::HTTP_11, "/statefun"));
        // Redirects may lead here, and use the same settings.
        let url = format!("https://localhost:{port}/there");
        let (plain, _) = hyper_server(move |_| {
            let answer = http::Response::builder().status(307).header("Location", &url);
            let answer = answer.body(http_body_util::Full::default()).unwrap();
            async move { answer }
        })
        .await;
        let transport = Transport { tls: verifying("ca.pem"), ..Transport::okhttp() };
        assert_no_effects(call(format!("http://{plain}/"), transport).await);
    });
}

#[test]
fn http2_is_spoken_where_the_endpoint_chooses_it() {
    run(async {
        let server = Server { http2: true, ..Server::new("server.pem", "server.key") };
        let (address, seen) = server.start().await;
        let url = format!("https://{address}/statefun");
        let function = function(&url, with(trusting("ca.pem")));
        let calls: Vec<_> =
            (0..100).map(|_| tokio::task::spawn_local(function.invoke(bob(0)))).collect();
        for call in calls {
            assert_no_effects(call.await.unwrap());
        }
        assert_eq!(seen.connections.get(), 1, "those who come at once wait for the first");
        let head = seen.heads.borrow()[0].clone();
        assert_eq!((head.version, head.uri.to_string()), (http::Version::HTTP_2, url.clone()));
        let old = Transport { http_version: HttpVersion::One, ..with(trusting("ca.pem")) };
        assert_no_effects(call(url, old).await);
        assert_eq!(seen.heads.borrow().last().unwrap().version, http::Version::HTTP_11);
    });
}

#[test]
fn an_endpoint_without_http2_is_refused_where_it_is_asked_for() {
    run(async {
        let two = || Transport { http_version: HttpVersion::Two, ..brief_with(trusting("ca.pem")) };
        let (address, _) = Server::new("server.pem", "server.key").start().await;
        let message = failing(format!("https://{address}/"), two()).await;
        assert!(message.contains("offers no HTTP/2; leave `http_version` out"), "{message}");
    });
}

#[test]
fn large_bodies_pass_through_tls() {
    run(async {
        let body: &'static [u8] = Box::leak(
            [&[0x0a, 0x80, 0x80, 0xc0, 0x01][..], &vec![0; 3 << 20]].concat().into_boxed_slice(),
        );
        for http2 in [false, true] {
            let server = Server { http2, ..Server::new("server.pem", "server.key") };
            let (address, seen) = server.start_with(body).await;
            let function = function(&format!("https://{address}/"), with(trusting("ca.pem")));
            for _ in 0..2 {
                assert_no_effects(function.invoke(bob(5 << 20)).await);
            }
            assert!(seen.requests.borrow().iter().all(|body| body.len() > 5 << 20));
            assert_eq!(seen.connections.get(), 1);
        }
    });
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    run(async {
        let server = Server::new("server.pem", "server.key");
        let message = refusal(&server, trusting("other-ca.pem")).await;
        assert!(
            message.contains("is not issued by a CA of `trust_cacerts` (module.yaml:9) in "),
            "{message}"
        );
        assert!(message.contains("add its CA to `trust_cacerts`"), "{message}");
        assert!(message.contains(" attempts in "), "it may be put right meanwhile: {message}");
    });
}

#[test]
fn names_are_looked_at_unless_the_bundle_is_the_endpoints_own() {
    run(async {
        for (certificate, found) in [
            ("server-other-name.pem", "is for other.example, and not for the host in the URL"),
            ("server-without-name.pem", "is for no host name (it has no `subjectAltName`)"),
        ] {
            let server = Server::new(certificate, "server.key");
            assert_good(&server, trusting("ca.pem")).await;
            let message = refusal(&server, verifying("ca.pem")).await;
            assert!(message.contains(found), "{message}");
            assert!(message.contains("`verify_hostnames: false`"), "{message}");
            // Without names the chain counts all the same.
            let message = refusal(&server, trusting("other-ca.pem")).await;
            assert!(message.contains("is not issued by"), "{message}");
        }
    });
}

#[test]
fn certificates_of_version_1_work_where_names_are_not_looked_at() {
    run(async {
        for versions in [ONLY_12, ONLY_13] {
            let server =
                |certificate| Server { versions, ..Server::new(certificate, "server-v1.key") };
            assert_good(&server("server-v1.pem"), trusting("ca.pem")).await;
            let message = refusal(&server("server-v1.pem"), verifying("ca.pem")).await;
            assert!(message.contains("is for no host name"), "{message}");
            let message = refusal(&server("server-v1.pem"), trusting("other-ca.pem")).await;
            assert!(message.contains("is not issued by"), "{message}");
            let message = refusal(&server("server-v1-forged.pem"), trusting("ca.pem")).await;
            assert!(message.contains("cannot be verified"), "{message}");
            let message = refusal(&server("server-v1-expired.pem"), trusting("ca.pem")).await;
            assert!(message.contains("has expired"), "{message}");
            // Somebody who has the certificate, but not its key.
            let thief = Server { versions, ..Server::new("server-v1.pem", "client.key") };
            let message = refusal(&thief, trusting("ca.pem")).await;
            assert!(message.contains("cannot be verified"), "{message}");
        }
    });
}

#[test]
fn a_certificate_that_is_itself_in_the_bundle_is_trusted() {
    run(async {
        for (certificate, key) in [("self.pem", "self.key"), ("self-v1.pem", "self-v1.key")] {
            for versions in [ONLY_12, ONLY_13] {
                let server = Server { versions, ..Server::new(certificate, key) };
                assert_good(&server, trusting(certificate)).await;
                assert_good(&server, verifying(certificate)).await;
                let message = refusal(&server, trusting("ca.pem")).await;
                assert!(message.contains("the certificate of 127.0.0.1:"), "{message}");
                assert!(message.contains("`trust_cacerts`"), "{message}");
            }
        }
        // The way out for what the TLS library refuses.
        for certificate in ["server-sha1.pem", "server-expired.pem"] {
            let server = Server::new(certificate, "server.key");
            assert_good(&server, trusting(certificate)).await;
            let message = refusal(&server, trusting("ca.pem")).await;
            let way_out = "or put the endpoint's own certificate into `trust_cacerts`";
            assert!(message.contains(way_out), "{message}");
        }
        let thief = Server::new("self.pem", "server.key");
        let message = refusal(&thief, trusting("self.pem")).await;
        assert!(message.contains("cannot be verified"), "{message}");
    });
}

/// What is logged on this thread while the guard lives.
fn logged() -> (Arc<Mutex<Vec<u8>>>, tracing::subscriber::DefaultGuard) {
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || Log(Arc::clone(&written)))
        .with_ansi(false)
        .finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[test]
fn a_name_that_does_not_fit_is_told_once_unless_it_is_meant() {
    run(async {
        let (log, _guard) = logged();
        let read = || String::from_utf8(log.lock().unwrap().clone()).unwrap();
        let (address, _) = Server::new("server-other-name.pem", "server.key").start().await;
        let url = format!("https://{address}/");
        let meant = TlsSettings { verify_hostnames: Some(false), ..trusting("ca.pem") };
        assert_no_effects(call(url.clone(), with(meant)).await);
        assert_eq!(read(), "");
        let transport = Transport { http_version: HttpVersion::One, ..with(trusting("ca.pem")) };
        let function = function(&url, transport);
        let calls: Vec<_> =
            (0..3).map(|_| tokio::task::spawn_local(function.invoke(bob(0)))).collect();
        for call in calls {
            assert_no_effects(call.await.unwrap());
        }
        let said = read();
        assert_eq!(said.lines().count(), 1, "{said}");
        let expected = "WARN dormouse_statefun::tls::verify: the certificate of 127.0.0.1 is for \
                        other.example, which is not checked";
        assert!(said.contains(expected), "{said}");
        assert!(said.contains("`verify_hostnames: true` refuses it"), "{said}");
    });
}

#[test]
fn a_file_that_appears_later_is_taken() {
    run(async {
        let (address, _) = Server::new("server.pem", "server.key").start().await;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let trust_cacerts = Some(location("trust_cacerts", &path));
        let transport = with(TlsSettings { trust_cacerts, ..TlsSettings::default() });
        let function = function(&format!("https://{address}/"), transport);
        let message = function.invoke(bob(0)).await.unwrap_err().message;
        assert!(message.contains("The requested resource does not exist: "), "{message}");
        std::fs::copy(fixture("ca.pem"), &path).unwrap();
        assert_no_effects(function.invoke(bob(0)).await);
    });
}

#[test]
fn plain_and_tls_are_not_confused_silently() {
    run(async {
        let (plain, _) = hyper_server(async |_| good(NO_EFFECTS)).await;
        let message = failing(format!("https://{plain}/"), brief_with(trusting("ca.pem"))).await;
        assert!(message.contains("does not speak TLS; for a plain endpoint write"), "{message}");
        let (secure, _) = Server::new("server.pem", "server.key").start().await;
        let message = failing(format!("http://{secure}/"), brief()).await;
        assert!(message.contains("got one in TLS; write `https://`"), "{message}");
        let closing = raw_server(async |_, stream| drop(stream)).await;
        let message = failing(format!("https://{closing}/"), brief_with(trusting("ca.pem"))).await;
        assert!(message.contains(&format!("{closing}")), "{message}");
        assert!(message.contains("TLS"), "{message}");
    });
}

#[test]
fn a_hanging_handshake_ends_with_connect() {
    run(async {
        let address = raw_server(async |_, mut stream| {
            read_request(&mut stream).await;
        })
        .await;
        let transport = Transport { connect: ms(40), ..brief_with(trusting("ca.pem")) };
        let message = failing(format!("https://{address}/"), transport).await;
        assert!(message.contains(&format!("no connection to {address} within ")), "{message}");
    });
}

#[test]
fn a_connection_whose_tls_has_ended_is_not_used_again() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = Server::new("server.pem", "server.key").acceptor();
        let connections = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&connections);
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = acceptor.accept(stream).await.unwrap();
                assert!(answer_raw(&mut stream, GOOD_RAW).await);
                // Says that TLS ends, and leaves the connection open.
                stream.get_mut().1.send_close_notify();
                stream.flush().await.unwrap();
                kept.borrow_mut().push(stream);
            }
        });
        let transport = Transport { tls: verifying("ca.pem"), ..Transport::okhttp() };
        let function = function(&format!("https://{address}/"), transport);
        for number in 1..=3 {
            assert_no_effects(function.invoke(bob(0)).await);
            while connections.borrow().len() < number {
                tokio::task::yield_now().await;
            }
        }
        // Nothing more was sent on those that had ended.
        for mut stream in connections.take().drain(..2) {
            let tcp = stream.get_mut().0;
            tcp.readable().await.unwrap();
            assert_eq!(tcp.try_read(&mut [0]).unwrap(), 0);
        }
    });
}

#[test]
fn what_waits_in_the_session_goes_out_before_an_answer_is_awaited() {
    run(async {
        // Reads late: at one of these lengths the end of the request is all that finds no room.
        const STEP: usize = 48 << 10;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        socket2::SockRef::from(&listener).set_recv_buffer_size(4 << 10).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = Server::new("server.pem", "server.key").acceptor();
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::task::spawn_local(async move {
                    let mut stream = acceptor.accept(stream).await.unwrap();
                    tokio::time::sleep(ms(200)).await;
                    answer_raw(&mut stream, GOOD_RAW).await;
                });
            }
        });
        let function = function(&format!("https://{address}/"), with(trusting("ca.pem")));
        let calls: Vec<_> = (1..60)
            .map(|number| tokio::task::spawn_local(function.invoke(bob(number * STEP))))
            .collect();
        for call in calls {
            assert_no_effects(call.await.unwrap());
        }
    });
}

/// The roots of a machine are found in its environment, so this test runs itself again in others.
#[test]
fn without_a_bundle_the_roots_of_the_machine_count() {
    const NAME: &str = "tls::without_a_bundle_the_roots_of_the_machine_count";
    const ROLE: &str = "DORMOUSE_TEST_ROOTS";
    let Ok(role) = std::env::var(ROLE) else {
        for (role, roots) in [("good", "ca.pem"), ("other", "other-ca.pem"), ("none", "password")] {
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", NAME, "--nocapture"])
                .env(ROLE, role)
                .env("SSL_CERT_FILE", fixture(roots))
                .env_remove("SSL_CERT_DIR")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&child.stderr);
            assert!(child.status.success(), "{role}: {said}");
            assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"), "{said}");
        }
        return;
    };
    run(async move {
        let server = Server::new("server.pem", "server.key");
        match role.as_str() {
            "good" => {
                assert_good(&server, TlsSettings::default()).await;
                // Anybody can have a certificate of a public authority: names count.
                let other = Server::new("server-other-name.pem", "server.key");
                let message = refusal(&other, TlsSettings::default()).await;
                assert!(message.contains("is for other.example"), "{message}");
                let version1 = Server::new("server-v1.pem", "server-v1.key");
                refusal(&version1, TlsSettings::default()).await;
            }
            "other" => {
                let message = refusal(&server, TlsSettings::default()).await;
                assert!(
                    message.contains("not issued by a CA that this machine trusts"),
                    "{message}"
                );
            }
            _ => {
                let (address, _) = server.start().await;
                let message = failing(format!("https://{address}/"), brief()).await;
                assert!(message.contains("this machine has no root certificates"), "{message}");
            }
        }
    });
}
