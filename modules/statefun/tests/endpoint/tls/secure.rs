//! Endpoints that speak TLS, with the certificates that `tests/certs/make.sh` has made, and what to trust.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use dormouse_sdk::manifest::Span;
use dormouse_statefun::tls::TlsSettings;
use dormouse_statefun::tls::location::Location;
use dormouse_statefun::transport::Transport;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::calls::{NO_EFFECTS, assert_no_effects, brief, call, failing, ms};
use crate::server::{HTTP1, HTTP2, Seen, good, serve};

pub(crate) type Versions = &'static [&'static SupportedProtocolVersion];

pub(crate) const ONLY_12: Versions = &[&TLS12];
pub(crate) const ONLY_13: Versions = &[&TLS13];
pub(crate) const BOTH: Versions = &[&TLS13, &TLS12];

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certs").join(name)
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

pub(crate) fn read_certificates(name: &str) -> Vec<CertificateDer<'static>> {
    let read = CertificateDer::pem_file_iter(fixture(name)).unwrap();
    read.map(|certificate| certificate.unwrap()).collect()
}

/// A server's side of TLS.
pub(crate) struct Server {
    pub(crate) certificate: &'static str,
    pub(crate) key: &'static str,
    pub(crate) versions: Versions,
    pub(crate) http2: bool,
    pub(crate) clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Server {
    pub(crate) fn new(certificate: &'static str, key: &'static str) -> Self {
        Self { certificate, key, versions: BOTH, http2: false, clients: None }
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
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
    pub(crate) async fn start(&self) -> (SocketAddr, Rc<Seen>) {
        self.start_with(NO_EFFECTS).await
    }

    pub(crate) async fn start_with(&self, body: &'static [u8]) -> (SocketAddr, Rc<Seen>) {
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

pub(crate) fn location(name: &str, path: &Path) -> Location {
    let span = Span { file: Arc::from(Path::new("module.yaml")), line: 9, column: 1 };
    Location::parse(path.to_str().unwrap(), name, &span).unwrap()
}

pub(crate) fn trusting(name: &str) -> TlsSettings {
    let trust_cacerts = Some(location("trust_cacerts", &fixture(name)));
    TlsSettings { trust_cacerts, ..TlsSettings::default() }
}

pub(crate) fn verifying(name: &str) -> TlsSettings {
    TlsSettings { verify_hostnames: Some(true), ..trusting(name) }
}

pub(crate) fn with(tls: TlsSettings) -> Transport {
    Transport { tls, ..Transport::default() }
}

/// With a short budget, for calls that are to fail.
pub(crate) fn brief_with(tls: TlsSettings) -> Transport {
    Transport { tls, call: ms(1_000), ..brief() }
}

pub(crate) async fn assert_good(server: &Server, tls: TlsSettings) {
    let (address, _) = server.start().await;
    assert_no_effects(call(format!("https://{address}/"), with(tls)).await);
}

pub(crate) async fn refusal(server: &Server, tls: TlsSettings) -> String {
    let (address, seen) = server.start().await;
    let message = failing(format!("https://{address}/"), brief_with(tls)).await;
    assert_eq!(seen.requests.borrow().len(), 0, "{message}");
    assert!(message.contains(&address.to_string()), "{message}");
    message
}
