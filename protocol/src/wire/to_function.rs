//! What a runtime sends to a function: `io.statefun.sdk.reqreply.ToFunction`.

use super::{Address, TypedValue};

/// `io.statefun.sdk.reqreply.ToFunction`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ToFunction {
    /// The one request there is; absent in a message of another version of the protocol.
    #[prost(oneof = "FunctionRequest", tags = "100")]
    pub request: Option<FunctionRequest>,
}

/// The `oneof request` of [`ToFunction`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Oneof)]
pub enum FunctionRequest {
    /// A batch of invocations of one instance.
    #[prost(message, tag = "100")]
    Invocation(InvocationBatchRequest),
}

/// `ToFunction.InvocationBatchRequest`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct InvocationBatchRequest {
    /// The instance that is invoked.
    #[prost(message, optional, tag = "1")]
    pub target: Option<Address>,
    /// All registered states, those without a value too. Their order means nothing.
    #[prost(message, repeated, tag = "2")]
    pub state: Vec<PersistedValue>,
    /// At least one, in order of arrival.
    #[prost(message, repeated, tag = "3")]
    pub invocations: Vec<RequestedInvocation>,
}

/// `ToFunction.PersistedValue`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PersistedValue {
    /// Name of a registered state.
    #[prost(string, tag = "1")]
    pub state_name: String,
    /// Absent where the state is unset, deleted or expired.
    #[prost(message, optional, tag = "2")]
    pub state_value: Option<TypedValue>,
}

/// `ToFunction.Invocation`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct RequestedInvocation {
    /// The sender; absent for a message from an ingress.
    #[prost(message, optional, tag = "1")]
    pub caller: Option<Address>,
    /// The message.
    #[prost(message, optional, tag = "2")]
    pub argument: Option<TypedValue>,
}
