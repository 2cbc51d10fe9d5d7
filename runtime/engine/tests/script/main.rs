//! Hand-picked schedules of one shard, event by event, and what it asks for in return. The simulator
//! has the rest.

mod arriving;
mod blocked;
mod bounds;
mod delayed;
mod entries;
mod failing;
mod leaving;
mod owners;
mod questions;
mod rig;

use dormouse_engine::Limits;
use expect_test::Expect;
use rig::{Rig, Setup, answer};

/// What happened since the last check.
#[track_caller]
fn check(rig: &mut Rig, expected: &Expect) {
    expected.assert_eq(&rig.text());
}

/// A rig with some bounds.
fn bounded(limits: Limits) -> Rig {
    Rig::with(Setup { limits, ..Setup::default() })
}

/// `count/a` is awake with nothing to do.
fn awake() -> Rig {
    let mut rig = Rig::new();
    wake(&mut rig, "count/a");
    rig
}

fn wake(rig: &mut Rig, target: &str) {
    rig.submit(target, "first");
    rig.read();
    rig.done(answer());
    rig.sync();
    rig.text();
}
