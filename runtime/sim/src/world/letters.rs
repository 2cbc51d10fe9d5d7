//! Messages that functions give up: by which policies, who replays or discards dead letters, and what
//! shards may say of it.

use bytes::Bytes;
use dormouse_engine::{DeadLetter, Event, Fate, Limits, Redeem, SubmitToken, keys};
use dormouse_protocol::{Address, FailurePolicy, FunctionType, Partition, Then};

use super::{Item, What, World};
use crate::history::Id;
use crate::payload;

/// How often somebody looks for letters, while there may be more.
const LOOK_US: u64 = 300_000;

/// What becomes of messages, by the function that fails on them.
pub(super) fn policy(function_type: FunctionType) -> FailurePolicy {
    let (attempts, total_ms, then) = match function_type.name() {
        "known" => (Some(2), None, Then::DeadLetter),
        "learn" => (None, Some(100), Then::Drop),
        "partly" => (Some(1), None, Then::DeadLetter),
        _ => (Some(2), Some(400), Then::Block),
    };
    FailurePolicy { attempts, total_ms, then }
}

impl World {
    /// Room for dead letters differs from life to life.
    pub(super) fn bound_letters(&self, limits: &mut Limits) {
        if self.scenario.gives_up == 1 && !self.is_calm {
            limits.dead_letters_max = [10_000, 1, 3][self.life_number as usize % 3];
        }
    }

    pub(super) fn plan_letters(&mut self, from_us: u64) {
        if self.scenario.gives_up == 1 {
            for partition in 0..self.scenario.partitions as u16 {
                let at_us = from_us + self.rng.below(LOOK_US);
                self.at(at_us, What::Letters { partition });
            }
        }
    }

    /// Somebody has the letters of a partition replayed, or some of them discarded; in the end until
    /// none are left, unless nobody cares.
    pub(super) fn letters(&mut self, partition: u16) {
        let prefix = keys::space_prefix(keys::SPACE_DEAD, Partition(partition));
        let all = self.store.visible.rows.iter();
        let rows: Vec<(Bytes, Bytes)> = all
            .filter(|(key, _)| key.starts_with(&prefix))
            .map(|(key, value)| (key.clone().into(), value.clone()))
            .collect();
        let is_over = self.is_calm && (self.never_serves_later || rows.is_empty());
        if !is_over || self.has_more_to_do() {
            let at_us = self.time_us + LOOK_US;
            self.at(at_us, What::Letters { partition });
        }
        if self.is_down || rows.is_empty() || (self.is_calm && self.never_serves_later) {
            return;
        }
        let shard = self.owners[usize::from(partition)];
        let tenure = self.tenure(shard, partition);
        let is_owner = !self.commits_alone() || self.store.may_read(Partition(partition), tenure);
        if tenure == 0 || !is_owner || self.slots[shard].redeeming.contains_key(&partition) {
            return;
        }
        let redeem = if self.rng.chance(100) { Redeem::Discard } else { Redeem::Replay };
        let count = self.rng.range(1, rows.len() as u64) as usize;
        let rows = rows[..count].to_vec();
        let mut asked = Vec::new();
        for (key, value) in &rows {
            asked.extend(letter(key, value).map(|(id, _)| id));
        }
        if redeem == Redeem::Discard {
            // Whether it is done is for the rows to say: a crash may come before.
            self.history.discarded.extend(asked);
        }
        self.order += 1;
        let token = SubmitToken(self.order);
        self.slots[shard].redeeming.insert(partition, token.0);
        self.history.redeems.insert(token.0);
        let event = Event::Redeem { partition: Partition(partition), rows, redeem, token };
        let tenure = self.commits_alone().then_some((partition, tenure));
        let at_us = self.time_us + self.rng.tail(0, 20_000);
        self.at(at_us, What::Deliver { shard, item: Item { event, run: None, tenure } });
    }

    /// Whether anything but a look for letters is still to come.
    fn has_more_to_do(&self) -> bool {
        self.queue.values().any(|what| !matches!(**what, What::Letters { .. }))
    }

    pub(super) fn redeemed(&mut self, shard: usize, token: SubmitToken) -> Result<(), String> {
        // It may come after the shard has heard that the partition is lost: it was durable before.
        self.slots[shard].redeeming.retain(|_, asked| *asked != token.0);
        if self.history.redeems.remove(&token.0) {
            Ok(())
        } else {
            Err(format!("a change of letters that nobody waits for: {token:?}"))
        }
    }

    pub(super) fn given_up(
        &self,
        address: &Address,
        attempts: u32,
        fate: Fate,
    ) -> Result<(), String> {
        let policy = policy(address.function_type);
        let is_right = match policy.then {
            Then::DeadLetter => matches!(fate, Fate::DeadLetter { .. }),
            Then::Drop => fate == Fate::Dropped,
            Then::Block => false,
        };
        if self.scenario.gives_up == 0 || !is_right {
            return Err(format!("a message for {address} is given up: {fate:?}"));
        }
        if policy.attempts.is_some_and(|least| attempts < least) {
            return Err(format!("a message for {address} is given up after {attempts} attempts"));
        }
        Ok(())
    }

    /// Whether nobody can say that a message was not dropped: it failed alone, under such a policy.
    pub(crate) fn may_be_dropped(&self, id: Id) -> bool {
        let target = self.history.sent(id).target.function_type;
        let then = policy(target).then;
        let is_discarded = self.history.discarded.contains(&id);
        let has_failed = then == Then::Drop && self.history.failed_alone.contains(&id);
        self.scenario.gives_up == 1 && (is_discarded || has_failed)
    }

    /// The shards count what there is.
    pub(super) fn check_letters(&self) -> Result<(), String> {
        for partition in (0..self.scenario.partitions as u16).map(Partition) {
            let shard = &self.slots[self.owners[usize::from(partition.0)]].shard;
            let prefix = keys::space_prefix(keys::SPACE_DEAD, partition);
            let rows = self.store.visible.rows.keys();
            let count = rows.filter(|key| key.starts_with(&prefix)).count() as u64;
            if shard.dead_letters(partition) != count {
                let counted = shard.dead_letters(partition);
                return Err(format!("{partition} has {count} dead letters, counted are {counted}"));
            }
        }
        Ok(())
    }
}

/// The message that a row keeps as a dead letter.
pub(crate) fn letter(key: &[u8], value: &[u8]) -> Result<(Id, Address), String> {
    let (_, _, letter) = DeadLetter::read(key, value).map_err(|error| error.to_string())?;
    let id = payload::number(&letter.message.value.value).ok_or("a letter without an id")?;
    Ok((id, letter.message.target))
}
