//! An invocation has failed: its address waits and is tried again, a batch message by message, so that
//! only the guilty one is given up when its function's policy says so.

use dormouse_protocol::{InvokeError, Message, Then, given_up};

use crate::action::{Action, Fate};
use crate::activation::Phase;
use crate::breakage::{Breakage, breaks};
use crate::event::InvocationId;
use crate::shard::Shard;

impl Shard {
    /// Gives up the first message, or lets the address wait with all of them.
    pub(crate) fn fail(&mut self, slot: u32, error: &InvokeError) {
        self.stats.invocations_failed += 1;
        let activation = self.activations.get(slot);
        let policy = self.types.get(activation.address.function_type).failure;
        let failures = activation.failures + 1;
        let elapsed_ms = self.now_ms.saturating_sub(activation.tried_ms);
        if !policy.is_exhausted(failures, elapsed_ms) {
            let left_ms = policy.total_ms.map_or(u64::MAX, |total_ms| total_ms - elapsed_ms);
            return self.block(slot, error, left_ms);
        }
        if activation.batch.is_empty() {
            // Its state could not be read: the message was not even taken out.
            let first = activation.mailbox.pop();
            activation.batch.extend(first);
        }
        if activation.batch.len() > 1 && !breaks(Breakage::BuryTogether) {
            return self.block(slot, error, u64::MAX);
        }
        match policy.then {
            Then::Block => self.block_slowly(slot, error),
            Then::Drop => self.give_up(slot, error, Fate::Dropped),
            Then::DeadLetter => match self.bury(slot, error, failures) {
                Ok(number) => self.give_up(slot, error, Fate::DeadLetter { number }),
                Err(full) => {
                    let message = format!("{}; {full}", error.message);
                    self.block_slowly(slot, &InvokeError { message, ..error.clone() });
                }
            },
        }
    }

    /// The address goes on without its first message, which is taken out by the commit that says so.
    fn give_up(&mut self, slot: u32, error: &InvokeError, fate: Fate) {
        match fate {
            Fate::DeadLetter { .. } => self.stats.messages_buried += 1,
            Fate::Dropped => self.stats.messages_dropped += 1,
        }
        self.tell_who_waits(slot, error, fate);
        let activation = self.activations.get(slot);
        let partition = activation.partition;
        if breaks(Breakage::KeepBuried) {
            activation.batch.iter_mut().for_each(|entry| entry.is_persisted = false);
        }
        let given_up = Action::GivenUp {
            partition,
            address: activation.address.clone(),
            error: error.message.clone(),
            attempts: activation.failures + 1,
            fate,
        };
        self.scope(partition).release_when_durable(given_up);
        self.use_up(slot, partition);
        self.activations.get(slot).phase = Phase::Idle;
        self.schedule(slot);
    }

    /// Whoever waits for a reply to the message gets a notice with the commit that gives it up.
    fn tell_who_waits(&mut self, slot: u32, error: &InvokeError, fate: Fate) {
        let activation = self.activations.get(slot);
        let (partition, attempts) = (activation.partition, activation.failures + 1);
        let message = &activation.batch.first().expect("one message is given up").message;
        let Some(caller) = message.caller.clone().filter(given_up::is_waiting) else {
            return;
        };
        let letter = match fate {
            Fate::DeadLetter { number } => Some((partition, number)),
            Fate::Dropped => None,
        };
        let address = activation.address.clone();
        let value = given_up::notice(&address, attempts, &error.message, letter);
        self.send(partition, Message { target: caller, caller: Some(address), value });
    }

    /// The messages stay, in order, to be tried one by one after a pause that doubles each time; only
    /// this address waits. It is tried again before `left_ms` are over.
    fn block(&mut self, slot: u32, error: &InvokeError, left_ms: u64) {
        let limits = &self.config.limits;
        let doublings = self.activations.get(slot).failures.min(32);
        let pause_ms = limits.retry_delay_ms_min.saturating_mul(1 << doublings);
        let pause_ms = pause_ms.min(limits.retry_delay_ms_max);
        self.wait(slot, error, pause_ms, left_ms);
    }

    /// The same for one that was tried for as long as its policy says: with the longest pause.
    fn block_slowly(&mut self, slot: u32, error: &InvokeError) {
        self.wait(slot, error, self.config.limits.retry_delay_ms_max, u64::MAX);
    }

    fn wait(&mut self, slot: u32, error: &InvokeError, pause_ms: u64, left_ms: u64) {
        let now_ms = self.now_ms;
        let asked_ms = error.retry_after.map_or(0, |pause| {
            let longest_ms = self.config.limits.retry_after_ms_max;
            u64::try_from(pause.as_millis()).unwrap_or(u64::MAX).min(longest_ms)
        });
        let activation = self.activations.get(slot);
        activation.single = activation.single.max(activation.batch.len());
        while let Some(entry) = activation.batch.pop() {
            activation.mailbox.push_front(entry);
        }
        if activation.failures == 0 {
            self.stats.blocked += 1;
        }
        let jitter_ms = jitter(activation.hash, activation.failures) % (pause_ms / 10 + 1);
        activation.failures = activation.failures.saturating_add(1);
        activation.handshake_rounds = 0;
        activation.phase = Phase::Blocked;
        let retry_in_ms = (pause_ms + jitter_ms).min(left_ms).max(asked_ms);
        let generation = activation.generation;
        self.actions.push(Action::Blocked {
            address: activation.address.clone(),
            error: error.message.clone(),
            failures: activation.failures,
            retry_in_ms,
        });
        self.retries.insert((now_ms + retry_in_ms, slot, generation));
        self.recovered(slot);
    }

    /// Tries blocked activations again whose time has come.
    pub(crate) fn retry_due(&mut self) {
        while let Some((at_ms, slot, generation)) = self.retries.first().copied() {
            if at_ms > self.now_ms {
                return;
            }
            self.retries.pop_first();
            let id = InvocationId { slot, generation };
            let activation =
                self.activations.current(id).expect("a blocked activation stays awake");
            assert_eq!(activation.phase, Phase::Blocked);
            activation.phase = Phase::Idle;
            self.schedule(slot);
        }
    }
}

/// Different for each id and each attempt, so that those that failed together do not come back
/// together; the same in every run. (The last step of SplitMix64.)
fn jitter(hash: u64, failures: u32) -> u64 {
    let mut mixed = hash ^ u64::from(failures).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
