//! The function of a chaos run, served in-process by the application and remotely by the endpoint. It
//! counts, passes messages on, pays, wakes itself and hands records out, and keeps what is needed to
//! find anything lost, doubled or out of order. What it sees to be wrong itself it writes down.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dormouse_sdk::record::PlaygroundRecord;
use dormouse_sdk::{Context, FunctionError, Message, State, json_type};
use serde::{Deserialize, Serialize};

use crate::order::{Load, MONEY, Numbered, Order, Task, Wake, address, neighbour};
use crate::tracker::Tracker;

/// Where records go.
pub const EGRESS: &str = "io.statefun.playground/egress";
/// Their topic.
pub const TOPIC: &str = "tape";
/// How long after its time a cancelled waking is remembered; one that came still later would be wrong.
const SILENT_KEPT_MS: u64 = 120_000;
/// Findings that an actor keeps.
const WRONG_MAX: usize = 20;

/// Orders that have come, for each client.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Inbox(pub BTreeMap<u32, Tracker>);

/// The last number from and to each other actor.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Peers {
    pub received: BTreeMap<u32, u64>,
    pub sent: BTreeMap<u32, u64>,
}

/// Sums.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sums {
    pub money: i64,
    /// Of [`Task::Add`].
    pub added: u64,
    /// Messages of walks that have come.
    pub hops: u64,
    /// Records handed to the egress; the last one has this number.
    pub records: u64,
}

/// Wakings; each is named by client and serial.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Wakings {
    pub armed: u64,
    pub woken: u64,
    pub cancelled: u64,
    /// Neither woken nor cancelled, with the time at which they are due.
    pub open: BTreeMap<String, u64>,
    /// Cancelled, and woken all the same, with the time at which they were due: allowed when the
    /// cancellation came too late.
    pub woken_after_cancel: BTreeMap<String, u64>,
    /// Cancelled and not woken, with the time at which they were due; old ones are forgotten.
    pub silent: BTreeMap<String, u64>,
}

/// What an actor has seen to be wrong.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Wrong(pub Vec<String>);

/// Everything that an actor knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub inbox: Inbox,
    pub peers: Peers,
    pub sums: Sums,
    pub wakings: Wakings,
    pub wrong: Wrong,
}

json_type!(Inbox, "chaos/Inbox");
json_type!(Peers, "chaos/Peers");
json_type!(Sums, "chaos/Sums");
json_type!(Wakings, "chaos/Wakings");
json_type!(Wrong, "chaos/Wrong");
json_type!(Report, "chaos/Report");

/// The states, to be named where the function is registered.
pub const INBOX: State<Inbox> = State::new("inbox");
pub const PEERS: State<Peers> = State::new("peers");
pub const SUMS: State<Sums> = State::new("sums");
pub const WAKINGS: State<Wakings> = State::new("wakings");
pub const WRONG: State<Wrong> = State::new("wrong");

impl Default for Sums {
    fn default() -> Self {
        Self { money: MONEY, added: 0, hops: 0, records: 0 }
    }
}

/// The name of a waking.
#[must_use]
pub fn waking(client: u32, serial: u64) -> String {
    format!("{client}-{serial}")
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// What the function does with a message.
pub fn handle(ctx: &mut Context, message: &Message) -> Result<(), FunctionError> {
    if message.is::<Order>() {
        ordered(ctx, &message.decode()?)
    } else if message.is::<Numbered>() {
        came(ctx, &message.decode()?)
    } else {
        woken(ctx, &message.decode()?)
    }
}

fn ordered(ctx: &mut Context, order: &Order) -> Result<(), FunctionError> {
    if order.task == Task::Report {
        let report = Report {
            inbox: ctx.get(&INBOX)?.unwrap_or_default(),
            peers: ctx.get(&PEERS)?.unwrap_or_default(),
            sums: ctx.get(&SUMS)?.unwrap_or_default(),
            wakings: ctx.get(&WAKINGS)?.unwrap_or_default(),
            wrong: ctx.get(&WRONG)?.unwrap_or_default(),
        };
        return ctx.reply(report);
    }
    let mut inbox = ctx.get(&INBOX)?.unwrap_or_default();
    inbox.0.entry(order.client).or_default().see(order.serial);
    ctx.set(&INBOX, inbox)?;
    perform(ctx, order)?;
    if ctx.caller().is_some() {
        ctx.reply(order.serial.to_string())?;
    }
    Ok(())
}

fn perform(ctx: &mut Context, order: &Order) -> Result<(), FunctionError> {
    let mut sums = ctx.get(&SUMS)?.unwrap_or_default();
    match order.task {
        Task::Add(amount) => sums.added += amount,
        Task::Walk { hops, way } => pass_on(ctx, hops, way)?,
        Task::Pay { to, amount } if amount <= sums.money => {
            sums.money -= amount;
            send(ctx, to, Load::Money(amount))?;
        }
        Task::Arm { delay_ms } => arm(ctx, order, delay_ms)?,
        Task::Cancel { armed } => cancel(ctx, order.client, armed)?,
        Task::Tell { records } => {
            for _ in 0..records {
                sums.records += 1;
                let payload = format!("{} {}", ctx.id(), sums.records);
                ctx.send_egress(EGRESS, PlaygroundRecord { topic: TOPIC.to_owned(), payload })?;
            }
        }
        Task::Pay { .. } | Task::Report => {}
    }
    Ok(ctx.set(&SUMS, sums)?)
}

fn pass_on(ctx: &mut Context, hops: u32, way: u64) -> Result<(), FunctionError> {
    if hops == 0 {
        return Ok(());
    }
    let next = neighbour(ctx.id().parse()?, way, hops);
    send(ctx, next, Load::Walk { hops: hops - 1, way })
}

fn send(ctx: &mut Context, to: u32, load: Load) -> Result<(), FunctionError> {
    let mut peers = ctx.get(&PEERS)?.unwrap_or_default();
    let number = peers.sent.entry(to).or_default();
    *number += 1;
    let numbered = Numbered { number: *number, load };
    ctx.set(&PEERS, peers)?;
    ctx.send(address(to), numbered)
}

fn came(ctx: &mut Context, numbered: &Numbered) -> Result<(), FunctionError> {
    let caller = ctx.caller().ok_or_else(|| FunctionError::new("a numbered message of nobody"))?;
    let from: u32 = caller.id.parse()?;
    let mut peers = ctx.get(&PEERS)?.unwrap_or_default();
    let last = peers.received.entry(from).or_default();
    let (expected, found) = (*last + 1, numbered.number);
    *last = found;
    ctx.set(&PEERS, peers)?;
    if found != expected {
        wrong(ctx, format!("message {found} of actor {from} came, expected was {expected}"))?;
    }
    let mut sums = ctx.get(&SUMS)?.unwrap_or_default();
    match numbered.load {
        Load::Money(amount) => sums.money += amount,
        Load::Walk { hops, way } => {
            sums.hops += 1;
            pass_on(ctx, hops, way)?;
        }
    }
    Ok(ctx.set(&SUMS, sums)?)
}

fn arm(ctx: &mut Context, order: &Order, delay_ms: u64) -> Result<(), FunctionError> {
    let token = waking(order.client, order.serial);
    let due_ms = order.made_ms + delay_ms;
    let mut wakings = ctx.get(&WAKINGS)?.unwrap_or_default();
    wakings.armed += 1;
    wakings.open.insert(token.clone(), due_ms);
    ctx.set(&WAKINGS, wakings)?;
    let own = ctx.address().clone();
    let wake = Wake { client: order.client, serial: order.serial, due_ms };
    ctx.send_after_with_token(Duration::from_millis(delay_ms), token, own, wake)
}

fn cancel(ctx: &mut Context, client: u32, armed: u64) -> Result<(), FunctionError> {
    let token = waking(client, armed);
    let mut wakings = ctx.get(&WAKINGS)?.unwrap_or_default();
    if let Some(due_ms) = wakings.open.remove(&token) {
        wakings.cancelled += 1;
        wakings.silent.insert(token.clone(), due_ms);
    }
    let forgotten = now_ms().saturating_sub(SILENT_KEPT_MS);
    wakings.silent.retain(|_, due_ms| *due_ms > forgotten);
    ctx.set(&WAKINGS, wakings)?;
    ctx.cancel(token)
}

fn woken(ctx: &mut Context, wake: &Wake) -> Result<(), FunctionError> {
    let token = waking(wake.client, wake.serial);
    let now = now_ms();
    if now < wake.due_ms {
        wrong(ctx, format!("waking {token} came {} ms early", wake.due_ms - now))?;
    }
    let mut wakings = ctx.get(&WAKINGS)?.unwrap_or_default();
    wakings.woken += 1;
    if wakings.open.remove(&token).is_none() {
        if wakings.silent.remove(&token).is_none() {
            wrong(ctx, format!("waking {token} came twice, or was never armed"))?;
        }
        wakings.woken_after_cancel.insert(token, wake.due_ms);
    }
    Ok(ctx.set(&WAKINGS, wakings)?)
}

fn wrong(ctx: &mut Context, finding: String) -> Result<(), FunctionError> {
    let mut all = ctx.get(&WRONG)?.unwrap_or_default();
    if all.0.len() < WRONG_MAX {
        all.0.push(finding);
    }
    Ok(ctx.set(&WRONG, all)?)
}
