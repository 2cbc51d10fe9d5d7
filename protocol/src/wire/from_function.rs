//! What a function answers: `io.statefun.sdk.reqreply.FromFunction`.

use super::{Address, TypedValue};

/// `io.statefun.sdk.reqreply.FromFunction`. Absent `response` (an empty body) means no effects.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct FromFunction {
    /// The effects, or what the function needs before it can run.
    #[prost(oneof = "FunctionResponse", tags = "100, 101")]
    pub response: Option<FunctionResponse>,
}

/// The `oneof response` of [`FromFunction`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Oneof)]
pub enum FunctionResponse {
    /// The function ran.
    #[prost(message, tag = "100")]
    InvocationResult(InvocationResponse),
    /// The function did not run: states are missing.
    #[prost(message, tag = "101")]
    IncompleteInvocationContext(IncompleteInvocationContext),
}

/// `FromFunction.InvocationResponse`: the merged effects of a batch.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct InvocationResponse {
    /// Changes of states; the last one of a state wins.
    #[prost(message, repeated, tag = "1")]
    pub state_mutations: Vec<PersistedValueMutation>,
    /// Messages to functions.
    #[prost(message, repeated, tag = "2")]
    pub outgoing_messages: Vec<OutgoingMessage>,
    /// Delayed messages and cancellations, in the order in which they were asked for.
    #[prost(message, repeated, tag = "3")]
    pub delayed_invocations: Vec<DelayedInvocation>,
    /// Records for egresses.
    #[prost(message, repeated, tag = "4")]
    pub outgoing_egresses: Vec<EgressMessage>,
}

/// `FromFunction.PersistedValueMutation`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PersistedValueMutation {
    /// A [`MutationType`].
    #[prost(enumeration = "MutationType", tag = "1")]
    pub mutation_type: i32,
    /// Name of a registered state.
    #[prost(string, tag = "2")]
    pub state_name: String,
    /// The new value of a `MODIFY`.
    #[prost(message, optional, tag = "3")]
    pub state_value: Option<TypedValue>,
}

/// `FromFunction.PersistedValueMutation.MutationType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MutationType {
    /// The state has no value any more.
    Delete = 0,
    /// The state takes the given value.
    Modify = 1,
}

/// `FromFunction.Invocation`: a message to a function.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct OutgoingMessage {
    /// Where it goes.
    #[prost(message, optional, tag = "1")]
    pub target: Option<Address>,
    /// The message.
    #[prost(message, optional, tag = "2")]
    pub argument: Option<TypedValue>,
}

/// `FromFunction.DelayedInvocation`: a delayed message, or the cancellation of one.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct DelayedInvocation {
    /// Milliseconds, counted from the moment in which the answer is applied.
    #[prost(int64, tag = "1")]
    pub delay_in_ms: i64,
    /// Where it goes.
    #[prost(message, optional, tag = "2")]
    pub target: Option<Address>,
    /// The message.
    #[prost(message, optional, tag = "3")]
    pub argument: Option<TypedValue>,
    /// Cancel what holds `cancellation_token` instead of sending.
    #[prost(bool, tag = "10")]
    pub is_cancellation_request: bool,
    /// Empty when the message cannot be cancelled.
    #[prost(string, tag = "11")]
    pub cancellation_token: String,
}

/// `FromFunction.EgressMessage`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct EgressMessage {
    /// Namespace of the egress id.
    #[prost(string, tag = "1")]
    pub egress_namespace: String,
    /// Name of the egress id.
    #[prost(string, tag = "2")]
    pub egress_type: String,
    /// The record.
    #[prost(message, optional, tag = "3")]
    pub argument: Option<TypedValue>,
}

/// `FromFunction.IncompleteInvocationContext`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct IncompleteInvocationContext {
    /// The states that were not listed in the request.
    #[prost(message, repeated, tag = "1")]
    pub missing_values: Vec<PersistedValueSpec>,
}

/// `FromFunction.PersistedValueSpec`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PersistedValueSpec {
    /// Name of the state.
    #[prost(string, tag = "1")]
    pub state_name: String,
    /// Absent = never.
    #[prost(message, optional, tag = "2")]
    pub expiration_spec: Option<ExpirationSpec>,
    /// Typename of its values.
    #[prost(string, tag = "3")]
    pub type_typename: String,
}

/// `FromFunction.ExpirationSpec`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ExpirationSpec {
    /// An [`ExpireMode`]; unknown numbers mean `NONE`.
    #[prost(enumeration = "ExpireMode", tag = "1")]
    pub mode: i32,
    /// How long, in milliseconds.
    #[prost(int64, tag = "2")]
    pub expire_after_millis: i64,
}

/// `FromFunction.ExpirationSpec.ExpireMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ExpireMode {
    /// It never expires.
    None = 0,
    /// So long after the last write.
    AfterWrite = 1,
    /// So long after the last invocation.
    AfterInvoke = 2,
}
