//! Delayed messages: a clock sets alarms for moments that follow from its order, an alarm notes how late
//! it came. What was noted is kept in the process, and told and forgotten when somebody asks.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dormouse_sdk::{Context, FunctionError, FunctionName, Message, function};
use serde::{Deserialize, Serialize};

use crate::functions::Read;
use crate::histogram::{Histogram, Latency};

/// Sets alarms.
pub(crate) const CLOCK: &str = "bench/clock";

/// Notes how late it is.
pub(crate) const ALARM: &str = "bench/alarm";

/// Alarms that a clock sets in one invocation.
const BATCH: u64 = 500;

static CLOCKS: FunctionName = FunctionName::new(CLOCK);
static ALARMS: FunctionName = FunctionName::new(ALARM);

/// What a clock does; it carries its order along.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Alarms {
    pub(crate) count: u64,
    pub(crate) set: u64,
    /// Milliseconds since 1970 at which the first one is due.
    pub(crate) from_ms: u64,
    /// The others follow evenly within so many milliseconds.
    pub(crate) over_ms: u64,
    /// Begins the tokens of every second one, which make a delayed message two rows.
    pub(crate) token: String,
}

dormouse_sdk::json_type!(Alarms, "bench/alarms");

/// When an alarm is due.
#[derive(Debug, Serialize, Deserialize)]
struct Due {
    at_ms: u64,
    /// As long as other messages here.
    filler: String,
}

dormouse_sdk::json_type!(Due, "bench/due");

/// What alarms have noted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Noted {
    pub(crate) count: u64,
    /// Those that came before their time, which must not be.
    pub(crate) early: u64,
    pub(crate) latency: Option<Latency>,
}

static LATE: Mutex<Option<(Histogram, u64)>> = Mutex::new(None);

async fn clock(ctx: &mut Context, mut order: Alarms) -> Result<(), FunctionError> {
    let last = order.count.min(order.set + BATCH);
    let id = ctx.id().to_owned();
    while order.set < last {
        let number = order.set;
        order.set += 1;
        let planned_ms = order.from_ms + number * order.over_ms / order.count;
        let now_ms = now().as_millis() as u64;
        let delay = Duration::from_millis(planned_ms.saturating_sub(now_ms));
        let due = Due { at_ms: planned_ms.max(now_ms), filler: "x".repeat(60) };
        if number.is_multiple_of(2) {
            ctx.send_after(delay, (&ALARMS, id.as_str()), due)?;
        } else {
            let token = format!("{}{number}", order.token);
            ctx.send_after_with_token(delay, token, (&ALARMS, id.as_str()), due)?;
        }
    }
    if order.set < order.count {
        ctx.send((&CLOCKS, id.as_str()), order)?;
    }
    Ok(())
}

async fn alarm(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    let mut late = LATE.lock().unwrap_or_else(PoisonError::into_inner);
    if message.is::<Read>() {
        let (histogram, early) = late.take().unwrap_or_else(|| (Histogram::new(), 0));
        let (count, latency) = (histogram.total(), histogram.latency());
        return ctx.reply(serde_json::to_string(&Noted { count, early, latency })?);
    }
    let due: Due = message.decode()?;
    let (histogram, early) = late.get_or_insert_with(|| (Histogram::new(), 0));
    match now().checked_sub(Duration::from_millis(due.at_ms)) {
        Some(lateness) => histogram.record(lateness),
        None => *early += 1,
    }
    Ok(())
}

function! { CLOCK, clock }
function! { ALARM, alarm }

/// Since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
