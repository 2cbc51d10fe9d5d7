//! Allocations of this process, counted in `dormouse-bench-counted` alone, and a function that tells
//! the counts to whoever measures.

use std::sync::atomic::{AtomicU64, Ordering};

use dormouse_sdk::{Context, FunctionError, Message, function};

/// Replies with the number of allocations so far, and their bytes.
pub(crate) const ALLOCATIONS: &str = "bench/allocations";

static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Counts one allocation, or one change of its size, of so many bytes.
pub fn note(bytes: usize) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

async fn tell(ctx: &mut Context, _: Message) -> Result<(), FunctionError> {
    let (count, bytes) = (COUNT.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
    ctx.reply(format!("{count} {bytes}"))
}

function! { ALLOCATIONS, tell }
