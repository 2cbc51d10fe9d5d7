//! Private keys as they lie in files: PEM in the usual forms, encrypted or not. The old encryptions of
//! PKCS #12 are read here, because keys made with older tools have them; other things are left to the
//! libraries.

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut as _, KeyIvInit as _};
use des::TdesEde3;
use pkcs8::EncryptedPrivateKeyInfo;
use rc4::{KeyInit as _, Rc4, StreamCipher as _, consts::U16};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use sha1::{Digest as _, Sha1};

use super::der::{Der, OCTET_STRING, OID};

/// PKCS #12's encryptions with a password (1.2.840.113549.1.12.1), without their last number.
const PKCS12: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01];
const SHA1_RC4_128: u8 = 1;
const SHA1_3DES: u8 = 3;
/// What a key derived from a password is for.
const FOR_KEY: u8 = 1;
const FOR_IV: u8 = 2;
/// Most rounds of hashing a password, in which nothing else runs on the shard: some seconds.
const ROUNDS_MAX: u32 = 10_000_000;

const CONVERT: &str = "make one that is: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW";

/// The first private key of a file. `password` is what unlocks an encrypted one.
pub(crate) fn private_key(
    pem: &[u8],
    password: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, String> {
    let text = String::from_utf8_lossy(pem);
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(format!("its encryption (`Proc-Type`) is not supported; {CONVERT}"));
    }
    let is_encrypted = text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----");
    // The reader of PEM knows no label for encrypted keys.
    let text = text.replace(" ENCRYPTED PRIVATE KEY-----", " PRIVATE KEY-----");
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| {
        format!(
            "expected a private key in PEM, as `-----BEGIN PRIVATE KEY-----`, got none ({error})"
        )
    })?;
    if !is_encrypted {
        return Ok(key);
    }
    let Some(password) = password else {
        return Err(
            "it is encrypted; `client_key_password` must name a file with its password".to_owned()
        );
    };
    let plain = decrypt(key.secret_der(), password)?;
    PrivateKeyDer::try_from(plain).map_err(|_| wrong_password(password))
}

fn decrypt(encrypted: &[u8], password: &[u8]) -> Result<Vec<u8>, String> {
    let damaged = || "its encrypted private key is damaged".to_owned();
    let (algorithm, mut parameters, data) = parts(encrypted).ok_or_else(damaged)?;
    match algorithm.strip_prefix(&PKCS12) {
        Some(&[kind @ (SHA1_RC4_128 | SHA1_3DES)]) => {
            let mut parameters = parameters.sequence().ok_or_else(damaged)?;
            let salt = parameters.take(OCTET_STRING).ok_or_else(damaged)?.content;
            let rounds = parameters.number().filter(|n| (1..=ROUNDS_MAX).contains(n));
            let rounds = rounds.ok_or_else(damaged)?;
            decrypt_pkcs12(kind, &Derivation { password: &wide(password), salt, rounds }, data)
                .ok_or_else(|| wrong_password(password))
        }
        Some(_) => Err(format!("its encryption is not supported; {CONVERT}")),
        None => {
            let info = EncryptedPrivateKeyInfo::try_from(encrypted)
                .map_err(|error| format!("its encryption is not supported ({error}); {CONVERT}"))?;
            match info.decrypt(password) {
                Ok(plain) => Ok(plain.as_bytes().to_vec()),
                // The library has the two mixed up.
                Err(pkcs8::Error::EncryptedPrivateKey(
                    pkcs8::pkcs5::Error::DecryptFailed | pkcs8::pkcs5::Error::EncryptFailed,
                )) => Err(wrong_password(password)),
                Err(pkcs8::Error::EncryptedPrivateKey(error)) => {
                    Err(format!("its encryption is not supported ({error}); {CONVERT}"))
                }
                // What came out is no key.
                Err(_) => Err(wrong_password(password)),
            }
        }
    }
}

/// The object identifier, the parameters and the data of an encrypted key.
fn parts(encrypted: &[u8]) -> Option<(&[u8], Der<'_>, &[u8])> {
    let mut whole = Der(encrypted).sequence()?;
    let mut algorithm = whole.sequence()?;
    let name = algorithm.take(OID)?.content;
    Some((name, algorithm, whole.take(OCTET_STRING)?.content))
}

fn wrong_password(password: &[u8]) -> String {
    let hint = if password.ends_with(b"\n") {
        " (the whole content of its file is the password, and that ends with a line end)"
    } else {
        ""
    };
    format!("the password in `client_key_password` does not open it{hint}")
}

/// UTF-16 with a zero at the end, the form in which PKCS #12 hashes passwords.
fn wide(password: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(password);
    text.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect()
}

fn decrypt_pkcs12(kind: u8, derivation: &Derivation<'_>, data: &[u8]) -> Option<Vec<u8>> {
    let mut plain = data.to_vec();
    if kind == SHA1_RC4_128 {
        let key = derivation.bytes::<16>(FOR_KEY);
        Rc4::<U16>::new(&key.into()).apply_keystream(&mut plain);
        return Some(plain);
    }
    let (key, iv) = (derivation.bytes::<24>(FOR_KEY), derivation.bytes::<8>(FOR_IV));
    let decryptor = cbc::Decryptor::<TdesEde3>::new(&key.into(), &iv.into());
    let length = decryptor.decrypt_padded_mut::<Pkcs7>(&mut plain).ok()?.len();
    plain.truncate(length);
    Some(plain)
}

/// How PKCS #12 makes keys of passwords (RFC 7292, appendix B.2, with SHA-1).
struct Derivation<'d> {
    /// As [`wide`] makes it.
    password: &'d [u8],
    salt: &'d [u8],
    rounds: u32,
}

impl Derivation<'_> {
    fn bytes<const N: usize>(&self, purpose: u8) -> [u8; N] {
        const BLOCK: usize = 64;
        let filled = |from: &[u8]| -> Vec<u8> {
            let length = from.len().next_multiple_of(BLOCK);
            from.iter().copied().cycle().take(length).collect()
        };
        let mut input = [filled(self.salt), filled(self.password)].concat();
        let mut made = Vec::with_capacity(N + 20);
        while made.len() < N {
            let mut hash =
                Sha1::new().chain_update([purpose; BLOCK]).chain_update(&input).finalize();
            for _ in 1..self.rounds {
                hash = Sha1::digest(hash);
            }
            made.extend_from_slice(&hash);
            // Adds the hash, repeated, and one to each block, as large numbers.
            for block in input.chunks_mut(BLOCK) {
                let mut carry = 1_u16;
                for (index, byte) in block.iter_mut().enumerate().rev() {
                    carry += u16::from(*byte) + u16::from(hash[index % hash.len()]);
                    *byte = carry.to_be_bytes()[1];
                    carry >>= 8;
                }
            }
        }
        std::array::from_fn(|index| made[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One key in all forms, made by `tests/certs/make.sh`.
    fn fixture(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/certs/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    #[test]
    fn every_usual_encryption_is_opened() {
        let plain = private_key(&fixture("client.key"), None).unwrap();
        for name in ["aes", "pbkdf2-sha1-3des", "scrypt", "pbe-rc4", "pbe-3des"] {
            let pem = fixture(&format!("client-{name}.key"));
            let key = private_key(&pem, Some(b"open sesame")).unwrap();
            assert_eq!(key.secret_der(), plain.secret_der(), "{name}");
            let refusal = private_key(&pem, Some(b"open sesame\n")).unwrap_err();
            assert!(refusal.contains("does not open it (the whole content"), "{name}: {refusal}");
            let refusal = private_key(&pem, Some(b"")).unwrap_err();
            assert!(refusal.ends_with("does not open it"), "{name}: {refusal}");
            assert!(private_key(&pem, None).unwrap_err().contains("`client_key_password`"));
        }
    }

    #[test]
    fn encryptions_that_are_too_old_are_refused_with_a_way_out() {
        for name in ["client-pbe-rc2.key", "client-pbe-md5-des.key", "client-traditional.key"] {
            let refusal = private_key(&fixture(name), Some(b"open sesame")).unwrap_err();
            assert!(refusal.contains("not supported"), "{name}: {refusal}");
            assert!(refusal.contains("openssl pkcs8 -topk8"), "{name}: {refusal}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let refusal = private_key(&fixture("ca.pem"), None).unwrap_err();
        assert!(refusal.contains("expected a private key in PEM"), "{refusal}");
        assert!(private_key(b"", None).is_err());
        let damaged =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(private_key(damaged.as_bytes(), Some(b"x")).unwrap_err().contains("damaged"));
    }
}
