//! Which numbers of a sequence have come: kept by the actors for every client, and held by the audit
//! against what the clients know. Small as long as little is missing.

use serde::{Deserialize, Serialize};

/// Numbers that have come, as ranges, and what was unusual about them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracker {
    /// First and last of each range, both included; sorted, never touching.
    ranges: Vec<(u64, u64)>,
    /// Numbers that came after a higher one.
    pub late: Vec<u64>,
    /// Numbers that came again.
    pub doubled: Vec<u64>,
}

impl Tracker {
    /// A number has come.
    pub fn see(&mut self, number: u64) {
        if self.has(number) {
            self.doubled.push(number);
            return;
        }
        if self.last() > number {
            self.late.push(number);
        }
        let at = self.ranges.partition_point(|range| range.1 < number);
        let touches_left = at > 0 && self.ranges[at - 1].1 + 1 == number;
        let touches_right = self.ranges.get(at).is_some_and(|range| range.0 == number + 1);
        match (touches_left, touches_right) {
            (true, true) => self.ranges[at - 1].1 = self.ranges.remove(at).1,
            (true, false) => self.ranges[at - 1].1 = number,
            (false, true) => self.ranges[at].0 = number,
            (false, false) => self.ranges.insert(at, (number, number)),
        }
    }

    /// Whether it has come.
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.1 < number);
        self.ranges.get(at).is_some_and(|range| range.0 <= number)
    }

    /// The highest number so far; 0 when none has come.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_late_or_doubled_shows() {
        let mut tracker = Tracker::default();
        for number in [1, 2, 5, 4, 9, 3, 9, 7] {
            tracker.see(number);
        }
        assert_eq!(tracker.ranges, [(1, 5), (7, 7), (9, 9)]);
        assert_eq!(tracker.late, [4, 3, 7]);
        assert_eq!(tracker.doubled, [9]);
        assert_eq!(tracker.last(), 9);
        let seen: Vec<u64> = (0..12).filter(|number| tracker.has(*number)).collect();
        assert_eq!(seen, [1, 2, 3, 4, 5, 7, 9]);
    }
}
