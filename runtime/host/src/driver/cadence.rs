//! When a shard seals its open commit: at once when it has caught up, later while there is work, since what
//! is finished before the seal need not be written as pending, and a value written often is stored once.

use std::time::{Duration, Instant};

/// Longest that a commit which nobody waits for collects effects while there is work, or calls are under way
/// elsewhere.
const SEAL_AFTER: Duration = Duration::from_millis(5);

/// The same for a commit that somebody waits for (another shard, an ingress, an egress) while there is work.
const RELEASE_AFTER: Duration = Duration::from_millis(2);

/// The same for a commit with messages for a shard that has nothing else to do. Less would make both shards
/// work more on commits than on what is in them.
const AWAITED_AFTER: Duration = Duration::from_micros(500);

/// Bytes from which it is sealed all the same.
pub(crate) const SEAL_BYTES: usize = 1 << 20;

/// The open commit, and what there is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    /// Invocations or frames wait.
    pub(crate) has_work: bool,
    /// Calls are under way elsewhere.
    pub(crate) has_calls: bool,
    /// The shard itself waits to read what the commit holds.
    pub(crate) has_readers: bool,
    /// Somebody waits for what the commit holds.
    pub(crate) has_releases: bool,
    /// What it has collected.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Cadence {
    sealed_at: Instant,
}

impl Cadence {
    pub(crate) fn new(now: Instant) -> Self {
        Self { sealed_at: now }
    }

    pub(crate) fn sealed(&mut self, now: Instant) {
        self.sealed_at = now;
    }

    /// Whether the commit is to be sealed when a turn ends. While calls are under way elsewhere one that
    /// nobody waits for may grow, too: each call that ends would make a commit of its own.
    pub(crate) fn is_due(&self, now: Instant, open: Open) -> bool {
        let after = if open.has_releases { RELEASE_AFTER } else { SEAL_AFTER };
        let is_wanted = open.has_releases || open.has_readers;
        let is_growing = open.has_work || (open.has_calls && !is_wanted);
        !is_growing || self.age(now) >= after || open.bytes >= SEAL_BYTES
    }

    /// Whether it is to be sealed within a turn, at a moment in which nothing would be written as pending.
    pub(crate) fn is_due_early(
        &self,
        now: Instant,
        open: Open,
        is_awaited: impl FnOnce() -> bool,
    ) -> bool {
        let may_be_awaited = open.has_releases && self.age(now) >= AWAITED_AFTER;
        self.is_due(now, open) || (may_be_awaited && is_awaited())
    }

    /// How long the commit may stay open, at most.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        SEAL_AFTER.saturating_sub(self.age(now))
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.sealed_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Open = Open {
        has_work: false,
        has_calls: false,
        has_readers: false,
        has_releases: false,
        bytes: 0,
    };
    const BUSY: Open = Open { has_work: true, ..IDLE };
    const WAITED_FOR: Open = Open { has_releases: true, ..BUSY };

    const MICRO: Duration = Duration::from_micros(1);

    /// How old the commit is when it is sealed: not a microsecond before.
    fn age_at_seal(is_due: impl Fn(&Cadence, Instant) -> bool) -> Duration {
        let mut cadence = Cadence::new(Instant::now());
        let sealed_at = Instant::now() + SEAL_AFTER * 2;
        cadence.sealed(sealed_at);
        let mut age = Duration::ZERO;
        while !is_due(&cadence, sealed_at + age) {
            age += MICRO;
        }
        age
    }

    #[test]
    fn a_shard_that_has_caught_up_seals_at_once() {
        assert_eq!(age_at_seal(|cadence, now| cadence.is_due(now, IDLE)), Duration::ZERO);
    }

    #[test]
    fn a_commit_stays_open_while_there_is_work() {
        assert_eq!(age_at_seal(|cadence, now| cadence.is_due(now, BUSY)), SEAL_AFTER);
        assert_eq!(age_at_seal(|cadence, now| cadence.is_due(now, WAITED_FOR)), RELEASE_AFTER);
    }

    #[test]
    fn calls_elsewhere_keep_open_what_nobody_waits_for() {
        let calling = Open { has_calls: true, ..IDLE };
        let is_due = |open| move |cadence: &Cadence, now| cadence.is_due(now, open);
        assert_eq!(age_at_seal(is_due(calling)), SEAL_AFTER);
        for open in [Open { has_readers: true, ..calling }, Open { has_releases: true, ..calling }]
        {
            assert_eq!(age_at_seal(is_due(open)), Duration::ZERO);
        }
        assert_eq!(age_at_seal(|cadence, now| cadence.left(now).is_zero()), SEAL_AFTER);
    }

    #[test]
    fn a_large_commit_is_sealed_all_the_same() {
        let of =
            |bytes| move |cadence: &Cadence, now| cadence.is_due(now, Open { bytes, ..WAITED_FOR });
        assert_eq!(age_at_seal(of(SEAL_BYTES - 1)), RELEASE_AFTER);
        assert_eq!(age_at_seal(of(SEAL_BYTES)), Duration::ZERO);
    }

    #[test]
    fn a_shard_that_rests_gets_its_messages_soon() {
        let early = |open, is_awaited| {
            move |cadence: &Cadence, now| cadence.is_due_early(now, open, || is_awaited)
        };
        assert_eq!(age_at_seal(early(WAITED_FOR, true)), AWAITED_AFTER);
        assert_eq!(age_at_seal(early(WAITED_FOR, false)), RELEASE_AFTER);
        assert_eq!(age_at_seal(early(BUSY, true)), SEAL_AFTER);
    }
}
