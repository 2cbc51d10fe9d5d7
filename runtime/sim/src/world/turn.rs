//! One turn of a shard, as its driver takes it: time, events, actions, seal.

use dormouse_engine::{ACTIVATION_BYTES, Completed, Event, SubmitToken};

use super::{Item, World};
use crate::history::Id;

impl World {
    pub(super) fn turn(&mut self, shard: usize) -> Result<(), String> {
        let time_us = self.time_us;
        if self.slots[shard].turn_at != Some(time_us) {
            return Ok(()); // An earlier turn came in between.
        }
        let clock_ms = self.clock_ms(shard);
        let slot = &mut self.slots[shard];
        slot.turn_at = None;
        if slot.paused_until_us > time_us {
            let delay_us = slot.paused_until_us - time_us;
            self.turn_in(shard, delay_us);
            return Ok(());
        }
        slot.now_ms = slot.now_ms.max(clock_ms);
        self.latest_ms = self.latest_ms.max(slot.now_ms);
        slot.shard.advance(clock_ms);
        if self.scenario.entries > 0 {
            self.slots[shard].shard.clean();
        }
        let waiting = self.slots[shard].inbox.len();
        let taken = if self.rng.chance(700) { waiting } else { self.rng.index(waiting + 1) };
        for _ in 0..taken {
            let Some(item) = self.slots[shard].inbox.pop_front() else {
                break;
            };
            if !self.note(shard, &item) {
                continue;
            }
            self.slots[shard].shard.handle(item.event);
            if self.rng.chance(400) && !self.act_all(shard)? {
                return Ok(());
            }
        }
        if !self.act_all(shard)? {
            return Ok(());
        }
        let stays_open = self.rng.chance(self.scenario.unsealed);
        if !stays_open {
            self.slots[shard].shard.seal();
            if !self.act_all(shard)? {
                return Ok(());
            }
        }
        self.check_memory(shard)?;
        self.plan_turn(shard, stays_open);
        Ok(())
    }

    fn plan_turn(&mut self, shard: usize, stays_open: bool) {
        let cleans = self.scenario.entries > 0 && self.slots[shard].shard.has_cleaning();
        if stays_open || cleans || !self.slots[shard].inbox.is_empty() {
            let delay_us = self.rng.range(1, 100);
            self.turn_in(shard, delay_us);
        }
        if let Some(wake_ms) = self.slots[shard].shard.next_wake_ms() {
            let in_ms = wake_ms.saturating_sub(self.clock_ms(shard));
            // The clock shows whole milliseconds: the wake-up comes when it has changed.
            let delay_us = (in_ms * 1_000).saturating_sub(self.time_us % 1_000).max(1);
            self.turn_in(shard, delay_us);
        }
    }

    /// Does what the shard asks for; false if it died meanwhile.
    fn act_all(&mut self, shard: usize) -> Result<bool, String> {
        loop {
            let actions = self.take_actions(shard);
            if actions.is_empty() {
                return Ok(true);
            }
            for action in actions {
                if let Some(left) = &mut self.actions_left {
                    if *left == 0 {
                        self.crash()?;
                        return Ok(false);
                    }
                    *left -= 1;
                }
                self.act(shard, action)?;
            }
        }
    }

    /// Remembers what an event means before the shard gets it. False for what it must not get: the
    /// store's answers about a partition that it has lost since.
    pub(super) fn note(&mut self, shard: usize, item: &Item) -> bool {
        if let Some((partition, tenure)) = item.tenure
            && self.tenure(shard, partition) != tenure
        {
            return false;
        }
        if self.trace.is_on() {
            let text = super::actions::describe_event(&item.event);
            let run = item.run.map(|run| format!(" run {run}")).unwrap_or_default();
            self.trace.line(format_args!("{} shard {shard} <- {text}{run}", self.time_us));
        }
        match &item.event {
            Event::Durable { scope, number } => {
                let tenure = item.tenure.map_or(0, |(_, tenure)| tenure);
                if let Some(commits) = self.life.commits.get_mut(&(shard, *scope, tenure)) {
                    commits.1 = commits.1.max(*number);
                }
            }
            Event::Refused { partition } => self.lose(shard, partition.0),
            Event::Moved { partition } => {
                let index = usize::from(partition.0);
                self.slots[shard].known_owners[index] = self.owners[index];
            }
            Event::Submit { message, token } => {
                let partition = self.partition(&message.target);
                if self.tenure(shard, partition) == 0 {
                    // The client is told to go elsewhere.
                    if let Some(SubmitToken(id)) = token {
                        self.slots[shard].unanswered.remove(id);
                        self.history.sent_mut(*id).is_excused = true;
                        self.repeat_some_day(*id);
                    }
                    return false;
                }
            }
            Event::EgressConfirmed { partition, outbox, number } => {
                let tenure = self.tenure(shard, partition.0);
                let queue = self.life.out.entry((tenure, outbox.clone())).or_default();
                if !queue.unconfirmed.remove(number) && *number > queue.last {
                    queue.early.insert(*number);
                }
            }
            Event::Done { id, result } => {
                let key = (id.slot, id.generation);
                let Some((address, messages)) = self.slots[shard].running.remove(&key) else {
                    return true; // Answered before: this one must have no effect.
                };
                let tenure = self.tenure(shard, self.partition(&address));
                self.life.busy.remove(&(tenure, address.clone()));
                match result {
                    Ok(Completed::Effects { .. }) => self.note_run(shard, item.run),
                    Ok(Completed::Incomplete(_)) if self.scenario.asks_in_vain == 0 => {}
                    Ok(Completed::Incomplete(_)) => self.note_failed(&messages),
                    Err(_) => {
                        self.note_failed(&messages);
                        if messages.len() > 1 {
                            self.life.failed.insert((tenure, address));
                        }
                    }
                }
            }
            _ => {}
        }
        true
    }

    fn note_failed(&mut self, messages: &[Id]) {
        if let [alone] = messages {
            self.history.failed_alone.insert(*alone);
        }
    }

    fn check_memory(&self, shard: usize) -> Result<(), String> {
        let (slot, limits) = (&self.slots[shard], &self.life.limits);
        let (awake, memory) = (slot.shard.awake(), slot.shard.memory_bytes());
        if awake == 0 && memory != 0 {
            return Err(format!("shard {shard}: nobody is awake and {memory} bytes are held"));
        }
        // The last one woken found memory below the bound.
        if awake > limits.memory_bytes_max / ACTIVATION_BYTES + 1 {
            let max = limits.memory_bytes_max;
            return Err(format!("shard {shard}: {awake} instances are awake within {max} bytes"));
        }
        let held = slot.shard.stats().mailbox_messages;
        if held > (awake * limits.mailbox_len_max * 2) as u64 {
            return Err(format!("shard {shard}: {awake} mailboxes hold {held} messages"));
        }
        if slot.shard.in_flight() != slot.running.len() {
            return Err(format!(
                "shard {shard} counts {} invocations in flight, there are {}",
                slot.shard.in_flight(),
                slot.running.len()
            ));
        }
        Ok(())
    }
}
