//! Memory comes back: instances that have idled long enough are put to sleep, and when memory is at
//! its bound those not used for the longest (a clock sweep: one bit and no list per instance).

use crate::shard::Shard;

/// Slots looked at per interval when memory is below its bound.
const SWEEP_INTERVAL_MS: u64 = 10;
const SWEEP_SLOTS: usize = 1_024;

/// Slots looked at per turn when it is not.
const SWEEP_SLOTS_PRESSED: usize = 4_096;

impl Shard {
    pub(crate) fn sweep(&mut self) {
        let is_pressed = self.activations.memory >= self.config.limits.memory_bytes_max / 10 * 9;
        if !is_pressed && self.now_ms < self.swept_ms + SWEEP_INTERVAL_MS {
            return;
        }
        self.swept_ms = self.now_ms;
        let slots = if is_pressed { SWEEP_SLOTS_PRESSED } else { SWEEP_SLOTS };
        for _ in 0..slots.min(self.activations.slots_len()) {
            self.sweep_one(is_pressed);
        }
    }

    fn sweep_one(&mut self, is_pressed: bool) {
        let Some((slot, Some(activation))) = self.activations.sweep_next() else {
            return;
        };
        let idle_ms = self.now_ms.saturating_sub(activation.last_used_ms);
        let was_used = std::mem::take(&mut activation.flags.is_referenced);
        let is_tired = idle_ms >= self.config.limits.idle_ms || (is_pressed && !was_used);
        let partition = activation.partition;
        let index = match self.config.scoping {
            crate::scope::Scoping::Shard => 0,
            crate::scope::Scoping::Partition => usize::from(partition.0),
        };
        if is_tired && activation.is_evictable(self.scopes[index].visible) {
            self.stats.evictions += 1;
            self.activations.remove(slot);
        }
    }
}
