//! The simulated functions: each call draws from the seed how long it takes, whether it fails, hangs,
//! asks for states, answers twice, and what its effects are; called again, they are others.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_engine::{Completed, Event, InvocationId};
use dormouse_protocol::partition::{HTTP_NAMESPACE, REPLY_NAME};
use dormouse_protocol::{
    Address, Delayed, Effects, EgressRecord, FunctionType, Invocation, InvokeError, StateMutation,
    TypeName,
};

use super::{Item, World};
use crate::history::{DelayedStep, Done, Id, Origin, Run, Sent};
use crate::payload::{self, INVOKED, LEDGER, Ledger, TABLES, WRITTEN};

/// What its driver waits for a call to answer.
const TIMEOUT_US: u64 = 5_000_000;

/// Delayed messages and cancellations that one message leads to at most.
const DELAYED_STEPS_MAX: u64 = 5;

impl World {
    pub(super) fn invoke(
        &mut self,
        shard: usize,
        id: InvocationId,
        invocation: &Invocation,
    ) -> Result<(), String> {
        let ids = self.check_call(shard, invocation)?;
        let running = (invocation.target.clone(), ids.clone());
        self.slots[shard].running.insert((id.slot, id.generation), running);
        if self.slots[shard].running.len() > self.life.limits.in_flight_max {
            return Err(format!("shard {shard} has too many invocations in flight"));
        }
        let (result, run) = self.answer(shard, invocation, &ids);
        let is_hung = self.rng.chance(self.scenario.hangs);
        let delay_us = self.rng.tail(0, self.scenario.call_us_max);
        if is_hung {
            let error = Err(InvokeError::new("no answer in time"));
            let event = Event::Done { id, result: error };
            self.answer_at(
                self.time_us + TIMEOUT_US,
                shard,
                Item { event, run: None, tenure: None },
            );
            if self.rng.chance(500) {
                return Ok(());
            }
            // It answers after all, when nobody waits any more.
            let late_us = self.time_us + TIMEOUT_US + self.rng.below(1_000_000);
            let event = Event::Done { id, result };
            self.answer_at(late_us, shard, Item { event, run, tenure: None });
            return Ok(());
        }
        let item = Item { event: Event::Done { id, result }, run, tenure: None };
        let reads = self.draw_reads(invocation);
        if !reads.is_empty() {
            self.read_or_answer(shard, id, item, reads);
        } else if self.rng.chance(self.scenario.ready_at_once) {
            self.note(shard, &item);
            self.slots[shard].shard.handle(item.event);
        } else {
            self.answer_at(self.time_us + delay_us, shard, item);
        }
        if self.rng.chance(self.scenario.answers_twice) {
            let (result, run) = self.answer(shard, invocation, &ids);
            let again_us = self.time_us + delay_us + self.rng.below(100_000);
            let event = Event::Done { id, result };
            self.answer_at(again_us, shard, Item { event, run, tenure: None });
        }
        Ok(())
    }

    /// What can be said of a call before it is answered; its messages' ids.
    fn check_call(&mut self, shard: usize, call: &Invocation) -> Result<Vec<Id>, String> {
        let target = &call.target;
        let tenure = self.tenure(shard, self.partition(target));
        if tenure == 0 {
            return Err(format!("{target} is called by shard {shard}, which does not own it"));
        }
        let known = (tenure, target.clone());
        if !self.life.busy.insert(known.clone()) {
            return Err(format!("{target} is called while a call is under way"));
        }
        let limits = &self.life.limits;
        let (len, single) = (call.messages.len(), self.life.failed.remove(&known));
        if len == 0 || len > limits.batch_len_max || (single && len > 1) {
            return Err(format!("{target} is given {len} messages (after a failure: {single})"));
        }
        let given = ledger(call);
        if let (Some(last), true) = (self.life.ledgers.get(&known), has(call, LEDGER))
            && given != Some(*last)
        {
            return Err(format!("{target} is given {given:?}, it wrote {last:?}"));
        }
        let mut ids = Vec::new();
        for message in &call.messages {
            let id = payload::number(&message.value.value).ok_or("a message without an id")?;
            let sent = self.history.find_sent(id).ok_or("a message that nobody sent")?;
            if sent.target != *target || message.target != *target {
                return Err(format!("message {id} for {} comes to {target}", sent.target));
            }
            if let Origin::Delayed { run, delay_ms } = sent.origin {
                let done = self.history.run(run).done.ok_or("sent by an answer that was late")?;
                if self.latest_ms < done.now_ms + delay_ms {
                    return Err(format!("delayed message {id} is early"));
                }
            }
            if self.history.chain(given).any(|(_, run)| run.messages.contains(&id)) {
                return Err(format!("{target} has applied message {id} already"));
            }
            if ids.contains(&id) {
                return Err(format!("{target} is given message {id} twice at once"));
            }
            ids.push(id);
        }
        Ok(ids)
    }

    fn answer(
        &mut self,
        shard: usize,
        call: &Invocation,
        ids: &[Id],
    ) -> (Result<Completed, InvokeError>, Option<Id>) {
        let specs = payload::specs(self.scenario.ttl_ms, self.scenario.entries > 0);
        if !has(call, LEDGER) {
            return (Ok(Completed::Incomplete(specs[..1].to_vec())), None);
        }
        if call.specs.len() < specs.len() {
            return (Ok(Completed::Incomplete(specs)), None);
        }
        if self.rng.chance(self.scenario.asks_in_vain) {
            return (Ok(Completed::Incomplete(specs)), None);
        }
        let poisoned = ids.iter().any(|id| self.history.sent(*id).is_poison) && !self.is_calm;
        if (poisoned && self.rng.chance(900)) || self.rng.chance(self.scenario.fails) {
            let mut error = InvokeError::new("the function fails");
            if self.rng.chance(100) {
                error.retry_after = Some(std::time::Duration::from_millis(self.rng.below(500)));
            }
            return (Err(error), None);
        }
        let (effects, outboxes, run) = self.run_function(shard, call, ids);
        (Ok(Completed::Effects { effects: effects.into(), outboxes }), Some(run))
    }

    fn run_function(
        &mut self,
        shard: usize,
        call: &Invocation,
        ids: &[Id],
    ) -> (Effects, Vec<Arc<str>>, Id) {
        let given = ledger(call);
        let id = self.history.next_run();
        let mut ledger = given.unwrap_or_default();
        ledger.run = id;
        ledger.applied += ids.len() as u64;
        let is_read_only = ids.iter().all(|id| self.history.sent(*id).reply_to.is_some());
        let expiring = [WRITTEN, INVOKED].map(|name| state(call, name).and_then(payload::number));
        let run = Run {
            address: call.target.clone(),
            given,
            ledger,
            is_read_only,
            messages: ids.to_vec(),
            now_ms: self.slots[shard].now_ms,
            latest_ms: self.latest_ms,
            done: None,
            sends: Vec::new(),
            delayed: Vec::new(),
            egress: Vec::new(),
            expiring,
            writes: [None, None],
            looks: Vec::new(),
            heads: [None; TABLES.len()],
            changes: Vec::new(),
            new_heads: [None; TABLES.len()],
        };
        self.history.add_run(run);
        let mut effects = Effects::default();
        for message in ids {
            let sent = self.history.sent(*message).clone();
            ledger.balance += sent.amount;
            match sent.reply_to {
                Some(question) => {
                    let reply = FunctionType::new(HTTP_NAMESPACE, REPLY_NAME);
                    let asker = Address::new(reply, format!("{question}"));
                    effects.messages.push((asker, payload::message(id, 0)));
                }
                None => ledger.balance -= self.send_some(id, &sent, &mut effects),
            }
        }
        if !is_read_only {
            self.write_egress(id, &mut effects);
            self.write_states(id, call, ledger, &mut effects);
            self.write_tables(id, call, &mut effects);
        }
        self.history.run_mut(id).ledger = ledger;
        let outboxes = self.history.run(id).egress.clone();
        (effects, outboxes, id)
    }

    /// Sends on what one message leads to; the money given away.
    fn send_some(&mut self, run: Id, cause: &Sent, effects: &mut Effects) -> i64 {
        let mut given = 0;
        if cause.hops == 0 {
            return 0;
        }
        for _ in 0..self.rng.pick(&[0, 1, 1, 2]) {
            let amount = self.rng.below(50) as i64;
            let message = self.new_message(cause, Origin::Run(run), amount);
            given += amount;
            let value = payload::message(message, self.rng.pick(&[0, 0, 150]));
            effects.messages.push((self.history.sent(message).target.clone(), value));
            self.history.run_mut(run).sends.push(message);
        }
        for _ in 0..DELAYED_STEPS_MAX {
            if !self.rng.chance(self.scenario.delays) {
                break;
            }
            let step = self.delayed_step(run, cause, effects);
            self.history.run_mut(run).delayed.push(step);
        }
        given
    }

    fn new_message(&mut self, cause: &Sent, origin: Origin, amount: i64) -> Id {
        let target = if self.rng.chance(150) { cause.target.clone() } else { self.any_address() };
        let is_poison = self.rng.chance(self.scenario.poisoned / 2);
        let hops = cause.hops - 1;
        self.history.add_sent(Sent::new(target, origin, hops, amount, is_poison))
    }

    fn delayed_step(&mut self, run: Id, cause: &Sent, effects: &mut Effects) -> DelayedStep {
        let name = self.rng.pick(&["one", "two", "three", "four", "five", "six", "seven"]);
        if self.rng.chance(self.scenario.cancels) {
            effects.delayed.push(Delayed::Cancel { token: name.into() });
            return DelayedStep::Cancel { token: name.to_owned() };
        }
        let token = self.rng.chance(600).then(|| name.to_owned());
        let longest_ms = self.scenario.delay_ms_max;
        let delay_ms = if self.scenario.spreads_delays == 1 {
            self.rng.below(longest_ms + 1)
        } else {
            self.rng.tail(0, longest_ms)
        };
        let message = self.new_message(cause, Origin::Delayed { run, delay_ms }, 0);
        effects.delayed.push(Delayed::Send {
            delay_ms,
            target: self.history.sent(message).target.clone(),
            value: payload::message(message, 0),
            token: token.as_deref().map(Into::into),
        });
        DelayedStep::Send { message, token }
    }

    fn write_egress(&mut self, run: Id, effects: &mut Effects) {
        for index in 0..self.rng.pick(&[0, 0, 1, 3]) {
            let outbox: Arc<str> = Arc::from(self.rng.pick(&["alpha", "beta"]));
            let mut bytes = run.to_be_bytes().to_vec();
            bytes.extend_from_slice(&u64::to_be_bytes(index));
            let value = dormouse_protocol::TypedValue::new("sim/record", bytes);
            let egress = TypeName { namespace: "sim".to_owned(), name: outbox.to_string() };
            effects.egress.push(EgressRecord { egress, value });
            self.history.run_mut(run).egress.push(outbox);
        }
    }

    fn write_states(&mut self, run: Id, call: &Invocation, ledger: Ledger, effects: &mut Effects) {
        let mut write = |name: &str, value: Option<Bytes>| {
            let spec = index(call, name).expect("given with every call") as u16;
            effects.state.push(StateMutation { spec, value });
        };
        write(LEDGER, Some(ledger.encode()));
        for (place, name) in [WRITTEN, INVOKED].into_iter().enumerate() {
            if !self.rng.chance(350) {
                continue;
            }
            let value = self.rng.chance(800).then_some(run);
            let bytes = value.map(|run| Bytes::copy_from_slice(&run.to_be_bytes()));
            write(name, bytes);
            self.history.run_mut(run).writes[place] = Some(value);
        }
    }

    /// The first answer of a call has come: it is the one that counts.
    pub(super) fn note_run(&mut self, shard: usize, run: Option<Id>) {
        let Some(id) = run else {
            return;
        };
        self.history.answers += 1;
        let order = self.history.answers;
        let (now_ms, latest_ms) = (self.slots[shard].now_ms, self.latest_ms);
        let run = self.history.run_mut(id);
        run.done = Some(Done { order, now_ms, latest_ms });
        if !run.is_read_only {
            let (address, ledger) = (run.address.clone(), run.ledger);
            let tenure = self.tenure(shard, self.partition(&address));
            self.life.ledgers.insert((tenure, address), ledger);
        }
    }
}

pub(super) fn index(call: &Invocation, name: &str) -> Option<usize> {
    call.specs.iter().position(|spec| spec.name == name)
}

fn has(call: &Invocation, name: &str) -> bool {
    index(call, name).is_some()
}

pub(super) fn state<'a>(call: &'a Invocation, name: &str) -> Option<&'a [u8]> {
    call.state[index(call, name)?].as_deref()
}

fn ledger(call: &Invocation) -> Option<Ledger> {
    Ledger::decode(state(call, LEDGER)?)
}
