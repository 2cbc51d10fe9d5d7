//! Reads the records that actors hand to the egress. After a lost connection an actor's records may begin
//! again at an earlier one; otherwise each has to follow the one before it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use dormouse_chaos::actor::TOPIC;
use dormouse_chaos::order::ACTORS;

use crate::connection::{Connection, Lost};

/// Pause when there is no record, or nobody to ask.
const PAUSE: Duration = Duration::from_millis(10);

/// Records so far.
#[derive(Debug)]
pub(crate) struct Tape {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    is_over: AtomicBool,
    seen: Mutex<Seen>,
}

/// What has come.
#[derive(Debug)]
struct Seen {
    actors: Vec<Heard>,
    /// Connections lost so far.
    losses: u64,
    /// Records that came again.
    repeated: u64,
    wrong: Vec<String>,
}

/// What has come of one actor.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    last: u64,
    highest: u64,
    /// Losses when the last record came.
    losses: u64,
}

impl Tape {
    /// Reads from this port until it is dropped.
    pub(crate) fn read(port: u16) -> Self {
        let seen = Seen {
            actors: vec![Heard::default(); ACTORS as usize],
            losses: 0,
            repeated: 0,
            wrong: Vec::new(),
        };
        let shared = Arc::new(Shared { is_over: AtomicBool::new(false), seen: Mutex::new(seen) });
        let reading = Arc::clone(&shared);
        let reader = std::thread::spawn(move || reading.read(port));
        Self { shared, reader: Some(reader) }
    }

    /// The number of the last record of each actor.
    pub(crate) fn highest(&self) -> Vec<u64> {
        self.shared.seen().actors.iter().map(|heard| heard.highest).collect()
    }

    /// Records of all actors, and how many of them came again.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let seen = self.shared.seen();
        (seen.actors.iter().map(|heard| heard.highest).sum(), seen.repeated)
    }

    /// What was wrong so far.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.shared.seen().wrong.clone()
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        drop(self.reader.take().map(JoinHandle::join));
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, port: u16) {
        let mut connection = Connection::new(port);
        while !self.is_over.load(Ordering::Relaxed) {
            match connection.request(&format!("GET /{TOPIC} HTTP/1.1\r\n"), b"") {
                Ok((200, text)) => self.seen().record(&text),
                Ok((404, _)) => std::thread::sleep(PAUSE),
                Ok((status, text)) => {
                    self.seen().wrong.push(format!("the egress answered {status}: {text}"));
                    return;
                }
                Err(lost) => {
                    if matches!(lost, Lost::Unanswered) {
                        self.seen().losses += 1;
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }
}

impl Seen {
    fn record(&mut self, text: &str) {
        if let Err(error) = self.try_record(text) {
            self.wrong.push(format!("record `{text}`: {error:#}"));
        }
    }

    fn try_record(&mut self, text: &str) -> Result<()> {
        let (actor, number) = text.split_once(' ').context("expected two numbers")?;
        let (actor, number): (usize, u64) = (actor.parse()?, number.parse()?);
        let losses = self.losses;
        let heard = self.actors.get_mut(actor).ok_or_else(|| anyhow!("no such actor"))?;
        let last = std::mem::replace(&mut heard.last, number);
        let before = std::mem::replace(&mut heard.losses, losses);
        if number <= heard.highest {
            self.repeated += 1;
        }
        heard.highest = heard.highest.max(number);
        if number > last + 1 {
            bail!("came after {last}: one between them is MISSING");
        }
        ensure!(number == last + 1 || losses > before, "came after {last}, OUT OF ORDER");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(numbers: &[u64], lost_after: usize) -> usize {
        let mut seen =
            Seen { actors: vec![Heard::default()], losses: 0, repeated: 0, wrong: Vec::new() };
        for (index, number) in numbers.iter().enumerate() {
            seen.losses += u64::from(index == lost_after);
            seen.record(&format!("0 {number}"));
        }
        seen.wrong.len()
    }

    #[test]
    fn records_may_begin_again_after_a_loss_and_never_be_missing() {
        assert_eq!(wrong(&[1, 2, 3], 9), 0);
        assert_eq!(wrong(&[1, 2, 3, 2, 3, 4], 3), 0);
        assert_eq!(wrong(&[1, 2, 3, 2, 3, 4], 9), 1);
        assert_eq!(wrong(&[1, 2, 4], 9), 1);
        assert_eq!(wrong(&[1, 2, 3, 5], 3), 1);
        assert_eq!(wrong(&[1, 2, 2], 9), 1);
    }
}
