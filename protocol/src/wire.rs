//! The request-reply messages of StateFun as they are on the wire (protobuf package
//! `io.statefun.sdk.reqreply`): [`ToFunction`] and [`FromFunction`], and what both are made of.
//! Written by hand so that a build needs no protobuf compiler; the field numbers are the contract.
//! [`crate::to_wire`] and [`crate::from_wire`] turn them into our own types and back.

mod from_function;
mod to_function;

use bytes::Bytes;

pub use from_function::{
    DelayedInvocation, EgressMessage, ExpirationSpec, ExpireMode, FromFunction, FunctionResponse,
    IncompleteInvocationContext, InvocationResponse, MutationType, OutgoingMessage,
    PersistedValueMutation, PersistedValueSpec,
};
pub use to_function::{
    FunctionRequest, InvocationBatchRequest, PersistedValue, RequestedInvocation, ToFunction,
};

/// `io.statefun.sdk.reqreply.Address`: one instance.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Address {
    /// Namespace of the function type.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name of the function type.
    #[prost(string, tag = "2")]
    pub r#type: String,
    /// Id of the instance.
    #[prost(string, tag = "3")]
    pub id: String,
}

/// `io.statefun.sdk.reqreply.TypedValue`: bytes with the name of their type.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct TypedValue {
    /// `<namespace>/<name>`, opaque to a runtime.
    #[prost(string, tag = "1")]
    pub typename: String,
    /// Tells an explicit empty value from a missing one.
    #[prost(bool, tag = "2")]
    pub has_value: bool,
    /// The serialised value.
    #[prost(bytes = "bytes", tag = "3")]
    pub value: Bytes,
    /// Headers of the record that the value came from, in order; duplicates are kept.
    #[prost(message, repeated, tag = "4")]
    pub metadata: Vec<Metadata>,
}

/// `io.statefun.sdk.reqreply.Metadata`: one header of a record.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Metadata {
    /// The header's name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The header's value.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// `false` for a null header.
    #[prost(bool, tag = "3")]
    pub has_value: bool,
}
