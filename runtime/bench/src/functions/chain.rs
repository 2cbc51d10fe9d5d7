//! Chains: a function that counts and sends to the next address, ten times, and replies to whoever
//! asked the first. All counts of a chain are the same when nothing was lost or doubled on the way, and
//! each hop sees to that.

use compact_str::format_compact;
use dormouse_sdk::protocol::{Address, FunctionType};
use dormouse_sdk::{Context, FunctionError, FunctionName, Message, State, function};
use serde::{Deserialize, Serialize};

pub(crate) const CHAIN: &str = "bench/chain";

/// Addresses that a chain's message visits.
pub(crate) const HOPS: u8 = 10;

static NEXT: FunctionName = FunctionName::new(CHAIN);

const COUNT: State<i64> = State::new("count");

/// From the second address on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Hop {
    /// Of the chain; the first address has it alone.
    id: String,
    place: u8,
    /// Of the addresses so far.
    count: i64,
    /// Namespace, name and id of whoever waits for the reply.
    asker: (String, String, String),
}

dormouse_sdk::json_type!(Hop, "bench/hop");

async fn chain(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    let count = ctx.get(&COUNT)?.unwrap_or(0) + 1;
    ctx.set(&COUNT, count)?;
    let mut hop = if message.is::<Hop>() { message.decode::<Hop>()? } else { first(ctx, count)? };
    if hop.count != count {
        let problem = format!("a count of {count} behind one of {}", hop.count);
        return Err(FunctionError::new(problem));
    }
    hop.place += 1;
    if hop.place == HOPS {
        let (namespace, name, id) = hop.asker;
        return ctx.send(Address::new(FunctionType::new(&namespace, &name), id), count.to_string());
    }
    let id = format_compact!("{}-{}", hop.id, hop.place);
    ctx.send((&NEXT, id), hop)
}

fn first(ctx: &Context, count: i64) -> Result<Hop, FunctionError> {
    let asker = ctx.caller().ok_or_else(|| FunctionError::new("nobody waits for the reply"))?;
    let function = &asker.function_type;
    let asker = (function.namespace().to_owned(), function.name().to_owned(), asker.id.to_string());
    Ok(Hop { id: ctx.id().to_owned(), place: 0, count, asker })
}

function! { CHAIN, states: [COUNT], chain }
