//! The `failure` of a component that serves functions: how long a message whose function fails is tried
//! again, and what becomes of it then.

use std::time::Duration;

use dormouse_protocol::{FailurePolicy, Then};

use super::values::{duration, integer, mismatch, text};
use super::{Diagnostics, Fields, Node};

const THEN_EXPECTED: &str = "`dead-letter`, `block` or `drop`";

/// Reads a `failure`. Without `retry` a message is tried for `call`, the time that one call of a
/// function may take. `None`, with errors reported, when it is wrong.
pub fn failure(
    node: &Node,
    call: Duration,
    diagnostics: &mut Diagnostics,
) -> Option<FailurePolicy> {
    // Not a field of StateFun's: nobody has a manifest in use with strays in it.
    let mut fields = Fields::of(node, "failure", true, diagnostics)?;
    let then = match fields.optional("then") {
        None => Some(Then::Block),
        Some(node) => read_then(node, diagnostics),
    };
    let retry = match fields.optional("retry") {
        Some(node) => read_retry(node, diagnostics),
        None => Some((None, Some(millis(call)))),
    };
    fields.finish(diagnostics);
    let ((attempts, total_ms), then) = (retry?, then?);
    Some(FailurePolicy { attempts, total_ms, then })
}

fn read_then(node: &Node, diagnostics: &mut Diagnostics) -> Option<Then> {
    match text(node, "failure.then", diagnostics)? {
        "dead-letter" => Some(Then::DeadLetter),
        "block" => Some(Then::Block),
        "drop" => Some(Then::Drop),
        _ => {
            mismatch(node, "failure.then", THEN_EXPECTED, diagnostics);
            None
        }
    }
}

type Retry = (Option<u32>, Option<u64>);

fn read_retry(node: &Node, diagnostics: &mut Diagnostics) -> Option<Retry> {
    let mut fields = Fields::of(node, "failure.retry", true, diagnostics)?;
    let attempts = fields.optional("attempts");
    let total = fields.optional("total");
    fields.finish(diagnostics);
    if attempts.is_none() && total.is_none() {
        mismatch(node, "failure.retry", "`attempts`, `total` or both", diagnostics);
        return None;
    }
    let attempts = attempts.map(|node| {
        let range = 1..=i64::from(u32::MAX);
        integer(node, "failure.retry.attempts", range, diagnostics).map(|attempts| attempts as u32)
    });
    let total = total.map(|node| match duration(node, "failure.retry.total", diagnostics)? {
        short if millis(short) == 0 => {
            mismatch(node, "failure.retry.total", "a duration of at least 1ms", diagnostics);
            None
        }
        total => Some(millis(total)),
    });
    if attempts == Some(None) || total == Some(None) {
        return None;
    }
    Some((attempts.flatten(), total.flatten()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
