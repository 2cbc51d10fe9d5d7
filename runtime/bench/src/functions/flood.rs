//! A backlog for a function that is served elsewhere: messages to its ids in turn, as fast as they are
//! taken, whether or not the function keeps up.

use compact_str::format_compact;
use dormouse_sdk::{Context, FunctionError, FunctionName, function};
use serde::{Deserialize, Serialize};

pub(crate) const FLOOD: &str = "bench/flood";

/// Counts each message, and sends none on when it brings a zero.
pub(crate) const RELAY: &str = "suite/relay";

/// Messages that are sent in one invocation.
const BATCH: u64 = 512;

static TO_RELAY: FunctionName = FunctionName::new(RELAY);
static ON: FunctionName = FunctionName::new(FLOOD);

/// What is left to be sent; it goes along from invocation to invocation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Flood {
    pub(crate) ids: u64,
    pub(crate) messages: u64,
    pub(crate) sent: u64,
}

dormouse_sdk::json_type!(Flood, "bench/flood-order");

async fn flood(ctx: &mut Context, mut order: Flood) -> Result<(), FunctionError> {
    let last = order.messages.min(order.sent + BATCH);
    for number in order.sent..last {
        ctx.send((&TO_RELAY, format_compact!("{}", number % order.ids)), 0_i32)?;
    }
    order.sent = last;
    if last < order.messages {
        let id = ctx.id().to_owned();
        ctx.send((&ON, id), order)?;
    }
    Ok(())
}

function! { FLOOD, flood }
