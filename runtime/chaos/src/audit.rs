//! Exact accounts: once everything has come to rest, what the actors have seen is compared with what the
//! clients know, the actors with each other, and the records that came with those that were sent.

use std::collections::BTreeMap;
use std::fmt;
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
    /// Of walks.
    pub(crate) hops: u64,
    pub(crate) woken: u64,
    pub(crate) cancelled: u64,
    pub(crate) records: u64,
    pub(crate) repeated: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} orders ({} in doubt, {} refused), {} messages of walks, {} wakings, \
             {} cancelled, {} records ({} came again)",
            self.orders,
            self.doubtful,
            self.refused,
            self.hops,
            self.woken,
            self.cancelled,
            self.records,
            self.repeated
        )
    }
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
    let (mut totals, mut findings) =
        account(seed, &reports(application)?, ledgers, &tape.highest());
    (totals.records, totals.repeated) = tape.counts();
    findings.extend(tape.wrong());
    if findings.is_empty() {
        return Ok(totals);
    }
    let count = findings.len();
    findings.truncate(SHOWN_MAX);
    bail!("{count} findings:\n  {}", findings.join("\n  "))
}

/// What the actors report against what the clients know, and the last record of each actor.
fn account(
    seed: u64,
    reports: &BTreeMap<u32, Report>,
    ledgers: &[Ledger],
    on_tape: &[u64],
) -> (Totals, Vec<String>) {
    let mut findings = Vec::new();
    let mut totals = Totals::default();
    for ledger in ledgers {
        let [orders, doubtful, refused] = ledger.counts();
        totals.orders += orders;
        totals.doubtful += doubtful;
        totals.refused += refused;
    }
    let (mut walked, mut money) = (0, 0);
    for (actor, report) in reports {
        let mut ordered = Ordered::default();
        for ledger in ledgers {
            let seen = report.inbox.0.get(&ledger.client).cloned().unwrap_or_default();
            findings.extend(ledger.compare(seed, *actor, &seen));
            let came = (1..=seen.last()).filter(|serial| seen.has(*serial));
            came.for_each(|serial| ordered.add(order::task(seed, ledger.client, *actor, serial)));
        }
        findings.extend(of_actor(*actor, report, &ordered, on_tape[*actor as usize]));
        findings.extend(late_wakings(*actor, report, ledgers, seed));
        findings.extend(pairs(*actor, report, reports));
        walked += ordered.hops;
        money += report.sums.money;
        totals.hops += report.sums.hops;
        totals.woken += report.wakings.woken;
        totals.cancelled += report.wakings.cancelled;
    }
    equal(&mut findings, "messages of walks", totals.hops, walked);
    equal(&mut findings, "money of all actors", money, MONEY * i64::from(ACTORS));
    (totals, findings)
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

fn equal<T: Copy + PartialEq + fmt::Display>(
    findings: &mut Vec<String>,
    what: &str,
    found: T,
    expected: T,
) {
    if found != expected {
        findings.push(format!("{what}: {found}, expected {expected}"));
    }
}

#[cfg(test)]
mod tests {
    use dormouse_chaos::actor::{Inbox, Peers, Sums, Wakings, Wrong};
    use dormouse_chaos::tracker::Tracker;

    use super::*;
    use crate::ledger::Fate;

    const SEED: u64 = 5;
    const SERIALS: u64 = 16;

    /// Client 0 has sent sixteen orders to actor 0, which has seen all of them; nobody else did anything.
    fn whole() -> (BTreeMap<u32, Report>, Ledger, Vec<u64>) {
        let mut reports: BTreeMap<u32, Report> = (0..ACTORS)
            .map(|actor| {
                let report = Report {
                    inbox: Inbox::default(),
                    peers: Peers::default(),
                    sums: Sums::default(),
                    wakings: Wakings::default(),
                    wrong: Wrong::default(),
                };
                (actor, report)
            })
            .collect();
        let (mut seen, mut ordered, mut ledger) =
            (Tracker::default(), Ordered::default(), Ledger::new(0));
        for serial in 1..=SERIALS {
            let task = order::task(SEED, 0, 0, serial);
            seen.see(serial);
            ordered.add(task);
            ledger.note(0, task, Fate::Done { at_ms: 1_000 });
        }
        let report = reports.get_mut(&0).unwrap();
        report.inbox.0.insert(0, seen);
        report.sums.added = ordered.added;
        report.sums.hops = ordered.hops;
        report.sums.records = ordered.records;
        (report.wakings.armed, report.wakings.woken) = (ordered.armed, ordered.armed);
        let mut on_tape = vec![0; ACTORS as usize];
        on_tape[0] = ordered.records;
        (reports, ledger, on_tape)
    }

    /// The only finding after such a change.
    fn finding(change: impl FnOnce(&mut Report)) -> String {
        let (mut reports, ledger, on_tape) = whole();
        change(reports.get_mut(&0).unwrap());
        let (_, findings) = account(SEED, &reports, &[ledger], &on_tape);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings[0].clone()
    }

    #[test]
    fn accounts_that_are_whole_have_no_findings() {
        let (reports, ledger, on_tape) = whole();
        let (totals, findings) = account(SEED, &reports, &[ledger], &on_tape);
        assert_eq!(findings, Vec::<String>::new());
        assert_eq!(totals.orders, SERIALS);
        assert!(totals.hops > 0 && totals.woken > 0 && on_tape[0] > 0);
    }

    #[test]
    fn every_account_is_compared() {
        assert!(finding(|report| report.sums.money -= 1).starts_with("money of all actors: 63999"));
        assert!(finding(|report| report.sums.hops += 1).starts_with("messages of walks"));
        assert!(finding(|report| report.sums.added -= 1).starts_with("actor 0: sum"));
        assert!(finding(|report| report.sums.records -= 1).contains("records sent"));
        assert!(finding(|report| report.wakings.woken += 1).contains("came or were cancelled"));
        let open = finding(|report| report.wakings.open = [("0-8".to_owned(), 1)].into());
        assert!(open.contains("have not come: 1"), "{open}");
        let lost = finding(|report| report.peers.sent = [(3, 2)].into());
        assert_eq!(lost, "messages from actor 0 to 3: 0, expected 2");
        assert!(finding(|report| report.wrong.0.push("that".to_owned())).contains("that"));
        let (reports, ledger, mut on_tape) = whole();
        on_tape[0] -= 1;
        let (_, findings) = account(SEED, &reports, &[ledger], &on_tape);
        assert!(findings[0].contains("records that came"), "{findings:?}");
    }

    #[test]
    fn a_waking_after_an_answered_cancellation_is_found() {
        let (mut reports, mut ledger, _) = whole();
        ledger.note(0, Task::Cancel { armed: 8 }, Fate::Done { at_ms: 1_000 });
        let mut late = |due_ms| {
            let wakings = &mut reports.get_mut(&0).unwrap().wakings;
            wakings.woken_after_cancel = [("0-8".to_owned(), due_ms)].into();
            late_wakings(0, &reports[&0], std::slice::from_ref(&ledger), SEED).len()
        };
        assert_eq!((late(1_000), late(1_001)), (0, 1));
    }
}
