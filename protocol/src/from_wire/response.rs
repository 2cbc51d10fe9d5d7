//! The runtime's side: a `FromFunction` becomes a [`Response`], its states resolved to the indexes of
//! the invocation's specs.

use bytes::Bytes;
use compact_str::CompactString;
use prost::Message as _;
use smallvec::SmallVec;

use super::{STATE_NAME_BYTES_MAX, STATES_MAX, WireError, address, detach, shorten, typed_value};
use crate::{
    Delayed, Effects, EgressRecord, Expiration, Response, StateMutation, StateSpec, TypeName,
    types,
    wire::{self, ExpireMode, FunctionResponse, MutationType},
};

/// Reads a `FromFunction`; `specs` are those of the invocation that it answers. An empty body means no
/// effects. A state without a typename is registered as [`types::UNSET`].
pub fn response(body: Bytes, specs: &[StateSpec]) -> Result<Response, WireError> {
    let body_bytes = body.len();
    let from_function = wire::FromFunction::decode(body).map_err(|error| WireError::Malformed {
        expected: "FromFunction",
        reason: error.to_string(),
    })?;
    match from_function.response {
        None => Ok(Response::Effects(Box::default())),
        Some(FunctionResponse::InvocationResult(result)) => {
            effects(result, specs, body_bytes).map(Box::new).map(Response::Effects)
        }
        Some(FunctionResponse::IncompleteInvocationContext(context)) => {
            incomplete(context, specs).map(Response::Incomplete)
        }
    }
}

fn effects(
    result: wire::InvocationResponse,
    specs: &[StateSpec],
    body_bytes: usize,
) -> Result<Effects, WireError> {
    let mut effects = Effects {
        messages: Vec::with_capacity(result.outgoing_messages.len()),
        delayed: Vec::with_capacity(result.delayed_invocations.len()),
        egress: Vec::with_capacity(result.outgoing_egresses.len()),
        state: SmallVec::with_capacity(result.state_mutations.len()),
        entries: None,
    };
    for message in result.outgoing_messages {
        let target = address("a message's target", message.target)?;
        let value = typed_value(message.argument, body_bytes);
        effects.messages.push((target, value));
    }
    for invocation in result.delayed_invocations {
        effects.delayed.push(delayed(invocation, body_bytes)?);
    }
    for message in result.outgoing_egresses {
        effects.egress.push(egress(message, body_bytes)?);
    }
    for change in result.state_mutations {
        effects.state.push(mutation(change, specs, body_bytes)?);
    }
    Ok(effects)
}

fn delayed(invocation: wire::DelayedInvocation, body_bytes: usize) -> Result<Delayed, WireError> {
    let token = CompactString::from(invocation.cancellation_token);
    if invocation.is_cancellation_request {
        if token.is_empty() {
            return Err(WireError::NoToken);
        }
        return Ok(Delayed::Cancel { token });
    }
    let target = address("a delayed message's target", invocation.target)?;
    let Ok(delay_ms) = u64::try_from(invocation.delay_in_ms) else {
        return Err(WireError::NegativeDelay { target, delay_ms: invocation.delay_in_ms });
    };
    Ok(Delayed::Send {
        delay_ms,
        target,
        value: typed_value(invocation.argument, body_bytes),
        token: (!token.is_empty()).then_some(token),
    })
}

fn egress(message: wire::EgressMessage, body_bytes: usize) -> Result<EgressRecord, WireError> {
    let egress = TypeName { namespace: message.egress_namespace, name: message.egress_type };
    if egress.namespace.is_empty() || egress.name.is_empty() {
        return Err(WireError::Egress(egress.to_string()));
    }
    Ok(EgressRecord { egress, value: typed_value(message.argument, body_bytes) })
}

fn mutation(
    mutation: wire::PersistedValueMutation,
    specs: &[StateSpec],
    body_bytes: usize,
) -> Result<StateMutation, WireError> {
    let name = mutation.state_name;
    let position = specs.iter().position(|spec| spec.name == name.as_str());
    let Some((index, spec)) = position.and_then(|at| Some((u16::try_from(at).ok()?, &specs[at])))
    else {
        return Err(WireError::UnknownState(name));
    };
    let value = match MutationType::try_from(mutation.mutation_type) {
        Ok(MutationType::Delete) => None,
        Ok(MutationType::Modify) => {
            let value = mutation.state_value.unwrap_or_default();
            same_type(&name, &spec.typename, state_type(&value.typename))?;
            Some(detach(value.value, body_bytes))
        }
        Err(_) => {
            return Err(WireError::MutationType {
                state: name,
                mutation_type: mutation.mutation_type,
            });
        }
    };
    Ok(StateMutation { spec: index, value })
}

fn incomplete(
    context: wire::IncompleteInvocationContext,
    specs: &[StateSpec],
) -> Result<Vec<StateSpec>, WireError> {
    if specs.len() + context.missing_values.len() > STATES_MAX {
        return Err(WireError::TooManyStates);
    }
    let mut missing: Vec<StateSpec> = Vec::with_capacity(context.missing_values.len());
    for wire in context.missing_values {
        let spec = state_spec(wire)?;
        let known = specs.iter().chain(&missing).find(|known| known.name == spec.name);
        match known {
            Some(known) => same_type(&spec.name, &known.typename, &spec.typename)?,
            None => missing.push(spec),
        }
    }
    if missing.is_empty() {
        return Err(WireError::NothingMissing);
    }
    Ok(missing)
}

fn state_spec(wire: wire::PersistedValueSpec) -> Result<StateSpec, WireError> {
    if wire.state_name.is_empty() {
        return Err(WireError::UnnamedState);
    }
    if wire.state_name.len() > STATE_NAME_BYTES_MAX {
        let (name, bytes) = (shorten(&wire.state_name), wire.state_name.len());
        return Err(WireError::LongStateName { name, bytes });
    }
    let expiration = wire.expiration_spec.unwrap_or_default();
    let after_ms = || match u64::try_from(expiration.expire_after_millis) {
        Ok(after_ms) if after_ms > 0 => Ok(after_ms),
        _ => Err(WireError::Expiration {
            state: wire.state_name.clone(),
            after_ms: expiration.expire_after_millis,
        }),
    };
    let expiration = match ExpireMode::try_from(expiration.mode) {
        Ok(ExpireMode::AfterWrite) => Expiration::AfterWrite(after_ms()?),
        Ok(ExpireMode::AfterInvoke) => Expiration::AfterInvoke(after_ms()?),
        Ok(ExpireMode::None) | Err(_) => Expiration::Never,
    };
    let typename = CompactString::from(state_type(&wire.type_typename));
    let name = CompactString::from(wire.state_name);
    Ok(StateSpec { name, typename, expiration, has_entries: false })
}

/// The type of a state, also where its function names none.
fn state_type(typename: &str) -> &str {
    if typename.is_empty() { types::UNSET } else { typename }
}

/// Typenames are compared as the runtime of StateFun parses them: `a/b/` is `a/b`.
fn same_type(state: &str, previous: &str, new: &str) -> Result<(), WireError> {
    let plain = |typename: &str| typename.strip_suffix('/').unwrap_or(typename).to_owned();
    if previous == new || plain(previous) == plain(new) {
        return Ok(());
    }
    Err(WireError::StateType {
        state: state.to_owned(),
        previous: previous.to_owned(),
        new: new.to_owned(),
    })
}
