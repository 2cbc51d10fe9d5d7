//! Ends a shard's wait when its engine has something to do. Setting a timer costs more than a turn that
//! finds nothing due, and may wake the event loop by a system call; so one that rings early stays set.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Longest that it is set for, in milliseconds: the clock that it follows does not see when the wall
/// clock is corrected.
const PAUSE_MS_MAX: u64 = 60_000;

#[derive(Debug, Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When it rings, in milliseconds since 1970; 0: it has rung.
    at_ms: u64,
}

impl Alarm {
    /// Resolves at `at_ms`, or at an earlier time that was asked for before.
    pub(crate) async fn rings_by(&mut self, at_ms: u64, now_ms: u64) {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(Instant::now())));
        if self.at_ms == 0 || at_ms < self.at_ms {
            let pause_ms = at_ms.saturating_sub(now_ms).clamp(1, PAUSE_MS_MAX);
            self.at_ms = now_ms + pause_ms;
            sleep.as_mut().reset(Instant::now() + Duration::from_millis(pause_ms));
        }
        sleep.await;
        self.at_ms = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_000_000;

    /// Asks and gives up waiting.
    async fn ask(alarm: &mut Alarm, at_ms: u64) {
        let ring = alarm.rings_by(at_ms, NOW_MS);
        assert!(tokio::time::timeout(Duration::ZERO, ring).await.is_err());
    }

    #[tokio::test]
    async fn the_earliest_time_that_was_asked_for_counts() {
        let mut alarm = Alarm::default();
        for (asked_ms, rings_ms) in [(9_000, 9_000), (9_500, 9_000), (8_000, 8_000)] {
            ask(&mut alarm, NOW_MS + asked_ms).await;
            assert_eq!(alarm.at_ms, NOW_MS + rings_ms);
        }
        // What is far away is looked at again; what is over rings soon.
        let mut alarm = Alarm::default();
        ask(&mut alarm, u64::MAX).await;
        assert_eq!(alarm.at_ms, NOW_MS + PAUSE_MS_MAX);
        alarm.rings_by(0, NOW_MS).await;
        // Once it has rung a later time counts.
        ask(&mut alarm, NOW_MS + 7_000).await;
        assert_eq!(alarm.at_ms, NOW_MS + 7_000);
    }
}
