//! The primitive types of StateFun (`io.statefun.types/*`): protobuf messages with one field
//! `value = 1`. Encoding is canonical, because Java's decoder is written by hand and takes nothing else:
//! a zero, `false` or `""` is no bytes at all. Decoding takes every valid protobuf form.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// Typename of a `bool`.
pub const BOOL: &str = "io.statefun.types/bool";
/// Typename of an `i32`.
pub const INT: &str = "io.statefun.types/int";
/// Typename of an `i64`.
pub const LONG: &str = "io.statefun.types/long";
/// Typename of an `f32`.
pub const FLOAT: &str = "io.statefun.types/float";
/// Typename of an `f64`.
pub const DOUBLE: &str = "io.statefun.types/double";
/// Typename of a string.
pub const STRING: &str = "io.statefun.types/string";
/// Typename that a runtime gives to states whose function did not name one.
pub const UNSET: &str = "io.statefun.types/unset";

/// Tag byte of field 1 with a varint.
const VARINT: u8 = 0x08;
/// Tag byte of field 1 with eight bytes.
const FIXED64: u8 = 0x09;
/// Tag byte of field 1 with a length and bytes.
const LENGTH: u8 = 0x0A;
/// Tag byte of field 1 with four bytes.
const FIXED32: u8 = 0x0D;

/// Bytes that are no value of the type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a value of `{typename}`: {reason}")]
pub struct DecodeError {
    /// The type that was expected.
    pub typename: &'static str,
    /// What is wrong with the bytes.
    pub reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BooleanWrapper {
    #[prost(bool, tag = "1")]
    value: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct IntWrapper {
    #[prost(sfixed32, tag = "1")]
    value: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LongWrapper {
    #[prost(sfixed64, tag = "1")]
    value: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FloatWrapper {
    #[prost(float, tag = "1")]
    value: f32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DoubleWrapper {
    #[prost(double, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StringWrapper {
    #[prost(string, tag = "1")]
    value: String,
}

/// The bytes of a [`BOOL`].
#[must_use]
pub fn encode_bool(value: bool) -> Bytes {
    Bytes::from_static(if value { &[VARINT, 1] } else { &[] })
}

/// The bytes of an [`INT`].
#[must_use]
pub fn encode_int(value: i32) -> Bytes {
    fixed32(value.to_le_bytes())
}

/// The bytes of a [`LONG`].
#[must_use]
pub fn encode_long(value: i64) -> Bytes {
    fixed64(value.to_le_bytes())
}

/// The bytes of a [`FLOAT`]. Minus zero is not the default and keeps its sign.
#[must_use]
pub fn encode_float(value: f32) -> Bytes {
    fixed32(value.to_le_bytes())
}

/// The bytes of a [`DOUBLE`]. Minus zero is not the default and keeps its sign.
#[must_use]
pub fn encode_double(value: f64) -> Bytes {
    fixed64(value.to_le_bytes())
}

/// The bytes of a [`STRING`].
#[must_use]
pub fn encode_string(value: &str) -> Bytes {
    if value.is_empty() {
        return Bytes::new();
    }
    let length = 1 + prost::length_delimiter_len(value.len()) + value.len();
    let mut buffer = BytesMut::with_capacity(length);
    buffer.put_u8(LENGTH);
    prost::encode_length_delimiter(value.len(), &mut buffer)
        .expect("the buffer has room for the length");
    buffer.put_slice(value.as_bytes());
    buffer.freeze()
}

/// Reads a [`BOOL`].
pub fn decode_bool(bytes: &[u8]) -> Result<bool, DecodeError> {
    match *bytes {
        [] => Ok(false),
        [VARINT, 1] => Ok(true),
        _ => decode::<BooleanWrapper>(BOOL, bytes).map(|wrapper| wrapper.value),
    }
}

/// Reads an [`INT`].
pub fn decode_int(bytes: &[u8]) -> Result<i32, DecodeError> {
    match *bytes {
        [] => Ok(0),
        [FIXED32, a, b, c, d] => Ok(i32::from_le_bytes([a, b, c, d])),
        _ => decode::<IntWrapper>(INT, bytes).map(|wrapper| wrapper.value),
    }
}

/// Reads a [`LONG`].
pub fn decode_long(bytes: &[u8]) -> Result<i64, DecodeError> {
    match *bytes {
        [] => Ok(0),
        [FIXED64, a, b, c, d, e, f, g, h] => Ok(i64::from_le_bytes([a, b, c, d, e, f, g, h])),
        _ => decode::<LongWrapper>(LONG, bytes).map(|wrapper| wrapper.value),
    }
}

/// Reads a [`FLOAT`].
pub fn decode_float(bytes: &[u8]) -> Result<f32, DecodeError> {
    decode::<FloatWrapper>(FLOAT, bytes).map(|wrapper| wrapper.value)
}

/// Reads a [`DOUBLE`].
pub fn decode_double(bytes: &[u8]) -> Result<f64, DecodeError> {
    decode::<DoubleWrapper>(DOUBLE, bytes).map(|wrapper| wrapper.value)
}

/// Reads a [`STRING`].
pub fn decode_string(bytes: &[u8]) -> Result<String, DecodeError> {
    decode::<StringWrapper>(STRING, bytes).map(|wrapper| wrapper.value)
}

fn fixed32(value: [u8; 4]) -> Bytes {
    if value == [0; 4] {
        return Bytes::new();
    }
    let [a, b, c, d] = value;
    Bytes::copy_from_slice(&[FIXED32, a, b, c, d])
}

fn fixed64(value: [u8; 8]) -> Bytes {
    if value == [0; 8] {
        return Bytes::new();
    }
    let mut bytes = [FIXED64; 9];
    bytes[1..].copy_from_slice(&value);
    Bytes::copy_from_slice(&bytes)
}

fn decode<W: Message + Default>(typename: &'static str, bytes: &[u8]) -> Result<W, DecodeError> {
    W::decode(bytes).map_err(|error| DecodeError { typename, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_the_canonical_ones() {
        assert_eq!(encode_bool(true)[..], [0x08, 1]);
        assert_eq!(encode_int(1)[..], [0x0D, 1, 0, 0, 0]);
        assert_eq!(encode_int(-1)[..], [0x0D, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(encode_long(1)[..], [0x09, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode_float(1.0)[..], [0x0D, 0, 0, 0x80, 0x3F]);
        assert_eq!(encode_double(1.0)[..], [0x09, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F]);
        assert_eq!(encode_string("a")[..], [0x0A, 1, b'a']);
    }

    #[test]
    fn defaults_are_no_bytes() {
        assert!(encode_bool(false).is_empty());
        assert!(encode_int(0).is_empty());
        assert!(encode_long(0).is_empty());
        assert!(encode_float(0.0).is_empty());
        assert!(encode_double(0.0).is_empty());
        assert!(encode_string("").is_empty());
        assert!(!encode_double(-0.0).is_empty());
    }

    #[test]
    fn values_come_back() {
        for value in [0, 1, -1, i32::MIN, i32::MAX] {
            assert_eq!(decode_int(&encode_int(value)), Ok(value));
        }
        for value in [0, 1, -1, i64::MIN, i64::MAX] {
            assert_eq!(decode_long(&encode_long(value)), Ok(value));
        }
        for value in [0.0, -0.0, 1.5, f32::MIN, f32::INFINITY] {
            let back = decode_float(&encode_float(value)).unwrap();
            assert_eq!(back.to_bits(), value.to_bits());
        }
        for value in [0.0, -0.0, 1.5, f64::MIN, f64::INFINITY] {
            let back = decode_double(&encode_double(value)).unwrap();
            assert_eq!(back.to_bits(), value.to_bits());
        }
        for value in ["", "a", "ключ", &"x".repeat(300)] {
            assert_eq!(decode_string(&encode_string(value)).unwrap(), value);
        }
        assert_eq!(decode_bool(&encode_bool(true)), Ok(true));
        assert_eq!(decode_bool(&encode_bool(false)), Ok(false));
    }

    #[test]
    fn decoding_takes_every_valid_form() {
        assert_eq!(decode_bool(&[0x08, 0]), Ok(false));
        assert_eq!(decode_int(&[0x0D, 0, 0, 0, 0]), Ok(0));
        let unknown_field_first = [0x10, 7, 0x0D, 5, 0, 0, 0];
        assert_eq!(decode_int(&unknown_field_first), Ok(5));
        let last_one_wins = [0x0A, 1, b'a', 0x0A, 1, b'b'];
        assert_eq!(decode_string(&last_one_wins).unwrap(), "b");
    }

    #[test]
    fn what_is_no_value_is_refused_with_the_type() {
        for error in [decode_int(&[0x0D, 1]).unwrap_err(), decode_int(b"Bob").unwrap_err()] {
            assert_eq!(error.typename, INT);
            assert!(error.to_string().starts_with("not a value of `io.statefun.types/int`"));
        }
        assert!(decode_string(&[0x0A, 2, 0xC3, 0x28]).is_err());
        assert!(decode_long(&[0x09, 1, 2]).is_err());
        assert!(decode_bool(b"true").is_err());
    }
}
