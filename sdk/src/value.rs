//! Typed values: how a Rust type becomes bytes with a typename, and comes back. Messages, states and
//! egress records are all made of them. The primitive types are StateFun's own.

use bytes::Bytes;
use dormouse_protocol::{TypedValue, types};

use crate::error::BoxError;
use crate::message::Message;

/// A type with a typename (`<namespace>/<name>`) and a form in bytes. See [`crate::json_type!`],
/// [`crate::msgpack_type!`] and [`crate::proto_type!`] for the usual forms.
pub trait ValueType: Sized + Send + Sync + 'static {
    /// The name that tells everybody how to read the bytes.
    const TYPENAME: &'static str;

    /// The value's bytes.
    fn encode(&self) -> Result<Bytes, BoxError>;

    /// The value of these bytes.
    fn decode(bytes: &Bytes) -> Result<Self, BoxError>;
}

/// A value that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// A message or state of another type.
    #[error("expected a value of type `{expected}`, found one of type `{found}`")]
    OtherType {
        /// The type that was asked for.
        expected: &'static str,
        /// The type that is there.
        found: String,
    },
    /// A message without a value.
    #[error("expected a value of type `{expected}`, found none")]
    Missing {
        /// The type that was asked for.
        expected: &'static str,
    },
    /// Bytes that are no value of their type.
    #[error("cannot read a value of type `{typename}`")]
    Decode {
        /// The type.
        typename: &'static str,
        /// What its decoder says.
        source: BoxError,
    },
    /// A value that has no form in bytes.
    #[error("cannot write a value of type `{typename}`")]
    Encode {
        /// The type.
        typename: &'static str,
        /// What its encoder says.
        source: BoxError,
    },
}

/// What can be sent: a value of any [`ValueType`], a `&str`, a [`TypedValue`] as it is, or a received
/// [`Message`], which is forwarded without being read.
pub trait IntoValue {
    /// The typed value to send.
    fn into_value(self) -> Result<TypedValue, ValueError>;
}

impl<T: ValueType> IntoValue for T {
    fn into_value(self) -> Result<TypedValue, ValueError> {
        Ok(TypedValue::new(T::TYPENAME, encode(&self)?))
    }
}

impl IntoValue for &str {
    fn into_value(self) -> Result<TypedValue, ValueError> {
        Ok(TypedValue::new(types::STRING, types::encode_string(self)))
    }
}

impl IntoValue for TypedValue {
    fn into_value(self) -> Result<TypedValue, ValueError> {
        Ok(self)
    }
}

impl IntoValue for Message {
    fn into_value(self) -> Result<TypedValue, ValueError> {
        Ok(self.value().clone())
    }
}

pub(crate) fn encode<T: ValueType>(value: &T) -> Result<Bytes, ValueError> {
    value.encode().map_err(|source| ValueError::Encode { typename: T::TYPENAME, source })
}

/// The value, if it is one of this type and can be read; the error names both types.
pub(crate) fn decode_value<T: ValueType>(value: &TypedValue) -> Result<T, ValueError> {
    if value.typename != T::TYPENAME {
        let found = value.typename.to_string();
        return Err(ValueError::OtherType { expected: T::TYPENAME, found });
    }
    if !value.has_value {
        return Err(ValueError::Missing { expected: T::TYPENAME });
    }
    decode(&value.value)
}

fn decode<T: ValueType>(bytes: &Bytes) -> Result<T, ValueError> {
    T::decode(bytes).map_err(|source| ValueError::Decode { typename: T::TYPENAME, source })
}

macro_rules! primitive_type {
    ($type:ty, $typename:ident, $encode:ident, $decode:ident) => {
        impl ValueType for $type {
            const TYPENAME: &'static str = types::$typename;

            fn encode(&self) -> Result<Bytes, BoxError> {
                Ok(types::$encode(*self))
            }

            fn decode(bytes: &Bytes) -> Result<Self, BoxError> {
                types::$decode(bytes).map_err(|error| error.reason.into())
            }
        }
    };
}

primitive_type!(bool, BOOL, encode_bool, decode_bool);
primitive_type!(i32, INT, encode_int, decode_int);
primitive_type!(i64, LONG, encode_long, decode_long);
primitive_type!(f32, FLOAT, encode_float, decode_float);
primitive_type!(f64, DOUBLE, encode_double, decode_double);

impl ValueType for String {
    const TYPENAME: &'static str = types::STRING;

    fn encode(&self) -> Result<Bytes, BoxError> {
        Ok(types::encode_string(self))
    }

    fn decode(bytes: &Bytes) -> Result<Self, BoxError> {
        types::decode_string(bytes).map_err(|error| error.reason.into())
    }
}

/// Makes a [`ValueType`] of a type with serde's `Serialize` and `Deserialize`: its bytes are JSON.
///
/// ```
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct GreetRequest {
///     name: String,
/// }
///
/// dormouse_sdk::json_type!(GreetRequest, "example/GreetRequest");
/// ```
#[macro_export]
macro_rules! json_type {
    ($type:ty, $typename:expr $(,)?) => {
        impl $crate::ValueType for $type {
            const TYPENAME: &'static str = $crate::private::type_name($typename);

            fn encode(&self) -> ::std::result::Result<$crate::Bytes, $crate::BoxError> {
                ::std::result::Result::Ok($crate::private::serde_json::to_vec(self)?.into())
            }

            fn decode(bytes: &$crate::Bytes) -> ::std::result::Result<Self, $crate::BoxError> {
                ::std::result::Result::Ok($crate::private::serde_json::from_slice(bytes)?)
            }
        }
    };
}

/// Makes a [`ValueType`] of a type with serde's `Serialize` and `Deserialize`: its bytes are MessagePack,
/// smaller and faster than JSON. Fields have their names, so fields can be added (with
/// `#[serde(default)]`), removed and moved.
///
/// ```
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Basket {
///     items: Vec<String>,
/// }
///
/// dormouse_sdk::msgpack_type!(Basket, "example/Basket");
/// ```
#[macro_export]
macro_rules! msgpack_type {
    ($type:ty, $typename:expr $(,)?) => {
        impl $crate::ValueType for $type {
            const TYPENAME: &'static str = $crate::private::type_name($typename);

            fn encode(&self) -> ::std::result::Result<$crate::Bytes, $crate::BoxError> {
                ::std::result::Result::Ok($crate::private::rmp_serde::to_vec_named(self)?.into())
            }

            fn decode(bytes: &$crate::Bytes) -> ::std::result::Result<Self, $crate::BoxError> {
                $crate::private::from_msgpack(bytes)
            }
        }
    };
}

/// Makes a [`ValueType`] of a struct with fory's `ForyStruct` (fory 1.7, which the crate has to depend
/// on; this macro needs the feature `fory` of `dormouse-sdk`): its bytes are those of Apache Fory, made
/// for speed. The structs inside of it are named after `with`. Fields can be added, removed and moved: what
/// is missing gets its default.
///
/// ```
/// use fory::ForyStruct;
///
/// #[derive(ForyStruct)]
/// struct Basket {
///     items: Vec<Item>,
/// }
///
/// #[derive(ForyStruct)]
/// struct Item {
///     count: i32,
/// }
///
/// dormouse_sdk::fory_type!(Basket, "example/Basket", with "example/Item" => Item);
/// ```
#[cfg(feature = "fory")]
#[macro_export]
macro_rules! fory_type {
    ($type:ty, $typename:expr $(, with $($name:expr => $part:ty),+)? $(,)?) => {
        const _: () = {
            static FORY: $crate::private::ForyCell = $crate::private::ForyCell::new();

            fn register(
                fory: &mut $crate::private::fory::Fory,
            ) -> ::std::result::Result<(), $crate::private::fory::Error> {
                fory.register_by_name::<$type>($typename)?;
                $($(fory.register_by_name::<$part>($name)?;)+)?
                ::std::result::Result::Ok(())
            }

            impl $crate::ValueType for $type {
                const TYPENAME: &'static str = $crate::private::type_name($typename);

                fn encode(&self) -> ::std::result::Result<$crate::Bytes, $crate::BoxError> {
                    let fory = $crate::private::fory_of(&FORY, register)?;
                    ::std::result::Result::Ok(fory.serialize(self)?.into())
                }

                fn decode(bytes: &$crate::Bytes) -> ::std::result::Result<Self, $crate::BoxError> {
                    let fory = $crate::private::fory_of(&FORY, register)?;
                    ::std::result::Result::Ok(fory.deserialize(bytes)?)
                }
            }
        };
    };
}

/// Makes a [`ValueType`] of a type with prost's `Message` (prost 0.14): its bytes are protobuf. The
/// SDKs of other languages name protobuf types `type.googleapis.com/<package>.<Message>`.
///
/// ```
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct GreetRequest {
///     #[prost(string, tag = "1")]
///     name: String,
/// }
///
/// dormouse_sdk::proto_type!(GreetRequest, "type.googleapis.com/example.GreetRequest");
/// ```
#[macro_export]
macro_rules! proto_type {
    ($type:ty, $typename:expr $(,)?) => {
        impl $crate::ValueType for $type {
            const TYPENAME: &'static str = $crate::private::type_name($typename);

            fn encode(&self) -> ::std::result::Result<$crate::Bytes, $crate::BoxError> {
                ::std::result::Result::Ok(
                    $crate::private::prost::Message::encode_to_vec(self).into(),
                )
            }

            fn decode(bytes: &$crate::Bytes) -> ::std::result::Result<Self, $crate::BoxError> {
                ::std::result::Result::Ok($crate::private::prost::Message::decode(bytes.clone())?)
            }
        }
    };
}
