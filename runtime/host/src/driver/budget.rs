//! How many invocations a turn may start. Bounded by time, so that the thread's other tasks (requests,
//! remote calls) go on soon; by number too, so that a commit stays small.

use std::time::{Duration, Instant};

/// Longest that a turn starts invocations.
const TURN_TIME_MAX: Duration = Duration::from_millis(1);

/// Most invocations of a turn.
const TURN_INVOCATIONS_MAX: usize = 4_096;

/// Invocations between two looks at the clock.
const CLOCK_EVERY: usize = 32;

#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
    until: Instant,
}

impl Budget {
    /// That of a turn which begins now.
    pub(crate) fn of_turn() -> Self {
        Self { left: TURN_INVOCATIONS_MAX, until: Instant::now() + TURN_TIME_MAX }
    }

    /// None: nothing may be started.
    pub(crate) fn none() -> Self {
        Self { left: 0, until: Instant::now() }
    }

    /// Whether one more may be started, which is counted.
    pub(crate) fn spend(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        if self.left.is_multiple_of(CLOCK_EVERY) && Instant::now() >= self.until {
            self.left = 0;
        }
        true
    }
}
