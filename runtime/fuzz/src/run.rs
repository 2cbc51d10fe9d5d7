//! The loop: takes an input of the corpus, mutates it, feeds it, and keeps it when it came by a new
//! place. An input that never ends is noticed by a watchdog, which ends the process.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;

use crate::coverage::Seen;
use crate::memory::peak_of;
use crate::mutate::mutate;
use crate::targets::Target;

/// An input that takes longer is a finding. Generous: the machine may be busy.
pub const TIME_MAX: Duration = Duration::from_secs(10);
/// An input that takes more memory is a finding: a manifest may expand to 64 MB.
pub const MEMORY_BYTES_MAX: usize = 256 << 20;
/// Inputs kept in memory beside the corpus.
const ADDED_MAX: usize = 20_000;

/// How long to go on.
#[derive(Clone, Copy, Debug)]
pub enum Budget {
    Inputs(u64),
    Time(Duration),
}

/// What was done.
#[derive(Debug, Default)]
pub struct Report {
    pub inputs: u64,
    /// Places of the program that were covered; 0 when it is built without counters.
    pub covered: usize,
    /// Inputs that covered something new.
    pub added: Vec<Vec<u8>>,
    pub slowest: Duration,
    /// The most memory that one input took, in bytes.
    pub memory_bytes: usize,
    watched: Arc<Mutex<Watched>>,
}

/// The input that is being fed, and since when.
#[derive(Debug, Default)]
struct Watched {
    input: Vec<u8>,
    since: Option<Instant>,
}

/// Where an input that shows a mistake in `target` is left.
#[must_use]
pub fn finding_path(target: &str) -> PathBuf {
    std::env::temp_dir().join(format!("dormouse-fuzz-{target}"))
}

/// Ends the process when an input takes many times what it may.
fn watch(target: &'static str) -> Arc<Mutex<Watched>> {
    let watched = Arc::new(Mutex::new(Watched::default()));
    let watching: Weak<Mutex<Watched>> = Arc::downgrade(&watched);
    std::thread::spawn(move || {
        while let Some(watched) = watching.upgrade() {
            let watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
            if watched.since.is_some_and(|since| since.elapsed() > 6 * TIME_MAX) {
                let path = finding_path(target);
                drop(std::fs::write(&path, &watched.input));
                eprintln!("{target}: an input never ends: {}", path.display());
                std::process::exit(1);
            }
            drop(watched);
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    watched
}

/// An input that shows a mistake.
#[derive(Debug)]
pub struct Finding {
    pub input: Vec<u8>,
    pub what: String,
}

/// The inputs in `directory`, by name.
pub fn corpus(directory: &Path) -> Result<Vec<Vec<u8>>> {
    let mut inputs = BTreeMap::new();
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("{}: the corpus cannot be read", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        inputs.insert(path.clone(), std::fs::read(path)?);
    }
    anyhow::ensure!(!inputs.is_empty(), "{}: the corpus is empty", directory.display());
    Ok(inputs.into_values().collect())
}

/// Feeds the corpus and mutations of it; the same with the same `seed` and number of inputs, as far as
/// no coverage leads it.
pub fn fuzz(
    target: &Target,
    corpus: &[Vec<u8>],
    budget: Budget,
    seed: u64,
) -> std::result::Result<Report, Box<Finding>> {
    let began = Instant::now();
    let mut random = Rng::with_seed(seed);
    let mut seen = Seen::new();
    let mut report = Report { watched: watch(target.name), ..Report::default() };
    for input in corpus {
        feed(target, input, &mut report)?;
        seen.note();
    }
    let goes_on = |report: &Report| match budget {
        Budget::Inputs(inputs) => report.inputs < inputs,
        Budget::Time(time) => began.elapsed() < time,
    };
    while goes_on(&report) {
        let pick = |random: &mut Rng, added: &[Vec<u8>]| {
            let at = random.usize(..corpus.len() + added.len());
            corpus.get(at).unwrap_or_else(|| &added[at - corpus.len()]).clone()
        };
        let (one, other) = (pick(&mut random, &report.added), pick(&mut random, &report.added));
        let input = mutate(&one, &other, &mut random);
        feed(target, &input, &mut report)?;
        if seen.note() && report.added.len() < ADDED_MAX {
            report.added.push(input);
        }
    }
    report.covered = seen.places;
    Ok(report)
}

fn feed(
    target: &Target,
    input: &[u8],
    report: &mut Report,
) -> std::result::Result<(), Box<Finding>> {
    let finding = |what: String| Box::new(Finding { input: input.to_vec(), what });
    let began = Instant::now();
    let note = |since| {
        let mut watched = report.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.since = since;
        if since.is_some() {
            watched.input.clear();
            watched.input.extend_from_slice(input);
        }
    };
    note(Some(began));
    let mut fed = Ok(());
    let memory = peak_of(|| fed = catch_unwind(AssertUnwindSafe(|| (target.feed)(input))));
    let took = began.elapsed();
    note(None);
    report.inputs += 1;
    report.slowest = report.slowest.max(took);
    report.memory_bytes = report.memory_bytes.max(memory);
    if fed.is_err() {
        return Err(finding(String::from("it panics (see the message before)")));
    }
    if took > TIME_MAX {
        return Err(finding(format!("it takes {took:?}")));
    }
    if memory > MEMORY_BYTES_MAX {
        return Err(finding(format!("it takes {memory} bytes of memory")));
    }
    Ok(())
}
