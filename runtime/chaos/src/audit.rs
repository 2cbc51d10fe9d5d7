//! Exact accounts: once everything has come to rest, what the actors have seen is compared with what the
//! clients know, the actors with each other, and the records that came with those that were sent.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use dormouse_chaos::actor::{Report, now_ms, waking};
use dormouse_chaos::order::{self, ACTORS, MONEY, ORDER, Order, Task};
use dormouse_interop::http;

use crate::ledger::Ledger;
use crate::processes::Application;
use crate::tape::Tape;

/// How long everything may take to come to rest once faults have ended.
const REST_WITHIN: Duration = Duration::from_secs(180);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(200);
/// Looks in a row that find nothing to do.
const QUIET_LOOKS: u32 = 3;
/// Findings that are printed.
const SHOWN_MAX: usize = 100;
/// What has to be 0 at rest.
const AT_REST: [&str; 3] = [
    "dormouse_backlog_messages",
    "dormouse_blocked_addresses",
    "dormouse_egress_unconfirmed_records",
];

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) orders: u64,
    pub(crate) doubtful: u64,
    pub(crate) refused: u64,
    pub(crate) hops: u64,
    pub(crate) woken: u64,
    pub(crate) cancelled: u64,
    pub(crate) records: u64,
    pub(crate) repeated: u64,
}

/// What clients ordered, as far as the actor has seen it.
#[derive(Debug, Default)]
struct Ordered {
    added: u64,
    hops: u64,
    armed: u64,
    records: u64,
}

/// Waits until nothing is left to do.
pub(crate) fn await_rest(application: &mut Application, tape: &Tape) -> Result<()> {
    let deadline = Instant::now() + REST_WITHIN;
    let mut quiet = 0;
    while quiet < QUIET_LOOKS {
        std::thread::sleep(POLL);
        application.check()?;
        let mut busy = Vec::new();
        for name in AT_REST {
            let value = application.metric(name)?;
            if value != 0.0 {
                busy.push(format!("{name} {value}"));
            }
        }
        // Delayed messages show in no metric.
        if busy.is_empty() && quiet == 0 {
            let open: usize =
                reports(application)?.values().map(|report| report.wakings.open.len()).sum();
            if open > 0 {
                busy.push(format!("{open} wakings have not come"));
            }
        }
        quiet = if busy.is_empty() { quiet + 1 } else { 0 };
        let wrong = tape.wrong();
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        if Instant::now() > deadline {
            bail!("not at rest {REST_WITHIN:?} after the last fault: {}", busy.join(", "));
        }
    }
    Ok(())
}

/// Compares everything with everything; the error has a line for each thing that is wrong.
pub(crate) fn compare(
    seed: u64,
    application: &Application,
    ledgers: &[Ledger],
    tape: &Tape,
) -> Result<Totals> {
    let reports = reports(application)?;
    let mut findings = tape.wrong();
    let mut totals = Totals::default();
    for ledger in ledgers {
        let [orders, doubtful, refused] = ledger.counts();
        totals.orders += orders;
        totals.doubtful += doubtful;
        totals.refused += refused;
    }
    (totals.records, totals.repeated) = tape.counts();
    let (mut walked, mut money) = (0, 0);
    for (actor, report) in &reports {
        let mut ordered = Ordered::default();
        for ledger in ledgers {
            let seen = report.inbox.0.get(&ledger.client).cloned().unwrap_or_default();
            findings.extend(ledger.compare(seed, *actor, &seen));
            let came = (1..=seen.last()).filter(|serial| seen.has(*serial));
            came.for_each(|serial| ordered.add(order::task(seed, ledger.client, *actor, serial)));
        }
        findings.extend(of_actor(*actor, report, &ordered, tape.highest(*actor)));
        findings.extend(late_wakings(*actor, report, ledgers, seed));
        findings.extend(pairs(*actor, report, &reports));
        walked += ordered.hops;
        money += report.sums.money;
        totals.hops += report.sums.hops;
        totals.woken += report.wakings.woken;
        totals.cancelled += report.wakings.cancelled;
    }
    equal(&mut findings, "messages of walks", totals.hops, walked);
    equal(&mut findings, "money of all actors", money, MONEY * i64::from(ACTORS));
    if findings.is_empty() {
        return Ok(totals);
    }
    let count = findings.len();
    findings.truncate(SHOWN_MAX);
    bail!("{count} findings:\n  {}", findings.join("\n  "))
}

/// What every actor knows.
fn reports(application: &Application) -> Result<BTreeMap<u32, Report>> {
    let order = Order { client: 0, serial: 0, made_ms: now_ms(), task: Task::Report };
    let body = serde_json::to_vec(&order)?;
    let content_type = format!("application/vnd.{ORDER}");
    let headers = [("content-type", content_type.as_str())];
    let ask = |actor| {
        let (function, id) = order::address(actor);
        let path = format!("/{function}/{id}?wait=30s");
        let answer = http::request("POST", application.ports.ingress, &path, &headers, &body)?;
        ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.text()?);
        let report = serde_json::from_slice(&answer.body).with_context(|| path)?;
        Ok((actor, report))
    };
    (0..ACTORS).map(ask).collect()
}

impl Ordered {
    fn add(&mut self, task: Task) {
        match task {
            Task::Add(amount) => self.added += amount,
            Task::Walk { hops, .. } => self.hops += u64::from(hops),
            Task::Arm { .. } => self.armed += 1,
            Task::Tell { records } => self.records += u64::from(records),
            Task::Pay { .. } | Task::Cancel { .. } | Task::Report => {}
        }
    }
}

/// Sums that an actor has against those of the orders that it has seen.
fn of_actor(actor: u32, report: &Report, ordered: &Ordered, on_tape: u64) -> Vec<String> {
    let mut findings: Vec<String> =
        report.wrong.0.iter().map(|wrong| format!("actor {actor}: {wrong}")).collect();
    let (sums, wakings) = (&report.sums, &report.wakings);
    let mut check = |what: &str, found, expected| {
        equal(&mut findings, &format!("actor {actor}: {what}"), found, expected);
    };
    check("sum", sums.added, ordered.added);
    check("records sent", sums.records, ordered.records);
    check("records that came", on_tape, ordered.records);
    check("wakings armed", wakings.armed, ordered.armed);
    check("wakings that have not come", wakings.open.len() as u64, 0);
    let came = wakings.woken - wakings.woken_after_cancel.len() as u64;
    check("wakings that came or were cancelled", came + wakings.cancelled, ordered.armed);
    findings
}

/// A cancellation that was answered before the waking was due must have kept it from coming.
fn late_wakings(actor: u32, report: &Report, ledgers: &[Ledger], seed: u64) -> Vec<String> {
    let mut findings = Vec::new();
    for ledger in ledgers {
        let answered = ledger.cancelled_ms.range((actor, 0)..(actor + 1, 0));
        for ((_, armed), at_ms) in answered {
            let name = waking(ledger.client, *armed);
            let due_ms = report.wakings.woken_after_cancel.get(&name);
            if due_ms.is_some_and(|due_ms| at_ms < due_ms) {
                let task = order::task(seed, ledger.client, actor, *armed);
                findings.push(format!(
                    "actor {actor}: waking {name} ({task:?}) came AFTER it was cancelled"
                ));
            }
        }
    }
    findings
}

/// What this actor has sent has come, all of it.
fn pairs(actor: u32, report: &Report, reports: &BTreeMap<u32, Report>) -> Vec<String> {
    let mut findings = Vec::new();
    for (to, sent) in &report.peers.sent {
        let received = reports.get(to).and_then(|report| report.peers.received.get(&actor));
        let what = format!("messages from actor {actor} to {to}");
        equal(&mut findings, &what, received.copied().unwrap_or(0), *sent);
    }
    findings
}

fn equal<T: Copy + PartialEq + std::fmt::Display>(
    findings: &mut Vec<String>,
    what: &str,
    found: T,
    expected: T,
) {
    if found != expected {
        findings.push(format!("{what}: {found}, expected {expected}"));
    }
}
