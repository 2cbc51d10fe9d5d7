//! Latencies: counts in buckets that are at most 1/64 wider than the one before, so that a percentile
//! is exact to 1.6 %. Used by every row with latencies; a value is never lost, only rounded up.

use std::time::Duration;

/// Buckets of one power of two, as a power of two.
const STEPS_BITS: u32 = 6;
const STEPS: usize = 1 << STEPS_BITS;

/// Durations by their size.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

/// What rows show of a histogram, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; STEPS * (65 - STEPS_BITS as usize)], total: 0 }
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[index(nanos)] += 1;
        self.total += 1;
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The smallest bucket below which `share` of all durations lie, in nanoseconds.
    pub(crate) fn percentile(&self, share: f64) -> u64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return highest(index);
            }
        }
        0
    }

    /// `None` when nothing was recorded.
    pub(crate) fn latency(&self) -> Option<Latency> {
        let p = |share| self.percentile(share);
        (self.total > 0).then(|| Latency { p50: p(0.5), p99: p(0.99), p999: p(0.999) })
    }
}

/// The first `STEPS` buckets hold one value each; after them each power of two has `STEPS` buckets.
fn index(nanos: u64) -> usize {
    if nanos < STEPS as u64 {
        return nanos as usize;
    }
    let power = nanos.ilog2() - STEPS_BITS;
    let step = (nanos >> power) as usize - STEPS;
    STEPS * (power as usize + 1) + step
}

/// The highest value of a bucket.
fn highest(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let power = index / STEPS - 1;
    let first = ((STEPS + index % STEPS) as u64) << power;
    first + ((1 << power) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for nanos in (0..1_000).chain([4_095, 4_096, 123_456_789, u64::MAX / 2, u64::MAX]) {
            let index = index(nanos);
            assert!(nanos <= highest(index), "{nanos}");
            assert!(index == 0 || nanos > highest(index - 1), "{nanos}");
            assert!(highest(index) - nanos <= nanos / STEPS as u64, "{nanos}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = Histogram::new();
        for micros in 1..=1_000 {
            histogram.record(Duration::from_micros(micros));
        }
        let near = |found: u64, micros: u64| {
            let expected = micros * 1_000;
            assert!(found >= expected && found - expected <= expected / 60, "{found} {expected}");
        };
        near(histogram.percentile(0.5), 500);
        near(histogram.percentile(0.99), 990);
        near(histogram.percentile(0.999), 999);
        near(histogram.percentile(1.0), 1_000);
        assert_eq!(Histogram::new().latency(), None);
    }
}
