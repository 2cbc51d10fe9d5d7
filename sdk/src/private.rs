//! What the macros of this crate expand to. No part of the interface: it may change at any time.

#[cfg(feature = "fory")]
pub use fory;
pub use inventory;
pub use prost;
pub use rmp_serde;
pub use serde_json;

use dormouse_protocol::TypedValue;

use crate::error::BoxError;
use crate::router::FromRecord;
use crate::value::ValueError;

pub use crate::batch::{
    Batch, BatchFuture, argument, distinct, guard, try_argument, typename, unmatched,
};

/// The record as what a router takes.
pub fn record<R: FromRecord>(record: &TypedValue) -> Result<R, ValueError> {
    R::from_record(record)
}

/// Reads one MessagePack value; bytes behind it are an error, as they are in JSON.
pub fn from_msgpack<T: serde::de::DeserializeOwned>(mut bytes: &[u8]) -> Result<T, BoxError> {
    let value = rmp_serde::from_read(&mut bytes)?;
    if bytes.is_empty() { Ok(value) } else { Err("bytes are left over".into()) }
}

/// What knows a type and the structs inside of it; made once.
#[cfg(feature = "fory")]
pub type ForyCell = std::sync::OnceLock<Result<fory::Fory, String>>;

/// The one in the cell. An error says which struct cannot be registered.
#[cfg(feature = "fory")]
pub fn fory_of(
    cell: &'static ForyCell,
    register: fn(&mut fory::Fory) -> Result<(), fory::Error>,
) -> Result<&'static fory::Fory, BoxError> {
    let fory = cell.get_or_init(|| {
        let mut fory = fory::Fory::builder().compatible(true).build();
        register(&mut fory).map_err(|error| error.to_string())?;
        Ok(fory)
    });
    fory.as_ref().map_err(|error| error.clone().into())
}

/// Checks a type name while compiling: exactly one `/` or more, with text on both sides of the last.
#[must_use]
pub const fn type_name(text: &'static str) -> &'static str {
    let bytes = text.as_bytes();
    let mut slash = bytes.len();
    while slash > 0 && bytes[slash - 1] != b'/' {
        slash -= 1;
    }
    assert!(slash > 1 && slash < bytes.len(), "a type name must be of the form <namespace>/<name>");
    text
}
