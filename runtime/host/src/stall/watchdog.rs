//! The thread that looks whether shards, functions, egresses and the store go on. It runs beside them, so
//! that it sees a shard whose thread is held up; an idle shard is woken to see whether it takes a turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dormouse_protocol::FunctionType;

use crate::driver::inbox::Incoming;
use crate::driver::process::Process;
use crate::plan::functions::IN_PROCESS;
use crate::stall::pulse::{Progress, StorePulse};
use crate::stall::{Stall, StallKind};

/// Looks within the time after which something is said to stand still.
const LOOKS: u32 = 4;

/// The running thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What was seen of one thing.
#[derive(Clone, Copy, Debug)]
struct Track {
    finished: u64,
    /// When it was last seen to go on, or to have nothing to do.
    since: Instant,
    is_told: bool,
}

/// What one look found of one thing.
#[derive(Debug)]
struct Seen {
    kind: StallKind,
    name: String,
    has_work: bool,
    /// Grows with everything that is finished.
    finished: u64,
}

#[derive(Debug)]
struct Looks {
    process: Arc<Process>,
    after: Duration,
    tracks: BTreeMap<(StallKind, String), Track>,
    /// Beats of each shard at the last look.
    beats: Vec<u64>,
    /// By function type: failures when it last succeeded.
    failures: BTreeMap<FunctionType, (u64, u64)>,
    /// Function types with failures since they last succeeded, at the present look.
    is_failing: BTreeSet<FunctionType>,
}

impl Watchdog {
    /// Starts the thread. What stands still for `after` is told.
    pub(crate) fn start(process: Arc<Process>, after: Duration) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let looks = Looks {
            beats: vec![0; process.shards()],
            process,
            after,
            tracks: BTreeMap::new(),
            failures: BTreeMap::new(),
            is_failing: BTreeSet::new(),
        };
        let thread = std::thread::Builder::new().name("watchdog".to_owned());
        let thread = thread.spawn(move || looks.run(&stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Track {
    /// What follows from a look: whether it begins or ends to stand still.
    fn look(&mut self, seen: &Seen, after: Duration) -> Option<bool> {
        if seen.finished == self.finished && seen.has_work {
            let begins = !self.is_told && self.since.elapsed() >= after;
            self.is_told |= begins;
            return begins.then_some(true);
        }
        (self.finished, self.since) = (seen.finished, Instant::now());
        std::mem::take(&mut self.is_told).then_some(false)
    }
}

impl Looks {
    fn run(mut self, stopped: &Receiver<()>) {
        let pause = self.after / LOOKS;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let mut seen = Vec::new();
            let goes_on = self.shards(&mut seen);
            self.store(&mut seen, &goes_on);
            self.functions(&mut seen, &goes_on);
            self.egresses(&mut seen);
            for seen in seen {
                self.look(seen);
            }
        }
    }

    fn look(&mut self, seen: Seen) {
        let key = (seen.kind, seen.name.clone());
        let first = Track { finished: seen.finished, since: Instant::now(), is_told: false };
        let track = self.tracks.entry(key).or_insert(first);
        let since = track.since;
        let stalls = &self.process.metrics.stalls;
        match track.look(&seen, self.after) {
            None => {}
            Some(true) => {
                let cause = self.cause(&seen);
                let stall = Stall { kind: seen.kind, name: seen.name, cause, since };
                tracing::warn!(kind = stall.kind.as_str(), name = %stall.name, "{stall}");
                stalls.begin(stall);
            }
            Some(false) => {
                let stood = stalls.end(seen.kind, &seen.name).unwrap_or_default();
                let (kind, name) = (seen.kind.as_str(), &seen.name);
                let seconds = stood.as_secs_f64();
                tracing::warn!(kind, %name, "{kind} {name} goes on after {seconds:.1} s");
            }
        }
    }

    /// A shard takes a turn when it is woken. Answers which ones have since the last look.
    fn shards(&mut self, seen: &mut Vec<Seen>) -> Vec<bool> {
        let mut goes_on = Vec::new();
        for (shard, pulse) in self.process.pulses.iter().enumerate() {
            let beats = pulse.beats();
            let has_beaten = beats != std::mem::replace(&mut self.beats[shard], beats);
            goes_on.push(has_beaten);
            let (name, has_work) = (shard.to_string(), !pulse.has_ended());
            seen.push(Seen { kind: StallKind::Shard, name, has_work, finished: beats });
            self.process.inboxes[shard].wake();
        }
        goes_on
    }

    /// Of a shard that stands still itself nothing can be said of what it waits for.
    fn store(&self, seen: &mut Vec<Seen>, goes_on: &[bool]) {
        let mut one = |name: &str, of: fn(&StorePulse) -> &Progress| {
            let shards = self.process.pulses.iter().zip(goes_on);
            let open = shards.filter(|(_, goes_on)| **goes_on).map(|(p, _)| of(&p.store).open());
            let has_work = open.sum::<u64>() > 0;
            let finished = self.process.pulses.iter().map(|p| of(&p.store).ended()).sum();
            seen.push(Seen { kind: StallKind::Store, name: name.to_owned(), has_work, finished });
        };
        one("commits", |store| &store.commits);
        one("reads", |store| &store.reads);
        let finished =
            self.process.metrics.shards().iter().map(|shard| shard.work.messages.get()).sum();
        let has_work = self.process.gate.is_saturated();
        seen.push(Seen {
            kind: StallKind::Store,
            name: "checkpoint".to_owned(),
            has_work,
            finished,
        });
    }

    fn functions(&mut self, seen: &mut Vec<Seen>, goes_on: &[bool]) {
        let shards = self.process.metrics.shards();
        let blocked: u64 = shards.iter().map(|s| s.load.blocked_addresses.get()).sum();
        // Calls under way, those that succeeded, those that failed.
        let mut sums: BTreeMap<FunctionType, [u64; 3]> = BTreeMap::new();
        for (shard, goes_on) in shards.iter().zip(goes_on) {
            shard.each_function(|function_type, counts| {
                let sum = sums.entry(function_type).or_default();
                let (ended, failed) = (counts.ended.get(), counts.failures.get());
                if *goes_on {
                    sum[0] += counts.invocations.get().saturating_sub(ended + failed);
                }
                sum[1] += ended;
                sum[2] += failed;
            });
        }
        self.is_failing.clear();
        for (function_type, [open, ended, failed]) in sums {
            let (then, at_success) = self.failures.entry(function_type).or_insert((ended, failed));
            if *then != ended {
                (*then, *at_success) = (ended, failed);
            }
            // Between two attempts none is under way.
            let is_failing = blocked > 0 && failed > *at_success;
            if is_failing {
                self.is_failing.insert(function_type);
            }
            let has_work = open > 0 || is_failing;
            let name = function_type.to_string();
            let key = (StallKind::Function, name.clone());
            let is_still = |track: &Track| track.finished == ended && !track.is_told;
            if open > 0 && self.tracks.get(&key).is_some_and(is_still) {
                for inbox in &self.process.inboxes {
                    inbox.push(Incoming::NameLongest { function_type });
                }
            }
            seen.push(Seen { kind: StallKind::Function, name, has_work, finished: ended });
        }
    }

    fn egresses(&self, seen: &mut Vec<Seen>) {
        for (id, counts) in &self.process.egress_counts {
            let (kind, name) = (StallKind::Egress, id.clone());
            let (has_work, finished) = (counts.unconfirmed() > 0, counts.confirmed());
            seen.push(Seen { kind, name, has_work, finished });
        }
    }

    fn cause(&self, seen: &Seen) -> String {
        match seen.kind {
            StallKind::Shard => self.cause_of_shard(&seen.name),
            StallKind::Store => match seen.name.as_str() {
                "reads" => "the disk of the data directory does not answer reads".to_owned(),
                "checkpoint" => {
                    "it has more changes in memory than it may, and its checkpoint does not keep up; look \
                     at the disk of the data directory, and who else uses it"
                        .to_owned()
                }
                _ => {
                    "commits do not become durable; look at the disk of the data directory (space, \
                      errors, how long an fdatasync takes)"
                        .to_owned()
                }
            },
            StallKind::Function => self.cause_of_function(&seen.name),
            StallKind::Egress => {
                let waiting = self.process.egress_counts.get(&seen.name);
                let waiting = waiting.map_or(0, |counts| counts.unconfirmed());
                format!("nobody takes its records: {waiting} wait for their confirmation")
            }
        }
    }

    fn cause_of_shard(&self, name: &str) -> String {
        let pulse = name.parse::<usize>().ok().and_then(|shard| self.process.pulses.get(shard));
        let running = pulse.and_then(|pulse| {
            let index = pulse.function_index()?;
            let function_type = self.type_of(index)?;
            Some(format!("{function_type}/{}", pulse.id()))
        });
        match running {
            Some(address) => format!(
                "the function of {address} does not give the thread back (a sleep, a lock, a loop \
                 without an end?); everything else on this shard waits"
            ),
            None => {
                "its thread is held up outside of any function; everything on it waits".to_owned()
            }
        }
    }

    fn type_of(&self, index: usize) -> Option<FunctionType> {
        let mut found = None;
        for shard in self.process.metrics.shards() {
            shard.each_function(|function_type, _| {
                if function_type.index() == index {
                    found = Some(function_type);
                }
            });
        }
        found
    }

    fn cause_of_function(&self, name: &str) -> String {
        let served = self.process.functions.served_at(name).unwrap_or(IN_PROCESS);
        let longest = self.process.pulses.iter().find_map(|pulse| {
            let longest = pulse.longest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            longest.clone().filter(|longest| longest.function_type.as_str() == name)
        });
        let is_failing = self.is_failing.iter().any(|failing| failing.as_str() == name);
        let what =
            if is_failing { "calls of it fail, as the log says" } else { "it does not answer" };
        match longest {
            Some(longest) => format!("{served}: {what}; {name}/{} has waited longest", longest.id),
            None => format!("{served}: {what}"),
        }
    }
}
