//! Clients that send messages in. One that was not told that its message is durable before a crash
//! knows nothing of it.

use dormouse_engine::{Event, SubmitToken};
use dormouse_protocol::partition::{HTTP_NAMESPACE, REPLY_NAME};
use dormouse_protocol::{Address, FunctionType, Message, partition_of};

use super::lives::{FUNCTIONS, function};
use super::{What, World};
use crate::history::{Id, Origin, Sent};
use crate::payload;

impl World {
    pub(super) fn submit(&mut self, again: Option<Id>) -> Result<(), String> {
        if self.is_down {
            let at_us = self.time_us + 10_000;
            self.at(at_us, What::Submit { again });
            return Ok(());
        }
        // A router that has changed knows another target for the same message.
        let known = again.map(|id| self.history.sent(id).target.clone());
        let target = known.filter(|_| self.rng.chance(500)).unwrap_or_else(|| self.any_address());
        let is_question = self.rng.chance(200);
        self.submit_to(None, target, is_question);
        Ok(())
    }

    /// Somebody has not heard that a partition has a new owner, and asks the former one what it has.
    pub(super) fn ask_former(&mut self, partition: u16, former: usize) {
        for _ in 0..3 {
            let at_us = self.time_us + self.rng.tail(0, 2_000_000);
            self.at(at_us, What::AskFormer { partition, former });
        }
    }

    pub(super) fn ask(&mut self, partition: u16, former: usize) {
        let (tenure, later) = (
            self.tenure(former, partition),
            self.tenure(self.owners[usize::from(partition)], partition),
        );
        let ledgers = &self.life.ledgers;
        let of_former = ledgers.keys().filter(|(of, _)| tenure != later && *of == tenure);
        let of_both = of_former.filter(|(_, id)| ledgers.contains_key(&(later, id.clone())));
        let known: Vec<_> = of_both.map(|(_, address)| address.clone()).collect();
        if !known.is_empty() {
            let target = known[self.rng.index(known.len())].clone();
            self.submit_to(Some(former), target, true);
        }
    }

    fn submit_to(&mut self, shard: Option<usize>, target: Address, is_question: bool) {
        let origin = Origin::Ingress { life: self.life_number, acknowledged: false };
        let amount = if is_question { 0 } else { self.rng.range(1, 100) as i64 };
        let is_poison = !is_question && self.rng.chance(self.scenario.poisoned);
        let hops = if is_question { 0 } else { self.rng.below(4) as u8 };
        let floor = self.ledger_in(&self.store.durable, &target).map(|ledger| ledger.run);
        let sent = Sent { floor, ..Sent::new(target, origin, hops, amount, is_poison) };
        let id = self.history.add_sent(sent);
        if is_question {
            self.history.sent_mut(id).reply_to = Some(id);
        }
        let message = self.message(id);
        let partition = self.partition(&message.target);
        let mut to = self.owners[usize::from(partition)];
        if let Some(former) = shard {
            to = former;
        } else if self.rng.chance(200) {
            // The client has not heard who owns it now.
            let is_former = |shard: &usize| self.tenure(*shard, partition) != 0;
            let former: Vec<_> = (0..self.slots.len()).filter(is_former).collect();
            to = if former.is_empty() { to } else { self.rng.pick(&former) };
        }
        self.slots[to].unanswered.insert(id, partition);
        let event = Event::Submit { message, token: Some(SubmitToken(id)) };
        self.deliver_at(self.time_us, to, event);
    }

    /// The client of a message that nobody has acknowledged may send it again.
    pub(super) fn repeat_some_day(&mut self, id: Id) {
        if self.rng.chance(self.scenario.repeats) {
            let at_us = self.time_us + self.rng.below(100_000);
            self.at(at_us, What::Submit { again: Some(id) });
        }
    }

    pub(super) fn any_address(&mut self) -> Address {
        let name = self.rng.pick(&FUNCTIONS);
        let id = self.rng.below(self.scenario.ids);
        Address::new(function(name), format!("i{id}"))
    }

    pub(super) fn partition(&self, address: &Address) -> u16 {
        partition_of(address, self.scenario.partitions as u16).0
    }

    /// The message of this id as it goes to the engine, from an ingress.
    fn message(&mut self, id: u64) -> Message {
        let padding = self.rng.pick(&[0, 10, 200]);
        let sent = self.history.sent(id);
        // Some wait for a reply that never comes.
        let waits = sent.reply_to.or_else(|| id.is_multiple_of(5).then_some(id));
        let caller = waits
            .map(|id| Address::new(FunctionType::new(HTTP_NAMESPACE, REPLY_NAME), format!("{id}")));
        Message { target: sent.target.clone(), caller, value: payload::message(id, padding) }
    }

    pub(super) fn accepted(&mut self, shard: usize, token: SubmitToken) -> Result<(), String> {
        if self.history.sent(token.0).reply_to.is_none() {
            self.slots[shard].unanswered.remove(&token.0);
        }
        match &mut self.history.sent_mut(token.0).origin {
            Origin::Ingress { life, acknowledged } => {
                if *acknowledged || *life != self.life_number {
                    return Err(format!("message {} is acknowledged twice or too late", token.0));
                }
                *acknowledged = true;
                Ok(())
            }
            other => Err(format!("message {} is from {other:?}", token.0)),
        }
    }
}

impl World {
    /// Whether somebody serves the address in the present life.
    pub(crate) fn serves(&self, address: &Address) -> bool {
        self.life.later_is_served || address.function_type != function("later")
    }

    pub(crate) fn is_last_life(&self, life: u32) -> bool {
        life == self.life_number
    }
}
