//! A function as the runtime sees it: something that answers invocations. In-process functions and
//! remote endpoints are the same to the engine.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use dormouse_protocol::{FunctionType, Invocation, InvokeError, Response, StateSpec};

/// The answer of an invocation. Polled on the thread of the shard that owns the address.
pub type InvokeFuture = Pin<Box<dyn Future<Output = Result<Response, InvokeError>>>>;

/// One function type on one shard.
pub trait Function: Debug {
    /// The states that the function declares, or `None` when only calling it tells (a remote one).
    fn specs(&self) -> Option<Vec<StateSpec>>;

    /// Starts an invocation. Must not block; a panic counts as a failed invocation.
    fn invoke(&self, invocation: Invocation) -> InvokeFuture;
}

/// Makes functions: once per function type and shard, on that shard's thread, when the first message
/// for the type arrives.
pub trait FunctionProvider: Debug + Send + Sync {
    /// An error blocks the addresses of this type with its message.
    fn function(&self, function_type: FunctionType) -> Result<Box<dyn Function>, InvokeError>;
}
