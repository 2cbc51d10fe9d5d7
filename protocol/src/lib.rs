//! What Dormouse, its functions and its modules agree on: addresses, typed values, messages, the
//! effects of an invocation, and the StateFun wire protocol. A leaf crate: no I/O, no runtime.
//!
//! Read in this order: [`function_type`] → [`address`] → [`value`] → [`message`] → [`invocation`] →
//! [`effects`], [`failure`], [`given_up`]; the wire forms are in [`wire`], read by [`from_wire`] and written by [`to_wire`]
//! (several calls in one request: [`many`]), the
//! primitive types in [`types`], records for egresses in [`egress_records`].

#![warn(missing_docs)]

pub mod address;
pub mod effects;
pub mod egress_records;
pub mod entries;
pub mod failure;
pub mod from_wire;
pub mod function_type;
pub mod given_up;
pub mod invocation;
pub mod many;
pub mod message;
pub mod partition;
pub mod to_wire;
pub mod types;
pub mod value;
pub mod wire;

pub use address::{Address, ID_BYTES_MAX};
pub use effects::{Delayed, Effects, EgressRecord, StateMutation, StateMutations, TOKEN_BYTES_MAX};
pub use entries::{
    ClearedEntries, EntryChange, EntryEffects, EntryPage, EntryRead, EntryReader, Which,
};
pub use failure::{FailurePolicy, Then};
pub use function_type::{FunctionType, ParseTypeNameError, TypeName};
pub use invocation::{
    Batch, Expiration, Invocation, InvokeError, Response, StateSpec, StateValues,
};
pub use message::Message;
pub use partition::{Partition, partition_of};
pub use value::{Metadata, TypedValue};
