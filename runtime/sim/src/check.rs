//! What must be true when everything has come to rest, worked out from what functions, clients and
//! egresses saw and from the rows that are left.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_engine::keys::{self, Key};
use dormouse_protocol::{Address, FunctionType};

use crate::history::{Id, Origin};
use crate::payload;
use crate::world::World;

mod delayed;
mod entries;
mod given_up;
mod states;
mod store;

/// The part of history that became true, and what still waits.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Runs that led to the final ledgers, by address, in order.
    pub(crate) runs: BTreeMap<Address, Vec<Id>>,
    pub(crate) survivors: BTreeSet<Id>,
    /// Messages by the run that applied them.
    pub(crate) applied: BTreeMap<Id, Id>,
    /// Messages to functions that nobody serves, by target, in order.
    pub(crate) waiting: BTreeMap<Address, Vec<Id>>,
    /// Messages that were given up: dead letters, and those that were dropped.
    pub(crate) given_up: BTreeSet<Id>,
    /// All that were dead letters at some time: others have overtaken them.
    pub(crate) overtaken: BTreeSet<Id>,
}

pub(crate) fn check(world: &World) -> Result<(), String> {
    let mut truth = gather(world)?;
    given_up::gather(world, &mut truth)?;
    check_causes(world, &truth)?;
    check_order(world, &truth)?;
    check_ingress(world, &truth)?;
    check_egress(world, &truth)?;
    check_money(world, &truth)?;
    delayed::check(world, &truth)?;
    store::check(world)?;
    entries::check(world, &truth)?;
    states::check(world, &truth)
}

/// Follows the final ledgers back, and looks at the rows that are left.
fn gather(world: &World) -> Result<Truth, String> {
    let mut truth = Truth::default();
    let rows = &world.store.visible.rows;
    if !world.store.is_all_durable() {
        return Err("not everything became durable".to_owned());
    }
    for (key, value) in rows {
        let (partition, parsed) = keys::parse(key).map_err(|error| error.to_string())?;
        match parsed {
            Key::State { id, function_type, name } if name == payload::LEDGER => {
                let address = Address::new(parse_type(function_type)?, id);
                follow(world, &mut truth, &address)?;
            }
            Key::Pending { id, function_type, .. } => {
                let address = Address::new(parse_type(function_type)?, id);
                if world.serves(&address) {
                    return Err(format!("a message for {address} is left pending"));
                }
                let message = find_number(world, value, &address)?;
                truth.waiting.entry(address).or_default().push(message);
            }
            Key::Due { .. } | Key::Token { .. } | Key::Egress { .. } => {
                return Err(format!("left behind in {partition}: {parsed:?}"));
            }
            Key::Outbox { receiver, number } => {
                let taken = world.store.visible.taken(partition, receiver);
                if world.scenario.is_prefix == 0 || number > taken {
                    return Err(format!("left behind in {partition}: {parsed:?}, taken {taken}"));
                }
            }
            _ => {}
        }
    }
    Ok(truth)
}

fn parse_type(text: &str) -> Result<FunctionType, String> {
    FunctionType::parse(text).map_err(|error| error.to_string())
}

fn follow(world: &World, truth: &mut Truth, address: &Address) -> Result<(), String> {
    let ledger = world.ledger_in(&world.store.visible, address);
    let mut runs = Vec::new();
    let mut expected = ledger;
    for (id, run) in world.history.chain(ledger) {
        if run.address != *address || Some(run.ledger) != expected || run.done.is_none() {
            return Err(format!("{address} keeps a ledger that nobody wrote: {expected:?}"));
        }
        expected = run.given;
        runs.push(id);
        truth.survivors.insert(id);
        for message in &run.messages {
            if let Some(other) = truth.applied.insert(*message, id) {
                return Err(format!("message {message} is applied by runs {other} and {id}"));
            }
        }
    }
    if expected.is_some() {
        return Err(format!("{address} begins with a ledger that nobody wrote: {expected:?}"));
    }
    let applied: usize = runs.iter().map(|run| world.history.run(*run).messages.len()).sum();
    if ledger.is_none_or(|ledger| ledger.applied != applied as u64) {
        return Err(format!("{address} counts {ledger:?}, applied were {applied}"));
    }
    runs.reverse();
    truth.runs.insert(address.clone(), runs);
    Ok(())
}

/// The id of a message in a pending row: the last bytes hold it, before its padding.
fn find_number(world: &World, row: &[u8], address: &Address) -> Result<Id, String> {
    for padding in [0, 10, 150, 200] {
        let Some(start) = row.len().checked_sub(8 + padding) else {
            continue;
        };
        let is_padded = row[start + 8..].iter().all(|byte| *byte == 0xaa);
        let id = payload::number(&row[start..]).filter(|_| is_padded);
        if let Some(id) = id
            && world.history.find_sent(id).is_some_and(|sent| sent.target == *address)
        {
            return Ok(id);
        }
    }
    Err(format!("a message that nobody sent waits for {address}"))
}

impl Truth {
    /// Whether the message had its effect, or waits for somebody to serve its target.
    pub(crate) fn has(&self, world: &World, message: Id) -> bool {
        let target = &world.history.sent(message).target;
        let waits = self.waiting.get(target).is_some_and(|ids| ids.contains(&message));
        waits || self.applied.contains_key(&message) || self.given_up.contains(&message)
    }
}

/// What was applied or waits was sent by somebody whose own work became true.
fn check_causes(world: &World, truth: &Truth) -> Result<(), String> {
    let waiting = truth.waiting.values().flatten().chain(&truth.given_up);
    for message in truth.applied.keys().chain(waiting) {
        let sent = world.history.sent(*message);
        let cause = match sent.origin {
            Origin::Ingress { .. } => continue,
            Origin::Run(run) | Origin::Delayed { run, .. } => run,
        };
        if !truth.survivors.contains(&cause) {
            return Err(format!("message {message} had an effect, run {cause} that sent it not"));
        }
    }
    for (address, ids) in &truth.waiting {
        let distinct: BTreeSet<_> = ids.iter().collect();
        if distinct.len() != ids.len() {
            return Err(format!("a message waits twice for {address}: {ids:?}"));
        }
        if let Some(id) = ids.iter().find(|id| truth.applied.contains_key(id)) {
            return Err(format!("message {id} is applied and waits"));
        }
    }
    Ok(())
}

/// From each sender to each target everything arrived, in the order sent.
fn check_order(world: &World, truth: &Truth) -> Result<(), String> {
    let mut sent = BTreeMap::<(&Address, &Address), Vec<Id>>::new();
    for (sender, runs) in &truth.runs {
        for run in runs {
            let sends = world.history.run(*run).sends.iter();
            for message in sends.filter(|id| !truth.overtaken.contains(id)) {
                let target = &world.history.sent(*message).target;
                sent.entry((sender, target)).or_default().push(*message);
            }
        }
    }
    let mut arrived = BTreeMap::<(&Address, &Address), Vec<Id>>::new();
    let mut arrive = |target, message: Id| {
        if let Origin::Run(run) = world.history.sent(message).origin
            && !truth.overtaken.contains(&message)
        {
            let sender = &world.history.run(run).address;
            arrived.entry((sender, target)).or_default().push(message);
        }
    };
    for (target, runs) in &truth.runs {
        for run in runs {
            world.history.run(*run).messages.iter().for_each(|id| arrive(target, *id));
        }
    }
    for (target, ids) in &truth.waiting {
        ids.iter().for_each(|id| arrive(target, *id));
    }
    for (pair, sent) in &sent {
        if arrived.get(pair) != Some(sent) {
            let (sender, target) = pair;
            let arrived = arrived.get(pair);
            return Err(format!("{sender} sent {sent:?} to {target}, arrived are {arrived:?}"));
        }
    }
    Ok(())
}

/// What a client was told is durable had its effect; nobody is left without an answer.
fn check_ingress(world: &World, truth: &Truth) -> Result<(), String> {
    let mut last = BTreeMap::<&Address, Id>::new();
    for runs in truth.runs.values() {
        for message in runs.iter().flat_map(|run| &world.history.run(*run).messages) {
            let sent = world.history.sent(*message);
            if let Origin::Ingress { .. } = sent.origin
                && !truth.overtaken.contains(message)
                && let Some(before) = last.insert(&sent.target, *message)
                && before > *message
            {
                return Err(format!("ingress messages {message}, {before} changed places"));
            }
        }
    }
    for (id, sent) in world.history.all_sent() {
        let Origin::Ingress { life, acknowledged } = sent.origin else {
            continue;
        };
        let is_last_life = world.is_last_life(life);
        if is_last_life && !acknowledged && !sent.is_excused {
            return Err(format!("message {id} was never acknowledged"));
        }
        let is_question = sent.reply_to.is_some();
        if acknowledged && !is_question && !truth.has(world, id) {
            return Err(format!("message {id} was acknowledged, it had no effect"));
        }
        let is_answered = world.history.replied.contains(&id) || !world.serves(&sent.target);
        let is_answered = is_answered || truth.overtaken.contains(&id);
        if is_question && is_last_life && !is_answered && !sent.is_excused {
            return Err(format!("question {id} was never answered"));
        }
        let is_told = world.history.told.contains(&id) || world.history.replied.contains(&id);
        let is_given_up = is_question && truth.overtaken.contains(&id);
        if is_given_up && is_last_life && !is_told && !sent.is_excused {
            return Err(format!("question {id} was given up, and nobody was told"));
        }
    }
    Ok(())
}

/// All records of true runs left, in the order of their numbers, and no others.
fn check_egress(world: &World, truth: &Truth) -> Result<(), String> {
    for (run, index) in world.history.out_numbers.keys() {
        if !truth.survivors.contains(run) {
            return Err(format!("record {index} of run {run} left, the run was lost"));
        }
    }
    for (address, runs) in &truth.runs {
        let mut last = BTreeMap::new();
        for run in runs {
            for (index, outbox) in world.history.run(*run).egress.iter().enumerate() {
                let number = world.history.out_numbers.get(&(*run, index));
                let number = number.ok_or(format!("record {index} of run {run} never left"))?;
                if last.insert(outbox, number).is_some_and(|before| before >= number) {
                    return Err(format!("records of {address} for {outbox} changed places"));
                }
            }
        }
    }
    Ok(())
}

/// Money only comes in by ingresses: what they brought is what all have, or is on its way.
fn check_money(world: &World, truth: &Truth) -> Result<(), String> {
    let mut brought = 0;
    let mut held = 0;
    let waiting = truth.waiting.values().flatten().chain(&truth.given_up);
    for message in truth.applied.keys().chain(waiting.clone()) {
        let sent = world.history.sent(*message);
        brought += if matches!(sent.origin, Origin::Ingress { .. }) { sent.amount } else { 0 };
    }
    for message in waiting {
        held += world.history.sent(*message).amount;
    }
    for address in truth.runs.keys() {
        let ledger = world.ledger_in(&world.store.visible, address);
        held += ledger.map_or(0, |ledger| ledger.balance);
    }
    if brought != held {
        return Err(format!("{brought} came in, {held} are there"));
    }
    Ok(())
}
