//! States that expire: what a run was given is what the runs before it left there, or nothing; nothing
//! only when it can have expired, something only when it cannot have.

use crate::check::Truth;
use crate::history::{Id, Run};
use crate::world::World;

/// What an expiring state holds.
#[derive(Clone, Copy)]
struct Value {
    writer: Id,
    /// When its time began at the earliest, and at the latest.
    earliest_ms: u64,
    latest_ms: u64,
}

pub(super) fn check(world: &World, truth: &Truth) -> Result<(), String> {
    for runs in truth.runs.values() {
        let mut values = [None, None];
        for id in runs {
            let run = world.history.run(*id);
            for (place, value) in values.iter_mut().enumerate() {
                *value = follow(world, run, place, *value)
                    .map_err(|error| format!("{} state {place}, run {id}: {error}", run.address))?;
            }
        }
    }
    Ok(())
}

fn follow(
    world: &World,
    run: &Run,
    place: usize,
    held: Option<Value>,
) -> Result<Option<Value>, String> {
    let ttl_ms = world.scenario.ttl_ms;
    let is_renewed = place == 1;
    let mut next = match (run.expiring[place], held) {
        (None, None) => None,
        (None, Some(held)) => {
            if run.latest_ms < held.earliest_ms + ttl_ms {
                return Err(format!("what run {} wrote is gone early", held.writer));
            }
            None
        }
        (Some(given), None) => return Err(format!("what run {given} wrote is back")),
        (Some(given), Some(held)) => {
            if given != held.writer {
                return Err(format!("given is {given}, the last to write was {}", held.writer));
            }
            // Calls that came to nothing renew a state too: only the other one's end is known.
            if !is_renewed && run.now_ms >= held.latest_ms + ttl_ms {
                return Err(format!("what run {given} wrote has expired"));
            }
            let earliest_ms = if is_renewed { run.now_ms } else { held.earliest_ms };
            Some(Value { earliest_ms, ..held })
        }
    };
    if let (Some(written), Some(done)) = (run.writes[place], run.done) {
        let (earliest_ms, latest_ms) = (done.now_ms, done.latest_ms);
        next = written.map(|writer| Value { writer, earliest_ms, latest_ms });
    }
    Ok(next)
}
