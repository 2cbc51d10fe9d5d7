//! Certificates of version 1, which have no extensions: no alternative names, no usages. The TLS library
//! refuses them, but they are what `openssl x509 -req` made for many years, and what applications have
//! in their own bundles. Good is one that an authority of such a bundle has signed itself.

use rustls::CertificateError;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};

use super::der::{BIT_STRING, Der, GENERALIZED_TIME, SEQUENCE, UTC_TIME};

const SECONDS_PER_DAY: u64 = 86_400;
/// The tag of the field that says the version; without it, it is the first.
const VERSION: u8 = 0xa0;

/// The parts of a certificate of version 1.
#[derive(Debug)]
pub struct Version1<'c> {
    /// What is signed.
    signed: &'c [u8],
    signature_algorithm: &'c [u8],
    signature: &'c [u8],
    issuer: &'c [u8],
    /// Seconds since 1970, both included.
    valid: (u64, u64),
    pub(crate) key: PublicKey<'c>,
}

/// A public key as certificates hold it.
#[derive(Debug)]
pub struct PublicKey<'c> {
    /// With tag and length.
    pub(crate) whole: &'c [u8],
    algorithm: &'c [u8],
    bits: &'c [u8],
}

impl<'c> Version1<'c> {
    /// `None` for any other version, and for what is no certificate.
    #[must_use]
    pub fn read(certificate: &'c CertificateDer<'_>) -> Option<Self> {
        let mut outer = Der(certificate.as_ref()).sequence()?;
        let signed = outer.take(SEQUENCE)?;
        let signature_algorithm = outer.take(SEQUENCE)?.content;
        let signature = outer.bits()?;
        let mut fields = Der(signed.content);
        if fields.any()?.tag == VERSION {
            return None;
        }
        // The serial number is read. The algorithm stands in what is signed too.
        if fields.take(SEQUENCE)?.content != signature_algorithm {
            return None;
        }
        let issuer = fields.take(SEQUENCE)?.content;
        let mut validity = fields.sequence()?;
        let valid = (time(&mut validity)?, time(&mut validity)?);
        fields.take(SEQUENCE)?;
        let key = PublicKey::read(fields.take(SEQUENCE)?.whole)?;
        Some(Self { signed: signed.whole, signature_algorithm, signature, issuer, valid, key })
    }

    /// Whether one of the anchors has signed it, and it is valid now.
    pub fn verify(
        &self,
        anchors: &[TrustAnchor<'_>],
        algorithms: &WebPkiSupportedAlgorithms,
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let (from, until) = self.valid;
        if now.as_secs() < from {
            return Err(CertificateError::NotValidYet);
        }
        if now.as_secs() > until {
            return Err(CertificateError::Expired);
        }
        let mut found = Err(CertificateError::UnknownIssuer);
        for anchor in anchors.iter().filter(|anchor| anchor.subject.as_ref() == self.issuer) {
            let Some(key) = PublicKey::of_content(anchor.subject_public_key_info.as_ref()) else {
                continue;
            };
            let mut fitting = algorithms.all.iter().filter(|algorithm| {
                algorithm.signature_alg_id().as_ref() == self.signature_algorithm
                    && algorithm.public_key_alg_id().as_ref() == key.algorithm
            });
            if fitting.any(|algorithm| key.verifies(*algorithm, self.signed, self.signature)) {
                return Ok(());
            }
            found = Err(CertificateError::BadSignature);
        }
        found
    }
}

impl<'c> PublicKey<'c> {
    fn read(whole: &'c [u8]) -> Option<Self> {
        let content = Der(whole).take(SEQUENCE)?.content;
        Self::of_content(content).map(|key| Self { whole, ..key })
    }

    /// Without tag and length, as trust anchors have it.
    fn of_content(content: &'c [u8]) -> Option<Self> {
        let mut fields = Der(content);
        let algorithm = fields.take(SEQUENCE)?.content;
        let bits = fields.take(BIT_STRING)?.content.strip_prefix(&[0])?;
        Some(Self { whole: content, algorithm, bits })
    }

    /// Whether the signature on `message` is this key's, for an algorithm that is for such keys.
    pub(crate) fn verifies(
        &self,
        algorithm: &dyn SignatureVerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        algorithm.public_key_alg_id().as_ref() == self.algorithm
            && algorithm.verify_signature(self.bits, message, signature).is_ok()
    }
}

/// The next value, a point in time of a certificate, as seconds since 1970.
fn time(from: &mut Der<'_>) -> Option<u64> {
    let value = from.any()?;
    let text = std::str::from_utf8(value.content).ok()?.strip_suffix('Z')?;
    let (year, rest) = match value.tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: u64 = digits(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (digits(year)?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 || !rest.is_ascii() || year < 1970 {
        return None;
    }
    let two = |at: usize| digits(&rest[at..at + 2]);
    let (month, day, hour, minute, second) = (two(0)?, two(2)?, two(4)?, two(6)?, two(8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let since_1970 = days.checked_sub(719_468)?;
    Some(since_1970 * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second)
}

fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_certificates_are_read() {
        let read = |tag: u8, text: &str| {
            let length = u8::try_from(text.len()).unwrap();
            time(&mut Der(&[&[tag, length], text.as_bytes()].concat()))
        };
        assert_eq!(read(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(read(UTC_TIME, "000229123456Z"), Some(951_827_696));
        assert_eq!(read(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(read(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        assert_eq!(read(GENERALIZED_TIME, "21000301000000Z"), Some(4_107_542_400));
        for bad in
            ["7001010000Z", "700101000000", "701301000000Z", "70010100000xZ", "", "é0101000000Z"]
        {
            assert_eq!(read(UTC_TIME, bad), None, "{bad}");
        }
        assert_eq!(read(SEQUENCE, "700101000000Z"), None);
    }
}
