//! The function's side: a `ToFunction` becomes an [`Invocation`] once the states that the function
//! declares are found in it.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use smallvec::SmallVec;

use super::{WireError, address, detach, typed_value};
use crate::{
    Address, FunctionType, Invocation, Message, StateSpec,
    wire::{self, FunctionRequest},
};

/// A `ToFunction` whose target is known, before states are looked for.
#[derive(Clone, Debug)]
pub struct Request {
    target: Address,
    state: Vec<wire::PersistedValue>,
    messages: Vec<Arc<Message>>,
    body_bytes: usize,
}

/// What [`Request::attach`] finds.
#[derive(Clone, Debug)]
pub enum Attached {
    /// All declared states are there: the function can run.
    Ready(Invocation),
    /// These were not in the request: the answer is [`crate::Response::Incomplete`].
    Missing(Vec<StateSpec>),
}

/// Reads a `ToFunction`.
pub fn request(body: Bytes) -> Result<Request, WireError> {
    let body_bytes = body.len();
    let to_function = wire::ToFunction::decode(body).map_err(|error| WireError::Malformed {
        expected: "ToFunction",
        reason: error.to_string(),
    })?;
    let Some(FunctionRequest::Invocation(batch)) = to_function.request else {
        return Err(WireError::NoInvocation);
    };
    if batch.invocations.is_empty() {
        return Err(WireError::NoInvocation);
    }
    let target = address("the invocation's target", batch.target)?;
    let mut messages = Vec::with_capacity(batch.invocations.len());
    for invocation in batch.invocations {
        messages.push(Arc::new(Message {
            target: target.clone(),
            caller: caller(invocation.caller)?,
            value: typed_value(invocation.argument, body_bytes),
        }));
    }
    Ok(Request { target, state: batch.state, messages, body_bytes })
}

/// An address of empty strings counts as none, as in the Java and Python SDKs.
fn caller(wire: Option<wire::Address>) -> Result<Option<Address>, WireError> {
    match wire {
        Some(wire) if wire != wire::Address::default() => {
            address("an invocation's caller", Some(wire)).map(Some)
        }
        _ => Ok(None),
    }
}

impl Request {
    /// The type of the function that is to run.
    #[must_use]
    pub fn function_type(&self) -> FunctionType {
        self.target.function_type
    }

    /// Finds the values of the states that the function declares; others are ignored.
    pub fn attach(self, specs: &Arc<[StateSpec]>) -> Result<Attached, WireError> {
        let mut state = SmallVec::with_capacity(specs.len());
        let mut missing = Vec::new();
        for spec in specs.iter() {
            let found = self.state.iter().find(|value| value.state_name == spec.name.as_str());
            match found {
                None => missing.push(spec.clone()),
                Some(found) => state.push(present(spec, found, self.body_bytes)?),
            }
        }
        if !missing.is_empty() {
            return Ok(Attached::Missing(missing));
        }
        Ok(Attached::Ready(Invocation {
            target: self.target,
            specs: Arc::clone(specs),
            state,
            messages: self.messages.into(),
            entries: None,
        }))
    }
}

fn present(
    spec: &StateSpec,
    found: &wire::PersistedValue,
    body_bytes: usize,
) -> Result<Option<Bytes>, WireError> {
    let Some(value) = found.state_value.as_ref().filter(|value| value.has_value) else {
        return Ok(None);
    };
    if value.typename != spec.typename.as_str() {
        return Err(WireError::StateType {
            state: spec.name.to_string(),
            previous: value.typename.clone(),
            new: spec.typename.to_string(),
        });
    }
    Ok(Some(detach(value.value.clone(), body_bytes)))
}
