//! The only place of the runtime that reads time. Milliseconds since 1970 that do not jump: small
//! corrections of the wall clock are followed, a step of more than ten seconds is not believed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Furthest that the wall clock may be from the monotonic one and still be followed.
const STEP_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_ms: u64,
    warned: bool,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), started_ms: wall_ms(), warned: false }
    }

    pub(crate) fn now_ms(&mut self) -> u64 {
        let steady_ms = self.started_ms + self.started.elapsed().as_millis() as u64;
        let wall_ms = wall_ms();
        if wall_ms.abs_diff(steady_ms) as u128 <= STEP_MAX.as_millis() {
            return wall_ms;
        }
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                wall_ms,
                steady_ms,
                "the system clock has jumped; delayed messages and expiry keep to the steady clock \
                 until restart"
            );
        }
        steady_ms
    }
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
