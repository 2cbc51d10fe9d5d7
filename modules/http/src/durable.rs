//! Requests with an idempotency key. Each is a durable instance of `dormouse.http/request`, placed with
//! its target: the first message forwards to the target with the instance as caller, the reply is
//! stored, and whoever comes with the same key attaches to it. It forgets after [`KEPT_FOR`].

use std::time::Duration;

use bytes::Bytes;
use dormouse_protocol::partition::{HTTP_NAMESPACE, REPLY_NAME, REQUEST_NAME};
use dormouse_protocol::{Address, FunctionType, TypedValue, given_up};
use dormouse_sdk::{Context, FunctionError, Message, State, ValueType};
use xxhash_rust::xxh3::Xxh3;

/// How long a request and its reply are remembered, from the first message on.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Longest reply that is stored, in bytes; a longer one only reaches those who wait for it.
pub const STORED_REPLY_BYTES_MAX: usize = 1024 * 1024;
/// Clients that wait for one reply at a time; the oldest, most likely gone, makes room.
pub const WAITING_MAX: usize = 64;

/// A request, from an ingress to its instance.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Submit {
    #[prost(string, tag = "1")]
    pub target_namespace: String,
    #[prost(string, tag = "2")]
    pub target_name: String,
    #[prost(string, tag = "3")]
    pub target_id: String,
    #[prost(string, tag = "4")]
    pub typename: String,
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
    /// Answer with the reply; else answer as soon as the request is known.
    #[prost(bool, tag = "6")]
    pub wait: bool,
}

/// The answer of an instance to an ingress.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Outcome {
    #[prost(enumeration = "OutcomeKind", tag = "1")]
    pub kind: i32,
    /// The reply of [`OutcomeKind::Reply`].
    #[prost(message, optional, tag = "2")]
    pub reply: Option<StoredValue>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum OutcomeKind {
    Unknown = 0,
    /// It is on its way.
    Accepted = 1,
    /// The function has replied.
    Reply = 2,
    /// The key was used for another request.
    KeyReused = 3,
    /// The function has replied with more than is stored.
    ReplyTooLong = 4,
}

/// A typed value in a state.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StoredValue {
    #[prost(string, tag = "1")]
    pub typename: String,
    #[prost(bool, tag = "2")]
    pub has_value: bool,
    #[prost(bytes = "bytes", tag = "3")]
    pub value: Bytes,
}

/// State: what was asked for, and who waits (ids of volatile reply addresses).
#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    /// Of target, typename and body.
    #[prost(bytes = "bytes", tag = "1")]
    digest: Bytes,
    #[prost(string, repeated, tag = "2")]
    waiting: Vec<String>,
}

/// To the instance itself, when it is to forget.
#[derive(Clone, PartialEq, prost::Message)]
struct Expire {}

dormouse_sdk::proto_type!(Submit, "dormouse.http/Submit");
dormouse_sdk::proto_type!(Outcome, "dormouse.http/Outcome");
dormouse_sdk::proto_type!(Asked, "dormouse.http/Asked");
dormouse_sdk::proto_type!(Expire, "dormouse.http/Expire");

const ASKED: State<Asked> = State::new("asked");
const OUTCOME: State<Outcome> = State::new("outcome");

dormouse_sdk::function! { "dormouse.http/request", states: [ASKED, OUTCOME], request }

/// The instance for this target and key. Keys may contain anything: the target's id is counted, and two
/// targets that still meet in one instance are told apart by the digest.
#[must_use]
pub fn instance(target: &Address, key: &str) -> Address {
    let request = FunctionType::new(HTTP_NAMESPACE, REQUEST_NAME);
    let (id, function_type) = (&target.id, target.function_type);
    Address::new(request, format!("{}:{id}:{function_type}:{key}", id.len()))
}

impl Submit {
    #[must_use]
    pub fn new(target: &Address, value: TypedValue, wait: bool) -> Self {
        Self {
            target_namespace: target.function_type.namespace().to_owned(),
            target_name: target.function_type.name().to_owned(),
            target_id: target.id.to_string(),
            typename: value.typename.to_string(),
            value: value.value,
            wait,
        }
    }

    fn digest(&self) -> Bytes {
        let mut hasher = Xxh3::new();
        let names = [&self.target_namespace, &self.target_name, &self.target_id, &self.typename];
        for part in names.map(String::as_bytes).into_iter().chain([&self.value[..]]) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Bytes::copy_from_slice(&hasher.digest128().to_le_bytes())
    }
}

impl Outcome {
    fn new(kind: OutcomeKind) -> Self {
        Self { kind: kind.into(), reply: None }
    }

    fn of(value: &TypedValue) -> Self {
        let reply = StoredValue {
            typename: value.typename.to_string(),
            has_value: value.has_value,
            value: value.value.clone(),
        };
        Self { kind: OutcomeKind::Reply.into(), reply: Some(reply) }
    }

    /// Whether the reply is only a notice that there will be none.
    fn is_given_up(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| reply.typename == given_up::TYPENAME)
    }
}

async fn request(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    let from = |ctx: &Context, name: &str| {
        ctx.caller().is_some_and(|caller| {
            let function_type = caller.function_type;
            function_type.namespace() == HTTP_NAMESPACE && function_type.name() == name
        })
    };
    if message.is::<Submit>() && from(ctx, REPLY_NAME) {
        return submit(ctx, &message.decode()?);
    }
    if message.is::<Expire>() && ctx.caller() == Some(ctx.address()) {
        ctx.remove(&ASKED)?;
        ctx.remove(&OUTCOME)?;
        return Ok(());
    }
    replied(ctx, message.value())
}

fn submit(ctx: &mut Context, submit: &Submit) -> Result<(), FunctionError> {
    let digest = submit.digest();
    let Some(mut asked) = ctx.get(&ASKED)? else {
        return begin(ctx, submit, digest);
    };
    if asked.digest != digest {
        return ctx.reply(Outcome::new(OutcomeKind::KeyReused));
    }
    if !submit.wait {
        return ctx.reply(Outcome::new(OutcomeKind::Accepted));
    }
    if let Some(outcome) = ctx.get(&OUTCOME)? {
        return ctx.reply(outcome);
    }
    if asked.waiting.len() >= WAITING_MAX {
        asked.waiting.remove(0);
    }
    asked.waiting.extend(ctx.caller().map(|caller| caller.id.to_string()));
    ctx.set(&ASKED, asked)?;
    Ok(())
}

/// The first message with this key.
fn begin(ctx: &mut Context, submit: &Submit, digest: Bytes) -> Result<(), FunctionError> {
    let caller = ctx.caller().map(|caller| caller.id.to_string());
    let waiting = caller.filter(|_| submit.wait).into_iter().collect();
    ctx.set(&ASKED, Asked { digest, waiting })?;
    let (namespace, name) = (&submit.target_namespace, &submit.target_name);
    let target_type = FunctionType::try_new(namespace, name)
        .ok_or_else(|| FunctionError::new("too many distinct function types in this process"))?;
    let value = TypedValue::new(submit.typename.as_str(), submit.value.clone());
    ctx.send((target_type, submit.target_id.as_str()), value)?;
    let itself = ctx.address().clone();
    ctx.send_after(KEPT_FOR, itself, Expire {})?;
    if !submit.wait {
        ctx.reply(Outcome::new(OutcomeKind::Accepted))?;
    }
    Ok(())
}

/// A message from a function, or the notice that the target's message was given up: the first one is the
/// reply. A message that was given up may be replayed, and be answered after all.
fn replied(ctx: &mut Context, value: &TypedValue) -> Result<(), FunctionError> {
    if ctx.get_ref(&OUTCOME)?.is_some_and(|outcome| !outcome.is_given_up()) {
        return Ok(());
    }
    let Some(mut asked) = ctx.get(&ASKED)? else {
        return Ok(());
    };
    let outcome = Outcome::of(value);
    let reply_type = FunctionType::new(HTTP_NAMESPACE, REPLY_NAME);
    for waiting in asked.waiting.drain(..) {
        ctx.send((reply_type, waiting), outcome.clone())?;
    }
    ctx.set(&ASKED, asked)?;
    if value.value.len() > STORED_REPLY_BYTES_MAX {
        ctx.set(&OUTCOME, Outcome::new(OutcomeKind::ReplyTooLong))?;
    } else {
        ctx.set(&OUTCOME, outcome)?;
    }
    Ok(())
}

/// Reads an instance's answer.
#[must_use]
pub fn outcome(value: &TypedValue) -> Outcome {
    let expected = value.typename == Outcome::TYPENAME;
    let decoded = expected.then(|| <Outcome as ValueType>::decode(&value.value).ok()).flatten();
    decoded.unwrap_or_else(|| Outcome::new(OutcomeKind::Unknown))
}
