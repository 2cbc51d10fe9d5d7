//! Whom an endpoint's certificate makes it. Three rules: a certificate that is itself in the endpoint's
//! bundle is trusted as it is; any other needs a chain to a root; and it must be for the host, unless
//! the endpoint's settings leave that out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::Version1;

/// What a certificate has to do with the host in the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// It must be for it.
    Verified,
    /// It should be: somebody is told when it is not.
    Wanted,
    /// Nothing.
    Ignored,
}

/// Judges the certificates of one endpoint component.
#[derive(Debug)]
pub(crate) struct Verifier {
    roots: Arc<RootCertStore>,
    /// `None` without any root.
    chains: Option<Arc<WebPkiServerVerifier>>,
    /// The endpoint's own bundle; empty where the machine's roots count.
    bundle: Vec<CertificateDer<'static>>,
    names: Names,
    algorithms: WebPkiSupportedAlgorithms,
    /// Somebody was told that a name does not fit.
    told: AtomicBool,
}

impl Verifier {
    /// `bundle` is what the endpoint's settings trust; where it is empty, `roots` are the machine's.
    pub(crate) fn new(
        roots: RootCertStore,
        bundle: Vec<CertificateDer<'static>>,
        names: Names,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let roots = Arc::new(roots);
        let chains = if roots.is_empty() {
            None
        } else {
            let builder = WebPkiServerVerifier::builder_with_provider(
                Arc::clone(&roots),
                Arc::clone(provider),
            );
            Some(builder.build().map_err(|error| error.to_string())?)
        };
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { roots, chains, bundle, names, algorithms, told: AtomicBool::new(false) })
    }

    /// The chain alone; for a certificate of version 1 nobody else can.
    fn verify_version1(
        &self,
        certificate: &Version1<'_>,
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        certificate.verify(&self.roots.roots, &self.algorithms, now)?;
        Err(CertificateError::NotValidForNameContext {
            expected: server_name.to_owned(),
            presented: Vec::new(),
        }
        .into())
    }

    /// The chain is good and the name is not.
    fn pass_unnamed(
        &self,
        server_name: &ServerName<'_>,
        presented: &[String],
    ) -> ServerCertVerified {
        if self.names == Names::Wanted && !self.told.swap(true, Ordering::Relaxed) {
            let host = server_name.to_str();
            let names = list(presented);
            tracing::warn!(
                endpoint = %host,
                "the certificate of {host} is {names}, which is not checked: `trust_cacerts` makes its chain \
                 enough, as it does in StateFun; `verify_hostnames: true` refuses it, `false` says that it is meant"
            );
        }
        ServerCertVerified::assertion()
    }
}

/// What a certificate is for.
pub(crate) fn list(presented: &[String]) -> String {
    if presented.is_empty() {
        return "for no host name (it has no `subjectAltName`)".to_owned();
    }
    // As in `DnsName("host")`.
    let inner = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
    format!("for {}", presented.iter().map(inner).collect::<Vec<_>>().join(", "))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.bundle.contains(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        // Public authorities issue none of version 1.
        let version1 = Version1::read(end_entity).filter(|_| !self.bundle.is_empty());
        let verified = match (&version1, &self.chains) {
            (Some(certificate), _) => self.verify_version1(certificate, server_name, now),
            (None, Some(chains)) => chains.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            (None, None) => Err(CertificateError::UnknownIssuer.into()),
        };
        match verified {
            Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                presented,
                ..
            })) if self.names != Names::Verified => Ok(self.pass_unnamed(server_name, &presented)),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(version1) = Version1::read(certificate) else {
            return verify_tls12_signature(message, certificate, signed, &self.algorithms);
        };
        let mut fitting =
            self.algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
        let is_good = fitting.any(|(_, algorithms)| {
            let mut algorithms = algorithms.iter();
            algorithms
                .any(|algorithm| version1.key.verifies(*algorithm, message, signed.signature()))
        });
        if !is_good {
            return Err(CertificateError::BadSignature.into());
        }
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(version1) = Version1::read(certificate) else {
            return verify_tls13_signature(message, certificate, signed, &self.algorithms);
        };
        let key = SubjectPublicKeyInfoDer::from(version1.key.whole);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
