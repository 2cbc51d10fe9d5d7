//! How a registered function runs: one future per batch, each message awaited in turn against one copy
//! of the state, all effects in one answer. The first error or panic ends the batch, and nothing of it
//! is applied. Called by what [`crate::function!`] expands to.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use dormouse_protocol::{FunctionType, Invocation, InvokeError, Response};

use crate::context::Context;
use crate::error::FunctionError;
use crate::message::{FromMessage, Message};

/// An answer that may be computed on any thread.
pub type BatchFuture = Pin<Box<dyn Future<Output = Result<Response, InvokeError>> + Send>>;

/// A batch on its way through a function.
#[derive(Debug)]
pub struct Batch {
    /// Given to the function.
    pub context: Context,
    messages: <dormouse_protocol::Batch as IntoIterator>::IntoIter,
}

impl Batch {
    /// The batch of an invocation.
    pub(crate) fn new(invocation: Invocation) -> Self {
        let (context, messages) = Context::new(invocation);
        Self { context, messages: messages.into_iter() }
    }

    /// The next message; `None` after the last one, when the states are written.
    pub fn next_message(&mut self) -> Result<Option<Message>, FunctionError> {
        let Some(message) = self.messages.next() else {
            self.context.seal()?;
            return Ok(None);
        };
        Ok(Some(self.context.begin(message)))
    }

    /// The answer, once the function is through with its messages.
    pub fn finish(self, outcome: Result<(), FunctionError>) -> Result<Response, InvokeError> {
        match outcome {
            Ok(()) => Ok(self.context.into_response()),
            Err(error) => Err(failure(&self.context, &error)),
        }
    }
}

/// The message as what the function takes.
pub fn argument<A: FromMessage>(message: Message) -> Result<A, FunctionError> {
    Ok(A::from_message(message)?)
}

/// Awaits the function's run; a panic becomes its error.
pub async fn guard<F>(mut run: Pin<&mut F>) -> Result<(), FunctionError>
where
    F: Future<Output = Result<(), FunctionError>>,
{
    std::future::poll_fn(|cx| {
        // What the panic left behind is dropped with the batch: nothing half-done is seen.
        match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(panicked(&*panic))),
        }
    })
    .await
}

fn panicked(panic: &(dyn Any + Send)) -> FunctionError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    FunctionError::new(format!("panicked: {}", text.unwrap_or("a value that is no text")))
}

fn failure(context: &Context, error: &FunctionError) -> InvokeError {
    let function_type: FunctionType = context.address().function_type;
    let typename = context.message_type().unwrap_or_default();
    let mut failure = InvokeError::new(format!(
        "function {function_type} failed on a message of type `{typename}`: {error}"
    ));
    failure.retry_after = error.pause();
    failure
}
