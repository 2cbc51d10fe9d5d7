//! A histogram that costs three plain loads and stores to record: one bucket per power of two.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::metrics::Counter;

/// Buckets: bucket `i` holds values of at most `2^i` that the one below does not; the last one holds
/// everything else (2^39 nanoseconds are nine minutes).
pub const BUCKETS: usize = 41;

/// Counts of values by their power of two. One writer.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: Counter::default() }
    }
}

impl Histogram {
    #[inline]
    pub fn record(&self, value: u64) {
        let bucket = &self.buckets[bucket_of(value)];
        bucket.store(bucket.load(Relaxed) + 1, Relaxed);
        self.sum.add(value);
    }

    /// Values per bucket.
    #[must_use]
    pub fn counts(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|i| self.buckets[i].load(Relaxed))
    }

    /// Sum of all values.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }
}

/// The smallest `i` with `value <= 2^i`, or the last bucket.
#[inline]
fn bucket_of(value: u64) -> usize {
    let bits = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
    bits.min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_smallest_power_of_two_that_holds_it() {
        let placed: Vec<usize> =
            [0, 1, 2, 3, 4, 5, 1024, 1025, 1 << 39, u64::MAX].into_iter().map(bucket_of).collect();
        assert_eq!(placed, [0, 0, 1, 2, 2, 3, 10, 11, 39, 40]);
    }

    #[test]
    fn recording_counts_and_sums() {
        let histogram = Histogram::default();
        for value in [1, 3, 3, 1 << 50] {
            histogram.record(value);
        }
        let counts = histogram.counts();
        assert_eq!((counts[0], counts[2], counts[40]), (1, 2, 1));
        assert_eq!(counts.iter().sum::<u64>(), 4);
        assert_eq!(histogram.sum(), 7 + (1 << 50));
    }
}
