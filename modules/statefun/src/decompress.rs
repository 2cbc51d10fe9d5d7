//! Answers that endpoints have compressed, as they may: gzip and deflate. However small an answer is,
//! it never becomes longer than its bound.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// The body in plain, at most `bytes_max` long.
pub(crate) fn decompress(encoding: &str, body: &[u8], bytes_max: usize) -> Result<Bytes, String> {
    if body.is_empty() {
        return Ok(Bytes::new());
    }
    let mut plain = Vec::new();
    let limit = bytes_max as u64 + 1;
    let read = match encoding {
        "gzip" | "x-gzip" => MultiGzDecoder::new(body).take(limit).read_to_end(&mut plain),
        // Named deflate, meant is zlib; some servers take the name at its word.
        "deflate" | "x-deflate" if is_zlib(body) => {
            ZlibDecoder::new(body).take(limit).read_to_end(&mut plain)
        }
        "deflate" | "x-deflate" => DeflateDecoder::new(body).take(limit).read_to_end(&mut plain),
        _ => {
            return Err(format!(
                "expected an answer in gzip or deflate, got content-encoding `{encoding}`"
            ));
        }
    };
    match read {
        Err(error) => Err(format!("the answer is no valid {encoding}: {error}")),
        Ok(_) if plain.len() > bytes_max => Err(format!(
            "the unpacked answer is longer than {bytes_max} bytes (`payload_max_bytes`)"
        )),
        Ok(_) => Ok(plain.into()),
    }
}

fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [cmf, flags, ..] if cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flags)) % 31 == 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_encoding_that_is_asked_for_is_understood() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"plain").unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(b"plain").unwrap();
        let (zlib, raw) = (zlib.finish().unwrap(), raw.finish().unwrap());
        let parts = [gzip(b"pl"), gzip(b"ain")].concat();
        for (encoding, body) in [
            ("gzip", &gzip(b"plain")[..]),
            ("x-gzip", &parts),
            ("deflate", &zlib),
            ("x-deflate", &zlib),
            ("deflate", &raw),
        ] {
            assert_eq!(decompress(encoding, body, 5).unwrap(), "plain", "{encoding}");
            assert!(decompress(encoding, body, 4).unwrap_err().contains("longer than 4 bytes"));
        }
        assert_eq!(decompress("gzip", b"", 5).unwrap(), "");
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = gzip(&vec![0; 50 << 20]);
        assert!(bomb.len() < 60_000);
        let refusal = decompress("gzip", &bomb, 1 << 20).unwrap_err();
        assert!(refusal.contains("longer than 1048576 bytes (`payload_max_bytes`)"), "{refusal}");
    }

    #[test]
    fn what_is_none_is_refused() {
        assert!(decompress("gzip", b"plain", 5).unwrap_err().contains("no valid gzip"));
        assert!(
            decompress("gzip", &gzip(b"plain")[..20], 5).unwrap_err().contains("no valid gzip")
        );
        assert!(decompress("br", b"plain", 5).unwrap_err().contains("content-encoding `br`"));
    }
}
