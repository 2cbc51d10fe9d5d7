//! Rings: ten functions that pass a token on for ever. One kind has ten function types and keeps a
//! token's id, so that it never leaves its shard; the other has ten ids of one type, each on another
//! shard than the one before it, so that every hop crosses. When rings are halted, all tokens go to
//! one collector, which counts them: none may be lost or doubled.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use compact_str::{CompactString, format_compact};
use dormouse_sdk::{Context, FunctionError, FunctionName, Message, function};

use crate::functions::generator::shard_of;
use crate::rows::SHARDS;
use crate::rows::ring::{HOPS, TOKENS};

pub(crate) const FIRST: &str = "bench/ring-0";
pub(crate) const ACROSS: &str = "bench/ring-across";
pub(crate) const HALT: &str = "bench/ring-halt";

/// Where halted tokens end, a counter of its own.
pub(crate) const COLLECTOR: &str = super::COUNTER;
pub(crate) const COLLECTOR_ID: &str = "halted-tokens";

static TO_COLLECTOR: FunctionName = FunctionName::new(COLLECTOR);
static TO_ACROSS: FunctionName = FunctionName::new(ACROSS);
static IS_HALTED: AtomicBool = AtomicBool::new(false);

static RING: [FunctionName; HOPS] = [
    FunctionName::new("bench/ring-0"),
    FunctionName::new("bench/ring-1"),
    FunctionName::new("bench/ring-2"),
    FunctionName::new("bench/ring-3"),
    FunctionName::new("bench/ring-4"),
    FunctionName::new("bench/ring-5"),
    FunctionName::new("bench/ring-6"),
    FunctionName::new("bench/ring-7"),
    FunctionName::new("bench/ring-8"),
    FunctionName::new("bench/ring-9"),
];

async fn hop(ctx: &mut Context, token: Message) -> Result<(), FunctionError> {
    if IS_HALTED.load(Ordering::Relaxed) {
        return ctx.send((&TO_COLLECTOR, COLLECTOR_ID), token);
    }
    let name = ctx.address().function_type.name();
    let here = name.bytes().last().unwrap_or(b'0') - b'0';
    let next = &RING[(usize::from(here) + 1) % HOPS];
    let id = ctx.address().id.clone();
    ctx.send((next, id), token)
}

async fn hop_across(ctx: &mut Context, token: Message) -> Result<(), FunctionError> {
    if IS_HALTED.load(Ordering::Relaxed) {
        return ctx.send((&TO_COLLECTOR, COLLECTOR_ID), token);
    }
    let place = ctx.id().split('-').next().and_then(|place| place.parse::<usize>().ok());
    let place = place.ok_or_else(|| FunctionError::new("no place in a ring"))?;
    let (ring, position) = (place / HOPS, place % HOPS);
    let next = id_across(ring, (position + 1) % HOPS);
    ctx.send((&TO_ACROSS, next.clone()), token)
}

async fn halt(ctx: &mut Context, _: Message) -> Result<(), FunctionError> {
    IS_HALTED.store(true, Ordering::Relaxed);
    ctx.reply("halted")
}

function! { "bench/ring-0", hop }
function! { "bench/ring-1", hop }
function! { "bench/ring-2", hop }
function! { "bench/ring-3", hop }
function! { "bench/ring-4", hop }
function! { "bench/ring-5", hop }
function! { "bench/ring-6", hop }
function! { "bench/ring-7", hop }
function! { "bench/ring-8", hop }
function! { "bench/ring-9", hop }
function! { ACROSS, hop_across }
function! { HALT, halt }

/// The id of a place in a ring: its number, and a suffix that puts it on the right shard.
pub(crate) fn id_across(ring: usize, position: usize) -> &'static CompactString {
    static IDS: OnceLock<Vec<CompactString>> = OnceLock::new();
    let ids = IDS.get_or_init(|| (0..TOKENS * HOPS).map(placed_id).collect());
    &ids[ring * HOPS + position]
}

fn placed_id(place: usize) -> CompactString {
    let mut suffix = 0;
    loop {
        let id = format_compact!("{place}-{suffix}");
        if shard_of(&id) == place % SHARDS {
            return id;
        }
        suffix += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_live_on_different_shards() {
        for ring in [0, TOKENS - 1] {
            for position in 0..HOPS {
                let next = id_across(ring, (position + 1) % HOPS);
                assert_ne!(shard_of(id_across(ring, position)), shard_of(next));
            }
        }
    }

    #[test]
    fn ring_functions_are_named_by_their_place() {
        let names: Vec<&str> = RING.iter().map(FunctionName::as_str).collect();
        assert_eq!(names[0], FIRST);
        for (place, name) in names.iter().enumerate() {
            assert_eq!(*name, format!("bench/ring-{place}"));
        }
    }
}
