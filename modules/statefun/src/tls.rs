//! TLS towards endpoints: what a manifest says about it, and the settings that the TLS library takes.
//! Files are read when the first connection of an endpoint needs them; until that succeeds, each later
//! attempt reads them again, so what is corrected on disk is taken without a restart; and so is what is renewed.

pub mod certificate;
mod der;
mod key;
pub mod location;
pub mod renewal;
mod verify;

use std::io;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};

use self::location::Location;
use self::verify::{Names, Verifier};
use crate::transport::HttpVersion;

/// What an endpoint component says about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whom to trust; without it, the roots of the machine.
    pub trust_cacerts: Option<Location>,
    /// Who we are, to endpoints that ask.
    pub client: Option<ClientIdentity>,
    /// Whether a certificate must be for the endpoint's host. Unsaid, it must unless `trust_cacerts`
    /// is given: StateFun's async transport then looks at the chain alone, and applications rely on it.
    pub verify_hostnames: Option<bool>,
}

/// A certificate for mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    pub certificate: Location,
    pub key: Location,
    /// A file whose whole content is the password.
    pub password: Option<Location>,
}

impl TlsSettings {
    /// Reads the files and makes what connections need. An error names the field and its line.
    pub fn config(&self, version: HttpVersion) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(self.verifier(&provider)?);
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = Arc::new(identity.certified_key(&provider)?);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
        };
        let offered: &[&[u8]] = match version {
            HttpVersion::Negotiated => &[b"h2", b"http/1.1"],
            HttpVersion::One => &[b"http/1.1"],
            HttpVersion::Two => &[b"h2"],
        };
        config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Verifier, String> {
        let mut roots = RootCertStore::empty();
        let Some(location) = &self.trust_cacerts else {
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err(
                    "this machine has no root certificates: name a file of them in `trust_cacerts`, \
                     or in the environment variable SSL_CERT_FILE"
                        .to_owned(),
                );
            }
            return Verifier::new(roots, Vec::new(), self.names(Names::Verified), provider);
        };
        let bundle = certificates(location)?;
        // One that cannot be a root may still be the endpoint's own.
        roots.add_parsable_certificates(bundle.iter().cloned());
        Verifier::new(roots, bundle, self.names(Names::Wanted), provider)
    }

    fn names(&self, unsaid: Names) -> Names {
        match self.verify_hostnames {
            Some(true) => Names::Verified,
            Some(false) => Names::Ignored,
            None => unsaid,
        }
    }

    /// Where trust comes from, for messages.
    fn trusted(&self) -> String {
        match &self.trust_cacerts {
            Some(location) => {
                format!("a CA of {} in {}", location.named_by, location.path.display())
            }
            None => "a CA that this machine trusts".to_owned(),
        }
    }

    /// Why a handshake with `host` failed, and what to do.
    #[must_use]
    pub fn explain(&self, host: &str, error: &io::Error) -> String {
        let Some(cause) = tls_error(error) else {
            return if error.kind() == io::ErrorKind::UnexpectedEof {
                format!("{host} closed the connection during the TLS handshake; does it speak TLS?")
            } else {
                format!("TLS with {host} failed: {error}")
            };
        };
        match cause {
            Error::InvalidCertificate(certificate) => {
                format!("the certificate of {host} {}", self.refusal(certificate))
            }
            Error::InvalidMessage(_) => {
                format!("{host} does not speak TLS; for a plain endpoint write `http://`")
            }
            Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                format!("{host} offers no HTTP/2; leave `http_version` out")
            }
            other => match alert(other) {
                Some(what) => format!("{host} {what}"),
                None => format!("TLS with {host} failed: {other}"),
            },
        }
    }

    fn refusal(&self, error: &CertificateError) -> String {
        let own = "or put the endpoint's own certificate into `trust_cacerts`";
        match error {
            CertificateError::UnknownIssuer => {
                format!("is not issued by {}; add its CA to `trust_cacerts`", self.trusted())
            }
            CertificateError::NotValidForNameContext { presented, .. } => format!(
                "is {}, and not for the host in the URL; if that is meant, say \
                 `verify_hostnames: false` in the endpoint's `transport`",
                verify::list(presented)
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("has expired; renew it, {own}")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "is not valid yet; are the clocks right?".to_owned()
            }
            other => format!("cannot be verified ({other}); issue another one, {own}"),
        }
    }
}

impl ClientIdentity {
    fn certified_key(&self, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
        let chain = certificates(&self.certificate)?;
        let password = self.password.as_ref().map(Location::read).transpose()?;
        let key = key::private_key(&self.key.read()?, password.as_deref())
            .map_err(|why| self.key.fault(&format!("{}: {why}", self.key.path.display())))?;
        let key = provider.key_provider.load_private_key(key).map_err(|error| {
            let path = self.key.path.display();
            self.key.fault(&format!(
                "{path}: expected an RSA key of at least 2048 bits, an ECDSA key on P-256 or P-384, or an \
                 Ed25519 key ({error})"
            ))
        })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Err(Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
                let (certificate, key) = (self.certificate.path.display(), self.key.path.display());
                Err(self.key.fault(&format!(
                    "the key in {key} is not that of the certificate in {certificate}"
                )))
            }
            // Of some certificates, as those of version 1, the library cannot tell: the endpoint will.
            _ => Ok(certified),
        }
    }
}

fn certificates(location: &Location) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = location.read()?;
    let path = location.path.display();
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match read {
        Ok(read) if !read.is_empty() => Ok(read),
        Ok(_) => Err(location.fault(&format!(
            "expected certificates in PEM, as `-----BEGIN CERTIFICATE-----`, found none in {path}"
        ))),
        Err(error) => Err(location.fault(&format!("{path}: {error}"))),
    }
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// What an endpoint has against us, as far as alerts tell.
fn alert(error: &Error) -> Option<String> {
    let Error::AlertReceived(alert) = error else {
        return None;
    };
    let advice = match alert {
        AlertDescription::CertificateRequired => {
            "asks for a client certificate: `client_cert`, `client_key`"
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => "does not accept our `client_cert`",
        AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
            "has no version or cipher of TLS in common with us (TLS 1.2 and 1.3), or wants a `client_cert`"
        }
        AlertDescription::UnrecognisedName => "serves no such host name",
        _ => "ended TLS",
    };
    Some(format!("{advice} (alert {alert:?})"))
}

/// An error of a connection in use, for messages. A server of TLS 1.3 says only now that it does not
/// like our certificate.
#[must_use]
pub fn describe(error: &io::Error) -> String {
    tls_error(error)
        .and_then(alert)
        .map_or_else(|| error.to_string(), |what| format!("the endpoint {what},"))
}
