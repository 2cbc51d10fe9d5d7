//! Memory for messages in the making, such as the bodies of requests that are being received: one share
//! for the process, whatever the number of its shards. Held from before the first byte is read until
//! the message is accepted, and counted by the backlog from then on.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that one permit stands for.
const UNIT: usize = 1_024;

/// Messages up to this length have a part to themselves: a long one that comes slowly holds up none of
/// them.
const SHORT_BYTES_MAX: usize = 64 * 1_024;

/// One in so many bytes belongs to that part.
const SHORT_SHARE: usize = 4;

#[derive(Debug)]
pub(crate) struct Room {
    short: Part,
    long: Part,
}

#[derive(Debug)]
struct Part {
    free: Arc<Semaphore>,
    units: usize,
}

impl Room {
    /// `bytes` for all that is in the making at a time.
    pub(crate) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT;
        let units = units.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        let short = units / SHORT_SHARE;
        Self { short: Part::new(short), long: Part::new(units - short) }
    }

    /// Bytes of the longest message that fits.
    pub(crate) fn longest(&self) -> usize {
        (self.long.units * UNIT).max(SHORT_BYTES_MAX)
    }

    /// Waits until so many bytes are free; for more than [`Room::longest`], until all of them are.
    pub(crate) async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        let (part, units) = self.part(bytes);
        let permit = Arc::clone(&part.free).acquire_many_owned(units).await;
        permit.expect("the semaphore is never closed")
    }

    /// The same for what is free already.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let (part, units) = self.part(bytes);
        Arc::clone(&part.free).try_acquire_many_owned(units).ok()
    }

    fn part(&self, bytes: usize) -> (&Part, u32) {
        let part = if bytes <= SHORT_BYTES_MAX { &self.short } else { &self.long };
        (part, bytes.div_ceil(UNIT).clamp(1, part.units) as u32)
    }
}

impl Part {
    fn new(units: usize) -> Self {
        let units = units.max(1);
        Self { free: Arc::new(Semaphore::new(units)), units }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn no_more_than_the_share_is_held_at_a_time() {
        let room = Room::new(8 << 20);
        let held: Vec<_> = std::iter::from_fn(|| room.try_take(MIB)).collect();
        assert_eq!(held.len(), 6);
        let short: Vec<_> = std::iter::from_fn(|| room.try_take(SHORT_BYTES_MAX)).collect();
        assert_eq!(short.len(), 2 * MIB / SHORT_BYTES_MAX);
        drop(held);
        assert!(room.try_take(MIB).is_some());
    }

    #[test]
    fn the_longest_is_taken_alone() {
        let room = Room::new(8 << 20);
        assert_eq!((room.longest(), Room::new(1).longest()), (6 * MIB, SHORT_BYTES_MAX));
        let small = room.try_take(MIB);
        assert!(room.try_take(room.longest()).is_none());
        drop(small);
        let alone = room.try_take(room.longest());
        assert!(alone.is_some() && room.try_take(MIB).is_none());
        // Short ones go on.
        assert!(room.try_take(100).is_some());
    }
}
