//! From the wire to our types, for both sides: [`response`] reads what a function answered,
//! [`request`] what a runtime sent. Everything that is wrong with the bytes is a [`WireError`];
//! nothing is passed on half-read.

mod request;
mod response;

use bytes::Bytes;
use compact_str::CompactString;

pub use request::{Attached, Request, request};
pub use response::response;

use crate::{Address, FunctionType, ID_BYTES_MAX, Metadata, TypedValue, wire};

/// States that a function type can have at most.
pub const STATES_MAX: usize = 4_096;

/// Longest name of a state of a remote function, in bytes: it is part of a key in the store, beside the
/// longest id and the longest type.
pub const STATE_NAME_BYTES_MAX: usize = 16 * 1024;

/// Longest namespace, and longest name, of a function type that comes in an address, in bytes. Types
/// are interned for the process's life, so that what comes from outside must be bounded.
pub const TYPE_BYTES_MAX: usize = 1_024;

/// What is wrong with a message of the protocol. The caller names the endpoint or the function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes are no message of the protocol.
    #[error("the body is no {expected}: {reason}")]
    Malformed {
        /// The message that was expected.
        expected: &'static str,
        /// What protobuf says.
        reason: String,
    },
    /// A request holds no invocation.
    #[error("the ToFunction holds no invocation")]
    NoInvocation,
    /// An address is missing or incomplete.
    #[error("{what}: {reason}")]
    Address {
        /// Which address: "a message's target".
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An egress id is incomplete.
    #[error("an egress message for `{0}`: expected an egress id <namespace>/<name>")]
    Egress(String),
    /// A mutation of a state that was not registered.
    #[error(
        "Accessing a non-existing function state: {0}. This can happen if you forgot to declare \
         this state using the language SDKs."
    )]
    UnknownState(String),
    /// A value of another type than the state was registered with.
    #[error(
        "An error occurred for state [{state}]. Previous type was: {previous}, new type is: {new}"
    )]
    StateType {
        /// The state's name.
        state: String,
        /// The typename it was registered with.
        previous: String,
        /// The typename that came.
        new: String,
    },
    /// A mutation that is neither `DELETE` nor `MODIFY`.
    #[error(
        "the mutation of state `{state}` has type {mutation_type}: expected 0 (DELETE) or 1 (MODIFY)"
    )]
    MutationType {
        /// The state's name.
        state: String,
        /// The number that came.
        mutation_type: i32,
    },
    /// A cancellation that does not say of what.
    #[error("Can not handle a cancellation request without a cancellation token.")]
    NoToken,
    /// A delay below zero.
    #[error("a delayed message for {target} has delay_in_ms {delay_ms}: expected 0 or more")]
    NegativeDelay {
        /// Where the message would go.
        target: Address,
        /// The delay that came.
        delay_ms: i64,
    },
    /// A state that expires after no time at all, or less.
    #[error("state `{state}` expires after {after_ms} ms: expected 1 or more")]
    Expiration {
        /// The state's name.
        state: String,
        /// The time that came.
        after_ms: i64,
    },
    /// A state without a name was declared missing.
    #[error("the function asks for a state without a name")]
    UnnamedState,
    /// A state was declared missing whose name is longer than possible.
    #[error(
        "state `{name}...` has a name of {bytes} bytes: at most {STATE_NAME_BYTES_MAX} are possible"
    )]
    LongStateName {
        /// The beginning of the name.
        name: String,
        /// The length that came.
        bytes: usize,
    },
    /// More states than a function type can have.
    #[error("the function asks for more than {STATES_MAX} states")]
    TooManyStates,
    /// An incomplete context that names nothing new: calling again would go on for ever.
    #[error(
        "the function answers that states are missing, but names none that was not in the request"
    )]
    NothingMissing,
}

fn address(what: &'static str, wire: Option<wire::Address>) -> Result<Address, WireError> {
    let fail = |reason: String| Err(WireError::Address { what, reason });
    let Some(wire) = wire else {
        return fail("is missing".to_owned());
    };
    let (namespace, name) = (&wire.namespace, &wire.r#type);
    if namespace.is_empty() || name.is_empty() {
        return fail(format!(
            "`{namespace}/{name}`, id `{}`: expected a namespace and a type",
            shorten(&wire.id)
        ));
    }
    if namespace.len() > TYPE_BYTES_MAX || name.len() > TYPE_BYTES_MAX {
        return fail(format!(
            "type `{}/{}...`: at most {TYPE_BYTES_MAX} bytes each are allowed",
            shorten(namespace),
            shorten(name)
        ));
    }
    if wire.id.len() > ID_BYTES_MAX {
        return fail(format!(
            "{namespace}/{name}: the id has {} bytes, at most {ID_BYTES_MAX} are allowed",
            wire.id.len()
        ));
    }
    let Some(function_type) = FunctionType::try_new(namespace, name) else {
        return fail(format!(
            "{namespace}/{name}: too many distinct function types in this process"
        ));
    };
    Ok(Address::new(function_type, wire.id))
}

/// Text from outside for an error message: at most 64 characters of it.
fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

/// An absent value is an empty one. `body_bytes` is the length of the buffer that it points into.
fn typed_value(wire: Option<wire::TypedValue>, body_bytes: usize) -> TypedValue {
    let Some(wire) = wire else {
        return TypedValue::default();
    };
    let metadata = wire.metadata.into_iter().map(|metadata| Metadata {
        key: metadata.key,
        value: metadata.has_value.then(|| detach(metadata.value, body_bytes)),
    });
    let metadata: Vec<Metadata> = metadata.collect();
    TypedValue {
        typename: CompactString::from(wire.typename),
        has_value: wire.has_value,
        value: detach(wire.value, body_bytes),
        metadata: (!metadata.is_empty()).then(|| Box::new(metadata)),
    }
}

/// Values outlive the body they came in (as state, in mailboxes) and are accounted by their own
/// length: one that is not the greater part of its body is copied, so that it does not hold all of it.
fn detach(value: Bytes, body_bytes: usize) -> Bytes {
    if value.len() * 2 + 256 >= body_bytes {
        return value;
    }
    Bytes::copy_from_slice(&value)
}
