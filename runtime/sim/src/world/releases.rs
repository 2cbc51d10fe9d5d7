//! What leaves the process: replies and egress records. Each is checked when it leaves: what it stems
//! from has to be durable by then.

use dormouse_engine::{EgressOut, Event, Op, keys};
use dormouse_protocol::{Address, Partition, Then, TypedValue, given_up};

use super::World;
use super::letters::{letter, policy};
use crate::history::Id;
use crate::payload::{self, LEDGER, Ledger};
use crate::store::Image;

impl World {
    /// The ledger of an address among the rows of an image.
    pub(crate) fn ledger_in(&self, image: &Image, address: &Address) -> Option<Ledger> {
        let partition = Partition(self.partition(address));
        let mut key = Vec::new();
        keys::state_prefix(&mut key, partition, address);
        key.extend_from_slice(LEDGER.as_bytes());
        let row = image.rows.get(&key)?;
        // The value is the end of the row, whatever stands before it.
        Ledger::decode(&row[row.len().checked_sub(24)?..])
    }

    /// Whether a crash now would keep this run.
    fn is_durable(&self, run: Id) -> bool {
        let address = &self.history.run(run).address;
        self.history.leads_to(run, self.ledger_in(&self.store.durable, address))
    }

    pub(super) fn replied(
        &mut self,
        shard: usize,
        id: &str,
        value: &TypedValue,
    ) -> Result<(), String> {
        let question: u64 = id.parse().map_err(|_| format!("a reply to {id}"))?;
        self.slots[shard].unanswered.remove(&question);
        if given_up::read(value).is_some() {
            return self.told(question);
        }
        let run_id = payload::number(&value.value).ok_or("a reply without a run")?;
        if !self.history.replied.insert(question) {
            return Err(format!("question {question} is answered twice"));
        }
        let run = self.history.run(run_id);
        let rests_on = match (run.is_read_only, run.given) {
            (false, _) => Some(run_id),
            (true, given) => given.map(|ledger| ledger.run),
        };
        let floor = self.history.sent(question).floor;
        if let Some(floor) = floor
            && !self.history.leads_to(floor, run.given)
        {
            return Err(format!(
                "question {question} is answered by run {run_id} as if run {floor} had never been"
            ));
        }
        if let Some(rests_on) = rests_on
            && !self.is_durable(rests_on)
        {
            return Err(format!(
                "question {question} is answered by run {run_id} before run {rests_on} is durable"
            ));
        }
        Ok(())
    }

    /// A client is told that its question was given up: that has to be durable by then.
    fn told(&mut self, question: u64) -> Result<(), String> {
        let target = &self.history.sent(question).target;
        if !self.history.failed_alone.contains(&question) {
            return Err(format!("question {question} is given up and never failed alone"));
        }
        let is_letter = policy(target.function_type).then == Then::DeadLetter;
        let ops = self.store.archive.iter().flat_map(|commit| commit.ops.iter());
        let mut letters = ops.filter_map(|op| match op {
            Op::Put { key, value } if key[0] == keys::SPACE_DEAD => letter(key, value).ok(),
            _ => None,
        });
        if is_letter && !letters.any(|(id, _)| id == question) {
            return Err(format!("question {question} is given up before that is durable"));
        }
        self.history.told.insert(question);
        Ok(())
    }

    pub(super) fn egress(&mut self, shard: usize, out: &EgressOut) -> Result<(), String> {
        let bytes = &out.value.value;
        let run = payload::number(bytes).ok_or("an egress record without a run")?;
        let index = payload::number(&bytes[8..]).ok_or("an egress record without a number")?;
        let record = (run, index as usize);
        if self.history.run(run).address != out.sender {
            return Err(format!("egress {out:?} names the wrong sender"));
        }
        if self.history.run(run).egress.get(record.1) != Some(&out.outbox) {
            return Err(format!("egress {out:?} is in the wrong queue"));
        }
        if !self.is_durable(run) {
            return Err(format!("egress record {out:?} leaves before run {run} is durable"));
        }
        let key = (out.partition.0, out.outbox.clone(), out.number);
        let known = *self.history.out.entry(key).or_insert(record);
        if known != record {
            return Err(format!("egress number {} is {known:?} and {record:?}", out.number));
        }
        let number = *self.history.out_numbers.entry(record).or_insert(out.number);
        if number != out.number {
            return Err(format!("egress record {record:?} is number {number} and {}", out.number));
        }
        let tenure = self.tenure(shard, out.partition.0);
        let queue = self.life.out.entry((tenure, out.outbox.clone())).or_default();
        if out.number <= queue.last {
            return Err(format!("egress {out:?} comes after number {}", queue.last));
        }
        queue.last = out.number;
        if !queue.early.remove(&out.number) {
            queue.unconfirmed.insert(out.number);
        }
        if queue.unconfirmed.len() > self.life.limits.egress_window_len {
            return Err(format!("egress {out:?}: too many records are out: {queue:?}"));
        }
        self.confirm_later(shard, out);
        Ok(())
    }

    fn confirm_later(&mut self, shard: usize, out: &EgressOut) {
        let (partition, number) = (out.partition, out.number);
        for chance in [1_000, 100] {
            if self.rng.chance(chance) {
                let delay_us = self.rng.tail(0, self.scenario.confirm_us_max);
                let outbox = out.outbox.clone();
                let event = Event::EgressConfirmed { partition, outbox, number };
                self.deliver_at(self.time_us + delay_us, shard, event);
            }
        }
    }
}
