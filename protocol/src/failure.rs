//! What becomes of a message whose function keeps failing: how long it is tried again, and what then.
//! Set per function in a manifest, applied by the engine to one address at a time.

/// The failure policy of a function type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailurePolicy {
    /// Calls with the message that may fail; at least 1. Without it only the time counts.
    pub attempts: Option<u32>,
    /// Milliseconds from the first call on; at least 1. Without it only the calls count; with neither
    /// the message is tried for ever.
    pub total_ms: Option<u64>,
    /// What becomes of the message after that.
    pub then: Then,
}

/// What becomes of a message that was tried for long enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// It stays, its address waits, and it is tried again now and then.
    #[default]
    Block,
    /// It becomes a dead letter, which can be looked at and replayed; the address goes on.
    DeadLetter,
    /// It is gone; the address goes on.
    Drop,
}

impl FailurePolicy {
    /// Whether a message was tried for long enough: `failures` calls with it have failed, the first of
    /// which began `elapsed_ms` ago.
    #[must_use]
    pub fn is_exhausted(&self, failures: u32, elapsed_ms: u64) -> bool {
        self.attempts.is_some_and(|attempts| failures >= attempts)
            || self.total_ms.is_some_and(|total_ms| elapsed_ms >= total_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_bound_is_reached_first_ends_the_retries() {
        let policy =
            FailurePolicy { attempts: Some(3), total_ms: Some(1_000), ..FailurePolicy::default() };
        assert!(!policy.is_exhausted(2, 999));
        assert!(policy.is_exhausted(3, 0));
        assert!(policy.is_exhausted(1, 1_000));
        assert!(!FailurePolicy::default().is_exhausted(u32::MAX, u64::MAX));
    }
}
