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
use crate::value::{ValueError, ValueType};

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
    pub fn finish(&mut self, outcome: Result<(), FunctionError>) -> Result<Response, InvokeError> {
        // However the function took it: without these states it has not run.
        let wanted = self.context.wanted();
        if !wanted.is_empty() {
            return Ok(Response::Incomplete(wanted));
        }
        match outcome {
            Ok(()) => Ok(self.context.take_response()),
            Err(error) => Err(failure(&self.context, &error)),
        }
    }
}

/// The message as what the function takes.
pub fn argument<A: FromMessage>(message: Message) -> Result<A, FunctionError> {
    Ok(A::from_message(message)?)
}

/// The message as what one of several handlers takes; another one's message comes back.
pub fn try_argument<A: ValueType>(message: Message) -> Result<Result<A, ValueError>, Message> {
    if message.is::<A>() { Ok(message.decode()) } else { Err(message) }
}

/// A message that no handler takes.
pub fn unmatched(message: &Message, known: &[&str]) -> FunctionError {
    let found = message.typename();
    let known = crate::manifest::list(known);
    FunctionError::new(format!(
        "no handler takes a value of type `{found}`; there are ones for {known}"
    ))
}

/// The type of the messages that a handler takes.
pub const fn typename<H, A>(_: &H) -> &'static str
where
    H: AsyncFn(&mut Context, A) -> Result<(), FunctionError>,
    A: ValueType,
{
    A::TYPENAME
}

/// Checks while compiling that no two handlers take the same type: the second one would never run.
pub const fn distinct<'t>(typenames: &'t [&'static str]) -> &'t [&'static str] {
    let mut at = 0;
    while at < typenames.len() {
        let mut before = 0;
        while before < at {
            let is_same = same(typenames[before].as_bytes(), typenames[at].as_bytes());
            assert!(!is_same, "two handlers of one function take the same type of message");
            before += 1;
        }
        at += 1;
    }
    typenames
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
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

pub(crate) fn panicked(panic: &(dyn Any + Send)) -> FunctionError {
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
