//! The functions that are measured, registered as any application's are: counters, generators of load
//! inside of the runtime, and rings. The bench binary serves them in-process when it runs as a
//! server, and `bench/request-counter` also over HTTP.

pub(crate) mod alarm;
pub(crate) mod chain;
pub(crate) mod flood;
pub(crate) mod generator;
pub(crate) mod instances;
pub(crate) mod ring;

use bytes::Bytes;
use dormouse_sdk::protocol::TypedValue;
use dormouse_sdk::{Context, FunctionError, Message, State, ValueType, function};

/// Typename of what is sent about.
pub(crate) const PAYLOAD: &str = "bench/payload";

/// Counts messages, and tells when it is asked.
pub(crate) const COUNTER: &str = "bench/counter";

/// Counts messages and replies with the count.
pub(crate) const REQUEST_COUNTER: &str = "bench/request-counter";

/// Counts messages of the probe, apart from the load.
pub(crate) const PROBE: &str = "bench/probe";

/// Is woken once, and sleeps.
pub(crate) const SLEEPER: &str = "bench/sleeper";

/// Takes messages and does nothing.
pub(crate) const LEAF: &str = "bench/leaf";

const COUNT: State<i64> = State::new("count");

/// Asks a counter for its count, which it does not change.
#[derive(Debug)]
pub(crate) struct Read;

impl ValueType for Read {
    const TYPENAME: &'static str = "bench/read";

    fn encode(&self) -> Result<Bytes, dormouse_sdk::BoxError> {
        Ok(Bytes::new())
    }

    fn decode(_: &Bytes) -> Result<Self, dormouse_sdk::BoxError> {
        Ok(Self)
    }
}

/// The message that everything is measured with: its bytes are made for it, as those of any value.
pub(crate) fn payload() -> TypedValue {
    TypedValue::new(PAYLOAD, Bytes::copy_from_slice(&crate::load::traffic::PAYLOAD))
}

fn count_one(ctx: &mut Context) -> Result<i64, FunctionError> {
    let count = ctx.get(&COUNT)?.unwrap_or(0) + 1;
    ctx.set(&COUNT, count)?;
    Ok(count)
}

async fn counter(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    if message.is::<Read>() {
        let count = ctx.get(&COUNT)?.unwrap_or(0);
        return ctx.reply(count.to_string());
    }
    count_one(ctx)?;
    Ok(())
}

async fn request_counter(ctx: &mut Context, _: Message) -> Result<(), FunctionError> {
    let count = count_one(ctx)?;
    ctx.reply(count.to_string())
}

async fn leaf(_: &mut Context, message: Message) -> Result<(), FunctionError> {
    std::hint::black_box(message.value());
    Ok(())
}

function! { LEAF, leaf }
function! { COUNTER, states: [COUNT], counter }
function! { PROBE, states: [COUNT], counter }
function! { SLEEPER, states: [COUNT], counter }
function! { REQUEST_COUNTER, states: [COUNT], request_counter }
