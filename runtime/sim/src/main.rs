//! `dormouse-sim [--seeds N] [--seed S] [--with NAME=VALUE,..] [--trace] [--keep-going]`: runs the kept
//! schedules, then N seeds from S on, on all cores. A failure is shrunk and printed with its trace.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use dormouse_sim::shrink::{Overrides, shrink};
use dormouse_sim::{Outcome, Summary, kept, run_with};

const USAGE: &str =
    "usage: dormouse-sim [--seeds N] [--seed S] [--with LIST] [--trace] [--keep-going]
  --seeds N     how many seeds to run (1000; 1 with --seed)
  --seed S      the first one (1)
  --with LIST   override values of the scenario: name=value,name=value
  --trace       print everything that happens
  --keep-going  name each seed that fails on one line instead of stopping at the first";

/// One seed in so many is run twice, to see that it does the same.
const TWICE_EVERY: u64 = 20;

/// Lines of the trace of a failure that are printed without `--trace`.
const TRACE_LINES: usize = 300;

struct Options {
    first: Option<u64>,
    count: Option<u64>,
    overrides: Overrides,
    trace: bool,
    keeps_going: bool,
}

/// A seed that failed, with its overrides and what was wrong.
struct Failure {
    seed: u64,
    overrides: Overrides,
    error: String,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let kept = match kept::kept() {
        Ok(kept) => kept,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let first = options.first.unwrap_or(1);
    let count = options.count.unwrap_or(if options.first.is_some() { 1 } else { 1_000 });
    let mut schedules = Vec::new();
    if options.first.is_none() {
        schedules.extend(kept.into_iter().map(|kept| (kept.seed, kept.overrides)));
    }
    let seeds = first..first.saturating_add(count);
    schedules.extend(seeds.map(|seed| (seed, options.overrides.clone())));
    let began = Instant::now();
    let (total, passed, failures) = run_all(&schedules, &options);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{passed} of {} seeds passed in {seconds:.1} s ({:.0} seeds/s): {} messages, {} runs of functions, \
         {} lives, {} openings of partitions, {} refused commits, {} steps",
        schedules.len(),
        passed as f64 / seconds,
        total.messages,
        total.runs,
        total.lives,
        total.openings,
        total.refusals,
        total.steps
    );
    if failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    if !options.keeps_going {
        report(&failures[0], options.trace);
    }
    ExitCode::FAILURE
}

/// Runs schedules on all cores; what happened, how many passed, and the failures, the first one first.
fn run_all(schedules: &[(u64, Overrides)], options: &Options) -> (Summary, usize, Vec<Failure>) {
    let next = AtomicUsize::new(0);
    let passed = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let found = Mutex::new((Summary::default(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = || {
        while !is_over.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((seed, overrides)) = schedules.get(index) else {
                return;
            };
            let result = try_seed(*seed, overrides, options.trace);
            let mut found = found.lock().expect("no worker panics");
            match result {
                Ok(summary) => {
                    found.0.add(summary);
                    passed.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    if options.keeps_going {
                        println!("seed {seed} fails: {}", error.replace('\n', " "));
                    } else {
                        is_over.store(true, Ordering::Relaxed);
                    }
                    let overrides = overrides.clone();
                    found.1.push((index, Failure { seed: *seed, overrides, error }));
                }
            }
        }
    };
    let threads = if options.trace { 1 } else { threads };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let (total, mut failures) = found.into_inner().expect("no worker panics");
    failures.sort_by_key(|(index, _)| *index);
    let failures = failures.into_iter().map(|(_, failure)| failure).collect();
    (total, passed.into_inner() as usize, failures)
}

fn try_seed(seed: u64, overrides: &Overrides, prints: bool) -> Result<Summary, String> {
    let is_twice = seed.is_multiple_of(TWICE_EVERY);
    let outcome = run_with(seed, overrides, prints || is_twice);
    if prints {
        outcome.trace.iter().for_each(|line| println!("{line}"));
    }
    if is_twice {
        let again = run_with(seed, overrides, true);
        if again.trace_hash != outcome.trace_hash {
            return Err(format!("two runs differ{}", first_difference(&outcome, &again)));
        }
    }
    outcome.result
}

fn first_difference(a: &Outcome, b: &Outcome) -> String {
    let differs = a.trace.iter().zip(&b.trace).find(|(a, b)| a != b);
    differs.map_or(String::new(), |(a, b)| format!("\n  {a}\n  {b}"))
}

/// Prints a failure: as small as it can be made, with what happened.
fn report(failure: &Failure, has_printed: bool) {
    let Failure { seed, overrides, error } = failure;
    if has_printed {
        println!("seed {seed} fails: {error}");
        return;
    }
    println!("seed {seed} fails: {error}\nshrinking it ...");
    let (smaller, outcome) = shrink(*seed, overrides);
    let Err(error) = &outcome.result else {
        return; // Two runs of it differ: there is nothing to make smaller.
    };
    let trace = run_with(*seed, &smaller, true).trace;
    let skipped = trace.len().saturating_sub(TRACE_LINES);
    if skipped > 0 {
        println!("... {skipped} lines before these");
    }
    trace[skipped..].iter().for_each(|line| println!("{line}"));
    println!(
        "seed {seed} fails, made smaller: {error}\n\
         replay:      cargo xtask sim --seed {seed} --with {smaller} --trace\n\
         as it was:   cargo xtask sim --seed {seed} --trace\n\
         when fixed, keep it: a line in runtime/sim/seeds.txt:\n\
         {seed} {smaller} WHAT WENT WRONG"
    );
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let overrides = Overrides::default();
    let mut options =
        Options { first: None, count: None, overrides, trace: false, keeps_going: false };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        let number = |text: String| {
            text.parse::<u64>().map_err(|_| format!("{arg}: `{text}` is not a number"))
        };
        match arg.as_str() {
            "--seeds" => options.count = Some(number(value()?)?),
            "--seed" => options.first = Some(number(value()?)?),
            "--with" => options.overrides = Overrides::parse(&value()?)?,
            "--keep-going" => options.keeps_going = true,
            "--trace" => options.trace = true,
            _ => return Err(format!("unknown argument `{arg}`")),
        }
    }
    Ok(options)
}
