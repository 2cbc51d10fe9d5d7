//! Memory comes back: instances that have idled long enough are put to sleep, and when memory is at
//! its bound those not used for the longest (a clock sweep: one bit and no list per instance). Then those
//! that are blocked keep no more than when they are tried again.

use crate::activation::Activation;
use crate::breakage::{Breakage, breaks};
use crate::shard::Shard;

/// How long the sweep takes to come by every slot when memory is below its bound.
const SWEEP_ROUND_MS: u64 = 30_000;

/// How often it moves on, at most and, while instances are awake, at least.
const SWEEP_INTERVAL_MS: u64 = 10;
const SWEEP_PAUSE_MS: u64 = 1_000;

/// Slots looked at per turn when memory is at its bound.
const SWEEP_SLOTS_PRESSED: usize = 4_096;

impl Shard {
    pub(crate) fn sweep(&mut self) {
        let is_pressed = self.activations.memory >= self.config.limits.memory_bytes_max / 10 * 9;
        let elapsed_ms = self.now_ms.saturating_sub(self.swept_ms);
        if !is_pressed && elapsed_ms < SWEEP_INTERVAL_MS {
            return;
        }
        self.swept_ms = self.now_ms;
        let all = self.activations.slots_len();
        let share = all as u64 * elapsed_ms.min(SWEEP_PAUSE_MS) / SWEEP_ROUND_MS;
        let slots = if is_pressed { SWEEP_SLOTS_PRESSED } else { share as usize + 1 };
        for _ in 0..slots.min(all) {
            self.sweep_one(is_pressed);
        }
    }

    /// When the sweep has to move on: only while instances are awake, and soon when others wait for
    /// their room.
    pub(crate) fn next_sweep_ms(&self) -> Option<u64> {
        if !self.searches.is_empty() {
            return Some(self.swept_ms + SWEEP_INTERVAL_MS);
        }
        (self.activations.len() > 0).then_some(self.swept_ms + SWEEP_PAUSE_MS)
    }

    fn sweep_one(&mut self, is_pressed: bool) {
        let Some((slot, Some(activation))) = self.activations.sweep_next() else {
            return;
        };
        let idle_ms = self.now_ms.saturating_sub(activation.last_used_ms);
        let was_used = std::mem::take(&mut activation.flags.is_referenced);
        let is_tired = idle_ms >= self.config.limits.idle_ms || (is_pressed && !was_used);
        let partition = activation.partition;
        let visible = self.scope(partition).visible;
        let activation = self.activations.get(slot);
        if is_tired && activation.is_evictable(visible) {
            self.evict(slot, visible);
        } else if is_pressed && activation.is_sheddable(visible) {
            self.shed(slot);
        }
    }

    /// Puts an instance to sleep: whoever wakes it has to find all of it in the store.
    fn evict(&mut self, slot: u32, visible: u64) {
        let Activation { partition, address, last_write, mailbox, .. } = self.activations.get(slot);
        assert!(
            (*last_write <= visible || breaks(Breakage::SleepEarly)) && mailbox.is_empty(),
            "partition {partition}: {address} is put to sleep with {} messages, its last write in commit \
             {last_write}, and reads see {visible}",
            mailbox.len()
        );
        self.stats.evictions += 1;
        self.activations.remove(slot);
    }

    /// A blocked address keeps in memory when it is tried again and how often it failed. Its messages
    /// and its state are read again then.
    fn shed(&mut self, slot: u32) {
        let partition = self.activations.get(slot).partition;
        let sealed = self.scope(partition).number - 1;
        let activation = self.activations.get(slot);
        let mut messages = 0;
        let mut bytes = 0;
        let spill = &mut activation.spill;
        while let Some(entry) = activation.mailbox.pop() {
            if messages == 0 {
                spill.loaded = entry.arrival - 1;
            }
            messages += 1;
            bytes += entry.message.weight() as u64;
            spill.last = spill.last.max(entry.arrival);
        }
        if messages > 0 {
            spill.is_spilled = true;
            spill.asked = None;
            spill.commit = spill.commit.max(sealed);
        }
        activation.cells = Default::default();
        let freed = activation.weight - activation.bare_weight();
        self.activations.reweigh(slot, 0, freed);
        self.stats.evictions += 1;
        self.leave_mailbox(partition, messages, bytes);
        self.stats.spilled_messages += messages;
        self.stats.spilled_bytes += bytes;
    }
}
