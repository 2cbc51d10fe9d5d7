//! What a client knows of its orders: everything is certain except what is written here. The audit
//! holds it against what the actors have seen.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_chaos::order::{self, ACTORS, Task};
use dormouse_chaos::tracker::Tracker;

/// One client's orders.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) client: u32,
    actors: Vec<Sent>,
    /// Cancellations that were answered by the actor: when, by actor and serial of what was armed.
    pub(crate) cancelled_ms: BTreeMap<(u32, u64), u64>,
}

/// Orders to one actor.
#[derive(Clone, Debug, Default)]
struct Sent {
    last: u64,
    /// Sent, and nobody said what became of them.
    doubtful: BTreeSet<u64>,
    /// Said not to be accepted.
    refused: BTreeSet<u64>,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Acknowledged; it must count.
    Accepted,
    /// Acknowledged by the actor itself, at this time.
    Done { at_ms: u64 },
    /// No answer; it may count, once.
    Doubtful,
    /// Refused; it must not count.
    Refused,
}

impl Ledger {
    pub(crate) fn new(client: u32) -> Self {
        let actors = vec![Sent::default(); ACTORS as usize];
        Self { client, actors, cancelled_ms: BTreeMap::new() }
    }

    /// The serial of the next order to this actor.
    pub(crate) fn next(&self, actor: u32) -> u64 {
        self.actors[actor as usize].last + 1
    }

    /// Notes what became of that order.
    pub(crate) fn note(&mut self, actor: u32, task: Task, fate: Fate) {
        let sent = &mut self.actors[actor as usize];
        sent.last += 1;
        match fate {
            Fate::Accepted => {}
            Fate::Done { at_ms } => {
                if let Task::Cancel { armed } = task {
                    self.cancelled_ms.insert((actor, armed), at_ms);
                }
            }
            Fate::Doubtful => drop(sent.doubtful.insert(sent.last)),
            Fate::Refused => drop(sent.refused.insert(sent.last)),
        }
    }

    /// Orders so far, and how many of them are doubtful and refused.
    pub(crate) fn counts(&self) -> [u64; 3] {
        self.actors.iter().fold([0; 3], |[all, doubtful, refused], sent| {
            let (more, less) = (sent.doubtful.len() as u64, sent.refused.len() as u64);
            [all + sent.last, doubtful + more, refused + less]
        })
    }

    /// Compares with what an actor has seen; a line for everything that is wrong.
    pub(crate) fn compare(&self, seed: u64, actor: u32, seen: &Tracker) -> Vec<String> {
        let sent = &self.actors[actor as usize];
        let mut findings = Vec::new();
        let mut find = |what: &str, serial: u64| {
            let task = order::task(seed, self.client, actor, serial);
            findings.push(format!(
                "order {serial} of client {} to actor {actor} {what}: {task:?}",
                self.client
            ));
        };
        for serial in 1..=sent.last.max(seen.last()) {
            match (seen.has(serial), sent.refused.contains(&serial)) {
                (true, _) if serial > sent.last => find("came, but was never sent", serial),
                (true, true) => find("came, but was refused", serial),
                (false, false) if !sent.doubtful.contains(&serial) => {
                    find("was acknowledged, and is MISSING", serial);
                }
                _ => {}
            }
        }
        seen.doubled.iter().for_each(|serial| find("came TWICE", *serial));
        let late = seen.late.iter().filter(|serial| !sent.doubtful.contains(serial));
        late.for_each(|serial| find("came OUT OF ORDER", *serial));
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_doubt_may_be_missing_or_late() {
        let mut ledger = Ledger::new(3);
        let fates = [Fate::Accepted, Fate::Doubtful, Fate::Refused, Fate::Accepted];
        for fate in fates {
            ledger.note(1, Task::Add(1), fate);
        }
        assert_eq!(ledger.counts(), [4, 1, 1]);
        let found = |numbers: &[u64]| {
            let mut seen = Tracker::default();
            numbers.iter().for_each(|number| seen.see(*number));
            let lines = ledger.compare(1, 1, &seen).into_iter();
            let words = lines.map(|line| line.split_once("actor 1 ").unwrap().1.to_owned());
            words.map(|line| line.split_once(':').unwrap().0.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found(&[1, 4]), Vec::<String>::new());
        assert_eq!(found(&[1, 4, 2]), Vec::<String>::new());
        assert_eq!(found(&[1]), ["was acknowledged, and is MISSING"]);
        assert_eq!(found(&[1, 4, 4]), ["came TWICE"]);
        assert_eq!(found(&[4, 1]), ["came OUT OF ORDER"]);
        assert_eq!(found(&[1, 3, 4]), ["came, but was refused"]);
        assert_eq!(found(&[1, 4, 5]), ["came, but was never sent"]);
    }
}
