//! Keys of tables: types with one form in bytes for each value. Integers are written so that the order
//! of the bytes is theirs, texts and bytes as they are, so pages come in the natural order.

use bytes::Bytes;

use crate::error::BoxError;

/// What can be a table's key. See [`crate::key_type!`] for types of your own.
pub trait TableKey: Sized + Send + Sync + 'static {
    /// The name of the type, stored with the table.
    const TYPENAME: &'static str;

    /// The key's bytes: the same for equal keys, others for others.
    fn encode_key(&self) -> Bytes;

    /// The key of these bytes.
    fn decode_key(bytes: &[u8]) -> Result<Self, BoxError>;
}

/// A key to look for: a reference to it, or a `&str` where keys are `String`s.
pub trait IntoKey<K> {
    /// The key's bytes.
    fn into_key(self) -> Bytes;
}

impl<K: TableKey> IntoKey<K> for &K {
    fn into_key(self) -> Bytes {
        self.encode_key()
    }
}

impl IntoKey<String> for &str {
    fn into_key(self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }
}

impl TableKey for String {
    const TYPENAME: &'static str = dormouse_protocol::types::STRING;

    fn encode_key(&self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }

    fn decode_key(bytes: &[u8]) -> Result<Self, BoxError> {
        Ok(std::str::from_utf8(bytes)?.to_owned())
    }
}

impl TableKey for Vec<u8> {
    const TYPENAME: &'static str = "dormouse.types/bytes";

    fn encode_key(&self) -> Bytes {
        Bytes::copy_from_slice(self)
    }

    fn decode_key(bytes: &[u8]) -> Result<Self, BoxError> {
        Ok(bytes.to_vec())
    }
}

macro_rules! integer_key {
    ($type:ty, $typename:expr, $flip:expr) => {
        impl TableKey for $type {
            const TYPENAME: &'static str = $typename;

            fn encode_key(&self) -> Bytes {
                Bytes::copy_from_slice(&(self ^ $flip).to_be_bytes())
            }

            fn decode_key(bytes: &[u8]) -> Result<Self, BoxError> {
                Ok(Self::from_be_bytes(bytes.try_into()?) ^ $flip)
            }
        }
    };
}

// The sign bit is turned: negative numbers come first.
integer_key!(i32, dormouse_protocol::types::INT, i32::MIN);
integer_key!(i64, dormouse_protocol::types::LONG, i64::MIN);
integer_key!(u32, "dormouse.types/u32", 0);
integer_key!(u64, "dormouse.types/u64", 0);

/// Makes a [`TableKey`](crate::TableKey) of a type that has a text: one with `Display` and `FromStr`,
/// such as an id of your own. Equal keys must have equal texts.
///
/// ```
/// use std::net::IpAddr;
///
/// # #[derive(Debug)] struct Host(IpAddr);
/// # impl std::fmt::Display for Host {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { self.0.fmt(f) }
/// # }
/// # impl std::str::FromStr for Host {
/// #     type Err = std::net::AddrParseError;
/// #     fn from_str(text: &str) -> Result<Self, Self::Err> { text.parse().map(Host) }
/// # }
/// dormouse_sdk::key_type!(Host, "example/Host");
/// ```
#[macro_export]
macro_rules! key_type {
    ($type:ty, $typename:expr $(,)?) => {
        impl $crate::TableKey for $type {
            const TYPENAME: &'static str = $crate::private::type_name($typename);

            fn encode_key(&self) -> $crate::Bytes {
                ::std::string::ToString::to_string(self).into()
            }

            fn decode_key(bytes: &[u8]) -> ::std::result::Result<Self, $crate::BoxError> {
                let text = ::std::str::from_utf8(bytes)?;
                ::std::result::Result::Ok(::std::str::FromStr::from_str(text)?)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_keep_their_order() {
        let numbers = [i64::MIN, -2, -1, 0, 1, i64::MAX];
        let encoded: Vec<_> = numbers.iter().map(TableKey::encode_key).collect();
        assert!(encoded.is_sorted());
        let back: Vec<_> = encoded.iter().map(|bytes| i64::decode_key(bytes).unwrap()).collect();
        assert_eq!(back, numbers);
        assert!([0_u32, 1, 256, u32::MAX].map(|key| key.encode_key()).is_sorted());
        assert_eq!(String::decode_key(&"é".to_owned().encode_key()).unwrap(), "é");
        assert_eq!(IntoKey::<String>::into_key("é"), "é".to_owned().encode_key());
        assert_eq!(Vec::<u8>::decode_key(&vec![0, 255].encode_key()).unwrap(), [0, 255]);
    }

    #[test]
    fn bytes_that_are_no_key_are_refused() {
        assert!(i32::decode_key(&[1, 2, 3]).is_err());
        assert!(String::decode_key(&[0xff]).is_err());
    }
}
