//! Mutual TLS: who we are, to endpoints that ask; and files that do not do.

use std::sync::{Arc, Mutex};

use dormouse_statefun::tls::{ClientIdentity, TlsSettings};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::secure::{
    ONLY_12, ONLY_13, Server, assert_good, fixture, location, provider, read_certificates, refusal,
    trusting,
};
use crate::calls::run;

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
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
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
