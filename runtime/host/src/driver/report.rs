//! What a shard tells of itself after a turn: metrics, and failed calls in the log, the latter at a
//! bounded rate.

use std::time::{Duration, Instant};

use dormouse_engine::{Fate, Shard, Stats};
use dormouse_protocol::Address;

use crate::driver::lane::LaneState;
use crate::metrics::ShardMetrics;

/// Log lines on blocked addresses and messages given up per shard and second; the rest is counted.
const FAILURE_LINES_PER_SECOND: u32 = 10;

#[derive(Debug, Default)]
pub(crate) struct Report {
    last: Stats,
    replies_dropped: u64,
    rejected: u64,
    window: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl Report {
    pub(crate) fn publish(
        &mut self,
        shard: &Shard,
        metrics: &ShardMetrics,
        lane: &LaneState,
        oldest: Option<Instant>,
    ) {
        let now = shard.stats();
        let last = &self.last;
        metrics.work.messages.add(now.messages_finished - last.messages_finished);
        metrics.work.invocations.add(now.invocations - last.invocations);
        metrics.work.invocation_failures.add(now.invocations_failed - last.invocations_failed);
        metrics.work.burials_refused.add(now.burials_refused - last.burials_refused);
        metrics.work.unserved.add(now.unserved - last.unserved);
        metrics.effects.messages.add(now.messages_sent - last.messages_sent);
        metrics.effects.delayed.add(now.delayed_sent - last.delayed_sent);
        metrics.effects.cancellations.add(now.cancellations - last.cancellations);
        metrics.effects.egress_records.add(now.egress_sent - last.egress_sent);
        metrics.effects.replies.add(now.replies - last.replies);
        metrics.commits.commits.add(now.commits - last.commits);
        metrics.commits.bytes.add(now.commit_bytes - last.commit_bytes);
        metrics.commits.operations.add(now.commit_ops - last.commit_ops);
        let lag = oldest.map_or(0, |since| since.elapsed().as_nanos() as u64);
        metrics.commits.durable_lag_nanos.set(lag);
        let load = &metrics.load;
        load.backlog_messages.set(now.mailbox_messages + now.spilled_messages);
        load.backlog_bytes.set(now.mailbox_bytes + now.spilled_bytes);
        load.awake_instances.set(shard.awake() as u64);
        load.blocked_addresses.set(now.blocked);
        load.dead_letters.set(now.dead_letters);
        load.egress_unconfirmed.set(now.egress_unconfirmed);
        load.in_flight.set(shard.in_flight() as u64);
        self.last = *now;
        let dropped = lane.replies_dropped.get();
        metrics.effects.replies_dropped.add(dropped - self.replies_dropped);
        self.replies_dropped = dropped;
        let rejected = lane.rejected.get();
        metrics.ingress.rejected.add(rejected - self.rejected);
        self.rejected = rejected;
    }

    /// An address is blocked: said in the log, unless very many are.
    pub(crate) fn blocked(
        &mut self,
        address: &Address,
        error: &str,
        failures: u32,
        retry_in_ms: u64,
    ) {
        if self.may_say() {
            tracing::warn!(
                %address,
                failures,
                retry_in_ms,
                "{address} is blocked, its messages wait: {error}"
            );
        }
    }

    /// A message was given up: said in the log, unless very many are.
    pub(crate) fn given_up(&mut self, address: &Address, error: &str, attempts: u32, fate: Fate) {
        if !self.may_say() {
            return;
        }
        match fate {
            Fate::DeadLetter { .. } => tracing::warn!(
                %address,
                attempts,
                "a message for {address} is a dead letter after its last call failed: {error}"
            ),
            Fate::Dropped => tracing::warn!(
                %address,
                attempts,
                "a message for {address} is dropped after its last call failed: {error}"
            ),
        }
    }

    /// Whether there is a line left in this second.
    fn may_say(&mut self) -> bool {
        let is_new = self.window.is_none_or(|since| since.elapsed() >= Duration::from_secs(1));
        if is_new {
            if self.suppressed > 0 {
                tracing::warn!(count = self.suppressed, "further calls have failed");
            }
            self.window = Some(Instant::now());
            (self.lines, self.suppressed) = (0, 0);
        }
        let may_say = self.lines < FAILURE_LINES_PER_SECOND;
        if may_say {
            self.lines += 1;
        } else {
            self.suppressed += 1;
        }
        may_say
    }
}
