//! How `memory` is shared out: the one place that says how much each buffer may hold, so that all of them
//! together, full at once, leave room for what nobody counts. Used by the table of settings for defaults,
//! and by the runtime for what cannot be set.

const MIB: u64 = 1 << 20;

/// Less than this is not enough to run in.
pub const MEMORY_MIN: u64 = 96 * MIB;

/// What is not shared out: the binary, stacks, connections, the base's indexes and filters, and memory that
/// was given back and not yet taken from the process.
const FIXED: u64 = 32 * MIB;

/// Parts that the rest is divided into. Those that are in no share are for what is copied while it is on
/// its way, and for gaps between what is in use.
const PARTS: u64 = 32;

/// Bytes for each buffer of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Changes that are not in the base yet; there may be twice as many.
    pub dirty: u64,
    /// Blocks of the base.
    pub cache: u64,
    /// Compaction of the base.
    pub compaction: u64,
    /// Log that is not on the disk yet.
    pub unsynced: u64,
    /// Messages accepted and not finished.
    pub backlog: u64,
    /// Messages in the making.
    pub bodies: u64,
    /// Awake instances of all shards.
    pub awake: u64,
    /// Delayed messages that are due next, of all partitions.
    pub timers: u64,
    /// States that are being read, of all shards.
    pub reads: u64,
}

impl Shares {
    /// The shares of a process with so much memory, at least [`MEMORY_MIN`].
    #[must_use]
    pub const fn of(memory: u64) -> Self {
        let part = memory.saturating_sub(FIXED) / PARTS;
        Self {
            dirty: 3 * part,
            cache: 2 * part,
            compaction: 2 * part,
            unsynced: part,
            backlog: 4 * part,
            bodies: 3 * part,
            awake: 5 * part,
            timers: part,
            reads: part,
        }
    }

    /// All of them, and what is not shared out.
    #[must_use]
    pub fn sum(&self) -> u128 {
        let Self { dirty, cache, compaction, unsynced, backlog, bodies, awake, timers, reads } =
            *self;
        let all = [2 * u128::from(dirty), u128::from(FIXED)];
        let once = [cache, compaction, unsynced, backlog, bodies, awake, timers, reads];
        let once = once.map(u128::from);
        all.into_iter().chain(once).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_leave_seven_parts() {
        for memory in [MEMORY_MIN, 128 * MIB, 512 * MIB, 64 << 30] {
            let spare = u128::from(memory) - Shares::of(memory).sum();
            let parts = 7 * u128::from((memory - FIXED) / PARTS);
            assert!((parts..=parts + 64).contains(&spare), "{memory}: {spare} of {parts}");
        }
    }
}
