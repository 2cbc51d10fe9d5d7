//! TLS to endpoints, against real servers: whom to trust, who we are, certificates that are awkward, and
//! what is said when it does not work. The certificates are made by `tests/certs/make.sh`.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use dormouse_sdk::manifest::Span;
use dormouse_statefun::tls::location::Location;
use dormouse_statefun::tls::{ClientIdentity, TlsSettings};
use dormouse_statefun::transport::{HttpVersion, Transport};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::calls::{
    GOOD_RAW, NO_EFFECTS, assert_no_effects, bob, brief, call, failing, function, ms, run,
};
use crate::server::{
    HTTP1, HTTP2, Seen, answer_raw, good, hyper_server, raw_server, read_request, serve,
};

type Versions = &'static [&'static SupportedProtocolVersion];

const ONLY_12: Versions = &[&TLS12];
const ONLY_13: Versions = &[&TLS13];
const BOTH: Versions = &[&TLS13, &TLS12];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certs").join(name)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn read_certificates(name: &str) -> Vec<CertificateDer<'static>> {
    let read = CertificateDer::pem_file_iter(fixture(name)).unwrap();
    read.map(|certificate| certificate.unwrap()).collect()
}

/// A server's side of TLS.
struct Server {
    certificate: &'static str,
    key: &'static str,
    versions: Versions,
    http2: bool,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Server {
    fn new(certificate: &'static str, key: &'static str) -> Self {
        Self { certificate, key, versions: BOTH, http2: false, clients: None }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::from_pem_file(fixture(self.key)).unwrap();
        let key = provider().key_provider.load_private_key(key).unwrap();
        // Unlike the usual way this takes certificates of version 1, and keys of others.
        let key =
            SingleCertAndKey::from(CertifiedKey::new(read_certificates(self.certificate), key));
        let builder =
            ServerConfig::builder_with_provider(provider()).with_protocol_versions(self.versions);
        let builder = builder.unwrap();
        let builder = match &self.clients {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(key));
        if self.http2 {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        TlsAcceptor::from(Arc::new(config))
    }

    /// Serves functions without effects.
    async fn start(&self) -> (SocketAddr, Rc<Seen>) {
        self.start_with(NO_EFFECTS).await
    }

    async fn start_with(&self, body: &'static [u8]) -> (SocketAddr, Rc<Seen>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, seen) = (self.acceptor(), Rc::new(Seen::default()));
        let outer = Rc::clone(&seen);
        let handler = Rc::new(move |_| async move { good(body) });
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, handler) = (acceptor.clone(), Rc::clone(&handler));
                let seen = Rc::clone(&outer);
                tokio::task::spawn_local(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        let spoken = if is_http2 { HTTP2 } else { HTTP1 };
                        serve(stream, spoken, handler, seen).await;
                    }
                });
            }
        });
        (address, seen)
    }
}

fn location(name: &str, path: &Path) -> Location {
    let span = Span { file: Arc::from(Path::new("module.yaml")), line: 9, column: 1 };
    Location::parse(path.to_str().unwrap(), name, &span).unwrap()
}

fn trusting(name: &str) -> TlsSettings {
    let trust_cacerts = Some(location("trust_cacerts", &fixture(name)));
    TlsSettings { trust_cacerts, ..TlsSettings::default() }
}

fn verifying(name: &str) -> TlsSettings {
    TlsSettings { verify_hostnames: Some(true), ..trusting(name) }
}

fn with(tls: TlsSettings) -> Transport {
    Transport { tls, ..Transport::default() }
}

/// With a short budget, for calls that are to fail.
fn brief_with(tls: TlsSettings) -> Transport {
    Transport { tls, call: ms(1_000), ..brief() }
}

async fn assert_good(server: &Server, tls: TlsSettings) {
    let (address, _) = server.start().await;
    assert_no_effects(call(format!("https://{address}/"), with(tls)).await);
}

async fn refusal(server: &Server, tls: TlsSettings) -> String {
    let (address, seen) = server.start().await;
    let message = failing(format!("https://{address}/"), brief_with(tls)).await;
    assert_eq!(seen.requests.borrow().len(), 0, "{message}");
    assert!(message.contains(&address.to_string()), "{message}");
    message
}

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

/// Our own certificate, with a key in one of its forms.
fn identity(certificate: &str, key: &str, password: Option<&str>) -> ClientIdentity {
    ClientIdentity {
        certificate: location("client_cert", &fixture(certificate)),
        key: location("client_key", &fixture(key)),
        password: password.map(|name| location("client_key_password", &fixture(name))),
    }
}

fn as_client(client: ClientIdentity) -> TlsSettings {
    TlsSettings { client: Some(client), ..trusting("ca.pem") }
}

fn asking_for_certificates() -> Server {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read_certificates("ca.pem"));
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let clients = Some(verifier.build().unwrap());
    Server { clients, ..Server::new("server.pem", "server.key") }
}

#[test]
fn mutual_tls_works_with_keys_in_every_form() {
    run(async {
        let server = asking_for_certificates();
        for (key, password) in [
            ("client.key", None),
            ("client-aes.key", Some("password")),
            ("client-pbe-rc4.key", Some("password")),
            ("client-pbe-3des.key", Some("password")),
        ] {
            assert_good(&server, as_client(identity("client.pem", key, password))).await;
        }
    });
}

#[test]
fn an_endpoint_that_asks_for_a_certificate_and_gets_none_is_named() {
    run(async {
        for versions in [ONLY_12, ONLY_13] {
            let server = Server { versions, ..asking_for_certificates() };
            let message = refusal(&server, trusting("ca.pem")).await;
            let expected =
                if versions == ONLY_13 { "asks for a client certificate" } else { "`client_cert`" };
            assert!(message.contains(expected), "{message}");
            let stranger = identity("self.pem", "self.key", None);
            let message = refusal(&server, as_client(stranger)).await;
            assert!(message.contains("does not accept our `client_cert`"), "{message}");
        }
    });
}

/// Takes every certificate, and remembers it.
#[derive(Debug, Default)]
struct Remembering(Mutex<Vec<CertificateDer<'static>>>);

impl ClientCertVerifier for Remembering {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.lock().unwrap().push(end_entity.clone().into_owned());
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.verify_tls12_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn a_client_certificate_of_version_1_is_shown() {
    run(async {
        let remembering = Arc::new(Remembering::default());
        let clients: Option<Arc<dyn ClientCertVerifier>> = Some(Arc::clone(&remembering) as _);
        let server = Server { clients, ..Server::new("server.pem", "server.key") };
        assert_good(&server, as_client(identity("client-v1.pem", "client.key", None))).await;
        assert_eq!(*remembering.0.lock().unwrap(), read_certificates("client-v1.pem"));
    });
}

#[test]
fn files_that_do_not_do_are_named_with_their_line() {
    run(async {
        let server = asking_for_certificates();
        let key = fixture("client-aes.key");
        let key = key.display();
        for (client, expected) in [
            (
                identity("client.pem", "server.key", None),
                "`client_key` (module.yaml:9): the key in ".to_owned(),
            ),
            (
                identity("client.pem", "client-aes.key", None),
                format!(
                    "`client_key` (module.yaml:9): {key}: it is encrypted; `client_key_password`"
                ),
            ),
            (
                identity("client.pem", "client-aes.key", Some("password-line")),
                format!(
                    "`client_key` (module.yaml:9): {key}: the password in `client_key_password` does not \
                     open it (the whole content of its file is the password, and that ends with a line end)"
                ),
            ),
            (
                identity("client.key", "client.key", None),
                "`client_cert` (module.yaml:9): expected certificates in PEM".to_owned(),
            ),
            (
                identity("nowhere.pem", "client.key", None),
                "`client_cert` (module.yaml:9): The requested resource does not exist: ".to_owned(),
            ),
        ] {
            let message = refusal(&server, as_client(client)).await;
            assert!(message.contains(&expected), "{message}");
            assert!(message.contains("(1 attempt in "), "the file stays as it is: {message}");
        }
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
