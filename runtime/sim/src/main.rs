//! `dormouse-sim --seeds N [--seed S] [--trace] [--keep-going]`: runs the kept seeds, then N from S on.

use std::process::ExitCode;
use std::time::Instant;

use dormouse_sim::{Outcome, Summary, run};

const USAGE: &str = "usage: dormouse-sim [--seeds N] [--seed S] [--trace] [--keep-going]
  --seeds N   how many seeds to run (1000; 1 with --seed)
  --seed S    the first one (1)
  --trace     print everything that happens
  --keep-going  name each seed that fails on one line instead of stopping at the first";

/// One seed in so many is run twice, to see that it does the same.
const TWICE_EVERY: u64 = 20;

/// Lines of the trace of a failure that are printed without `--trace`.
const TRACE_LINES: usize = 300;

struct Options {
    first: Option<u64>,
    count: Option<u64>,
    trace: bool,
    keeps_going: bool,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let kept = if options.first.is_none() { dormouse_sim::kept_seeds() } else { Vec::new() };
    let first = options.first.unwrap_or(1);
    let count = options.count.unwrap_or(if options.first.is_some() { 1 } else { 1_000 });
    let began = Instant::now();
    let mut total = Summary::default();
    let (mut seeds, mut failed) = (0_u64, 0_u64);
    for seed in kept.into_iter().chain(first..first.saturating_add(count)) {
        match try_seed(seed, &options) {
            Ok(summary) => total.add(summary),
            Err(failure) => {
                println!("{failure}");
                failed += 1;
                if !options.keeps_going {
                    return ExitCode::FAILURE;
                }
            }
        }
        seeds += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} of {seeds} seeds passed in {seconds:.1} s ({:.0} seeds/s): {} messages, {} runs of functions, \
         {} lives, {} steps",
        seeds - failed,
        seeds as f64 / seconds,
        total.messages,
        total.runs,
        total.lives,
        total.steps
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn try_seed(seed: u64, options: &Options) -> Result<Summary, String> {
    let is_twice = seed.is_multiple_of(TWICE_EVERY);
    let outcome = run(seed, options.trace || is_twice);
    if is_twice {
        let again = run(seed, true);
        if again.trace_hash != outcome.trace_hash {
            return Err(format!(
                "seed {seed}: two runs differ{}",
                first_difference(&outcome, &again)
            ));
        }
    }
    if options.trace {
        outcome.trace.iter().for_each(|line| println!("{line}"));
    }
    outcome.result.map_err(|error| {
        if options.keeps_going {
            return format!("seed {seed} fails: {}", error.replace('\n', " "));
        }
        let trace = if options.trace { Vec::new() } else { run(seed, true).trace };
        let skipped = trace.len().saturating_sub(TRACE_LINES);
        let lines = trace[skipped..].join("\n");
        format!("{lines}\nseed {seed} fails: {error}\nreplay: dormouse-sim --seed {seed} --trace")
    })
}

fn first_difference(a: &Outcome, b: &Outcome) -> String {
    let differs = a.trace.iter().zip(&b.trace).find(|(a, b)| a != b);
    differs.map_or(String::new(), |(a, b)| format!("\n  {a}\n  {b}"))
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { first: None, count: None, trace: false, keeps_going: false };
    while let Some(arg) = args.next() {
        let mut number = || {
            let text = args.next().ok_or(format!("{arg} needs a number"))?;
            text.parse::<u64>().map_err(|_| format!("{arg}: `{text}` is not a number"))
        };
        match arg.as_str() {
            "--seeds" => options.count = Some(number()?),
            "--seed" => options.first = Some(number()?),
            "--keep-going" => options.keeps_going = true,
            "--trace" => options.trace = true,
            _ => return Err(format!("unknown argument `{arg}`")),
        }
    }
    Ok(options)
}
