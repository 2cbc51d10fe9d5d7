//! Delayed messages: every one that nobody cancelled or replaced in time was delivered once; none that
//! was cancelled before it could be due. (That none came early is checked at each call.)

use std::collections::BTreeMap;

use crate::check::Truth;
use crate::history::{DelayedStep, Done, Id, Origin};
use crate::world::World;

/// A delayed message that holds a token.
struct Holder {
    message: Id,
    /// Before this time nobody can have delivered it.
    due_ms: u64,
}

pub(super) fn check(world: &World, truth: &Truth) -> Result<(), String> {
    // Tokens belong to an id, whatever function uses them.
    let mut by_id = BTreeMap::<&str, Vec<(Done, Id)>>::new();
    for (address, runs) in &truth.runs {
        for run in runs {
            let done = world.history.run(*run).done.ok_or("a run without an answer")?;
            by_id.entry(&address.id).or_default().push((done, *run));
        }
    }
    for runs in by_id.values_mut() {
        runs.sort_by_key(|(done, _)| done.order);
        let mut holders = BTreeMap::<&str, Holder>::new();
        for (done, run) in runs.iter() {
            for step in &world.history.run(*run).delayed {
                take_step(world, truth, &mut holders, (*done, step))?;
            }
        }
        for holder in holders.values() {
            expect_delivered(world, truth, holder.message)?;
        }
    }
    Ok(())
}

fn take_step<'a>(
    world: &World,
    truth: &Truth,
    holders: &mut BTreeMap<&'a str, Holder>,
    (done, step): (Done, &'a DelayedStep),
) -> Result<(), String> {
    let (token, holder) = match step {
        DelayedStep::Send { message, token: None } => {
            return expect_delivered(world, truth, *message);
        }
        DelayedStep::Send { message, token: Some(token) } => {
            let Origin::Delayed { delay_ms, .. } = world.history.sent(*message).origin else {
                return Err(format!("message {message} was not delayed"));
            };
            (token, Some(Holder { message: *message, due_ms: done.now_ms + delay_ms }))
        }
        DelayedStep::Cancel { token } => (token, None),
    };
    let ended = match holder {
        Some(holder) => holders.insert(token, holder),
        None => holders.remove(token.as_str()),
    };
    let Some(ended) = ended else {
        return Ok(());
    };
    if done.latest_ms < ended.due_ms && truth.has(world, ended.message) {
        let message = ended.message;
        return Err(format!("delayed message {message} came though cancelled ({token})"));
    }
    Ok(())
}

fn expect_delivered(world: &World, truth: &Truth, message: Id) -> Result<(), String> {
    if truth.has(world, message) {
        return Ok(());
    }
    Err(format!("delayed message {message} was lost"))
}
