//! What actors are told. What a client orders is a function of the run's seed, the client, the actor
//! and a serial number, so the audit knows it from the number alone.

use dormouse_sdk::json_type;
use serde::{Deserialize, Serialize};

/// Actors, in-process and remote ones together.
pub const ACTORS: u32 = 64;
/// Every so many actors, one is remote.
const REMOTE_EVERY: u32 = 4;
/// What an actor owns at first.
pub const MONEY: i64 = 1_000;
/// Typename of actors that run in the application.
pub const LOCAL: &str = "chaos/actor";
/// Typename of those that the endpoint serves.
pub const REMOTE: &str = "remote/actor";
/// Typename of an order, by which clients send one.
pub const ORDER: &str = "chaos/Order";

/// From a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The sender.
    pub client: u32,
    /// From 1 on, for each client and actor.
    pub serial: u64,
    /// When the client made it, in milliseconds since 1970.
    pub made_ms: u64,
    /// What to do.
    pub task: Task,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Count this much.
    Add(u64),
    /// Send a message that is passed on until it was sent so many times.
    Walk { hops: u32, way: u64 },
    /// Give money away, if there is enough.
    Pay { to: u32, amount: i64 },
    /// Be woken so long after the order was made, or later.
    Arm { delay_ms: u64 },
    /// The waking that was armed by this serial is not wanted any more.
    Cancel { armed: u64 },
    /// Hand so many numbered records to the egress.
    Tell { records: u32 },
    /// Answer with everything that the actor knows; changes nothing.
    Report,
}

/// From an actor to another; each pair has a sequence of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// From 1 on.
    pub number: u64,
    /// What it brings.
    pub load: Load,
}

/// What one actor sends another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    /// To be passed on so many times more.
    Walk { hops: u32, way: u64 },
    /// Money.
    Money(i64),
}

/// From an actor to itself, later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// Whose order it was.
    pub client: u32,
    /// Which order.
    pub serial: u64,
    /// Earlier than this, in milliseconds since 1970, is too early.
    pub due_ms: u64,
}

json_type!(Order, ORDER);
json_type!(Numbered, "chaos/Numbered");
json_type!(Wake, "chaos/Wake");

/// Typename and id of an actor.
#[must_use]
pub fn address(actor: u32) -> (&'static str, String) {
    let is_remote = actor % REMOTE_EVERY == REMOTE_EVERY - 1;
    (if is_remote { REMOTE } else { LOCAL }, actor.to_string())
}

/// The actor to which a walk goes next: a neighbour, so that pairs meet often.
#[must_use]
pub fn neighbour(actor: u32, way: u64, hops: u32) -> u32 {
    (actor + 1 + (way >> (3 * (hops % 20)) & 7) as u32) % ACTORS
}

/// What a client orders an actor to do. Serials come in eights: the first arms a waking, and the second
/// takes every other of these back.
#[must_use]
pub fn task(seed: u64, client: u32, actor: u32, serial: u64) -> Task {
    let place = u64::from(client) << 32 | u64::from(actor);
    let mut rng = fastrand::Rng::with_seed(seed ^ place.rotate_left(40) ^ serial);
    match (serial % 8, rng.u32(..8)) {
        (0, ..2) => Task::Arm { delay_ms: rng.u64(3_000..10_000) },
        (0, _) => Task::Arm { delay_ms: rng.u64(100..3_000) },
        (1, ..4) if serial > 1 => Task::Cancel { armed: serial - 1 },
        (_, 0..2) => Task::Add(rng.u64(1..1_000)),
        (_, 2..4) => Task::Walk { hops: rng.u32(1..12), way: rng.u64(..) },
        (_, 4..6) => Task::Pay { to: neighbour(actor, rng.u64(..), 0), amount: rng.i64(1..200) },
        _ => Task::Tell { records: rng.u32(1..4) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancellation_names_what_was_armed_before() {
        let mut cancelled = 0;
        for serial in 1..800 {
            if let Task::Cancel { armed } = task(7, 1, 2, serial) {
                assert!(matches!(task(7, 1, 2, armed), Task::Arm { .. }), "{serial}");
                cancelled += 1;
            }
        }
        assert!((20..80).contains(&cancelled), "{cancelled}");
        assert_eq!(task(7, 1, 2, 3), task(7, 1, 2, 3));
    }

    #[test]
    fn neighbours_are_actors_and_some_are_remote() {
        for actor in 0..ACTORS {
            assert!((0..16).all(|hops| neighbour(actor, u64::MAX, hops) < ACTORS));
            assert!((0..16).all(|hops| neighbour(actor, 0, hops) != actor));
        }
        let remote = (0..ACTORS).filter(|actor| address(*actor).0 == REMOTE).count();
        assert_eq!(remote as u32, ACTORS / REMOTE_EVERY);
    }
}
