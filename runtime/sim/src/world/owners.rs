//! Who owns which partition, and what goes wrong with owners: shards that pause, die, or take partitions
//! from each other while the former owner knows nothing of it.

use std::collections::BTreeSet;

use dormouse_engine::Event;
use dormouse_protocol::Partition;

use super::{Fault, What, World};

/// The longest pause of a shard.
const PAUSE_US_MAX: u64 = 3_000_000;

/// After so long at most somebody opens a partition that nobody has.
const OPEN_US_MAX: u64 = 100_000;

impl World {
    /// By which opening a shard takes a partition for its own; 0 if it does not.
    pub(super) fn tenure(&self, shard: usize, partition: u16) -> u64 {
        self.slots[shard].owned.get(&partition).copied().unwrap_or(0)
    }

    pub(super) fn fault(&mut self, fault: Fault) -> Result<(), String> {
        if self.is_down || self.is_calm {
            return Ok(());
        }
        self.trace.line(format_args!("{} fault: {fault:?}", self.time_us));
        match fault {
            Fault::Crash => return self.crash(),
            Fault::CrashAtAction => self.actions_left = Some(self.rng.below(12)),
            Fault::DiskFailure => self.disk_fails = true,
            Fault::DiskStall => self.stalled_until_us = self.time_us + self.rng.tail(0, 5_000_000),
            Fault::ClockStep => {
                let step_ms = self.rng.below(20_000) as i64 - 10_000;
                self.clock_offset_ms += step_ms;
            }
            Fault::Pause => self.pause(),
            Fault::Takeover => {
                let partition = self.rng.below(self.scenario.partitions) as u16;
                let shard = self.rng.index(self.slots.len());
                return self.open(partition, shard, false);
            }
            Fault::Death => self.die(),
            Fault::Failover => return self.failover(),
        }
        Ok(())
    }

    /// A shard does nothing for a while. Others may take what it has; it finds out when it is back.
    fn pause(&mut self) {
        let shard = self.rng.index(self.slots.len());
        let until_us = self.time_us + self.rng.tail(1_000, PAUSE_US_MAX);
        self.slots[shard].paused_until_us = until_us;
        self.trace.line(format_args!("{} shard {shard} pauses until {until_us}", self.time_us));
        if !self.commits_alone() || self.rng.chance(300) {
            return;
        }
        let owned: Vec<u16> = self.slots[shard].owned.keys().copied().collect();
        for partition in owned {
            let at_us = self.time_us + self.rng.below(until_us - self.time_us + 10_000);
            let other = self.rng.index(self.slots.len());
            self.at(at_us, What::Open { partition, shard: other, must: false });
        }
    }

    /// One shard dies; others take what it had.
    fn die(&mut self) {
        let shard = self.rng.index(self.slots.len());
        self.trace.line(format_args!("{} shard {shard} dies", self.time_us));
        self.excuse(shard, None);
        self.queue.retain(|_, what| !what.dies_with(shard));
        self.store.forget_coming(shard, &mut self.rng);
        self.slots[shard] = self.new_slot();
        for partition in 0..self.scenario.partitions as u16 {
            if self.owners[usize::from(partition)] == shard {
                self.open_some_day(partition);
            }
        }
    }

    /// The store of a partition goes on from what was synced; its owner is told that it has to read
    /// anew, sooner or later.
    fn failover(&mut self) -> Result<(), String> {
        let partition = self.rng.below(self.scenario.partitions) as u16;
        if self.rng.chance(500) {
            // It also forgets that somebody has just taken the partition, who does not know that.
            let shard = self.rng.index(self.slots.len());
            self.open(partition, shard, false)?;
        }
        let coming = self.store.failover(Partition(partition));
        let shard = self.owners[usize::from(partition)];
        let tenure = self.tenure(shard, partition);
        let at_us = self.time_us + self.rng.tail(0, 1_000_000);
        let event = Event::Refused { partition: Partition(partition) };
        let item = super::Item { event, run: None, tenure: Some((partition, tenure)) };
        self.at(at_us, What::Deliver { shard, item });
        for ticket in coming {
            // A former owner hears nothing else of it.
            let event = Event::Refused { partition: Partition(partition) };
            self.deliver_to(ticket, at_us, event);
        }
        if self.rng.chance(500) {
            let other = self.rng.index(self.slots.len());
            return self.open(partition, other, false);
        }
        if self.rng.chance(500) {
            self.open_some_day(partition);
        }
        Ok(())
    }

    pub(super) fn open_some_day(&mut self, partition: u16) {
        let at_us = self.time_us + self.rng.tail(0, OPEN_US_MAX);
        let shard = self.rng.index(self.slots.len());
        self.at(at_us, What::Open { partition, shard, must: true });
    }

    /// Whether the shard that opened a partition last still holds it.
    fn is_held(&self, partition: u16) -> bool {
        let shard = self.owners[usize::from(partition)];
        let tenure = self.tenure(shard, partition);
        tenure != 0 && self.store.may_read(Partition(partition), tenure)
    }

    /// A shard opens a partition, if it does not take it for its own already. If somebody must, the
    /// next that can does.
    pub(super) fn open(&mut self, partition: u16, shard: usize, must: bool) -> Result<(), String> {
        if must && self.is_held(partition) {
            return Ok(());
        }
        let count = self.slots.len();
        let tried = if must { count } else { 1 };
        let can = |shard: &usize| {
            let slot = &self.slots[*shard];
            !slot.owned.contains_key(&partition) && slot.paused_until_us <= self.time_us
        };
        let Some(shard) = (0..tried).map(|step| (shard + step) % count).find(can) else {
            if must {
                self.open_some_day(partition);
            }
            return Ok(());
        };
        if self.commits_alone() {
            // Nothing may rest on what could still be lost.
            let (taken, durable) = self.store.progress(usize::from(partition));
            self.sync_some(usize::from(partition), taken - durable)?;
        }
        // What the former owner was about to tell its clients may never be told.
        let asked = self.slots.iter().flat_map(|slot| &slot.unanswered);
        let asked: Vec<_> = asked.filter(|(_, of)| **of == partition).map(|(id, _)| *id).collect();
        for id in asked {
            self.history.sent_mut(id).is_excused = true;
        }
        let (fence, tenure, opened) = self.store.open(Partition(partition));
        self.trace.line(format_args!(
            "{} shard {shard} opens {partition}, the {tenure}th opening, {:?}",
            self.time_us, opened.meta
        ));
        let former = std::mem::replace(&mut self.owners[usize::from(partition)], shard);
        self.ask_former(partition, former);
        let partition = Partition(partition);
        let slot = &mut self.slots[shard];
        slot.known_owners[usize::from(partition.0)] = shard;
        slot.owned.insert(partition.0, tenure);
        slot.shard.handle(Event::Opened { partition, fence, opened });
        slot.shard.handle(Event::Started);
        self.turn_in(shard, 0);
        for other in 0..count {
            let longest_us =
                self.scenario.frame_us_max.max(self.rng.pick(&[0, 500_000, 3_000_000]));
            let at_us = self.time_us + self.rng.tail(0, longest_us);
            self.deliver_at(at_us, other, Event::Moved { partition });
        }
        Ok(())
    }

    /// The shard has lost a partition, and what only it knew of it.
    pub(super) fn lose(&mut self, shard: usize, partition: u16) {
        self.excuse(shard, Some(partition));
        self.slots[shard].owned.remove(&partition);
        self.slots[shard].redeeming.remove(&partition);
        let partitions = self.scenario.partitions as u16;
        let is_other = |address: &dormouse_protocol::Address| {
            dormouse_protocol::partition_of(address, partitions).0 != partition
        };
        self.slots[shard].running.retain(|_, (address, _)| is_other(address));
        if self.owners[usize::from(partition)] == shard {
            self.open_some_day(partition);
        }
    }

    /// Nobody can say what became of the messages that clients wait for.
    pub(super) fn excuse(&mut self, shard: usize, partition: Option<u16>) {
        let unanswered = std::mem::take(&mut self.slots[shard].unanswered);
        let (gone, left): (BTreeSet<_>, BTreeSet<_>) =
            unanswered.into_iter().partition(|(_, of)| partition.is_none_or(|lost| lost == *of));
        self.slots[shard].unanswered = left.into_iter().collect();
        for (id, _) in gone {
            self.history.sent_mut(id).is_excused = true;
            self.repeat_some_day(id);
        }
    }
}
