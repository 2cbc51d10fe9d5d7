//! The kept schedules and some hundred seeds pass; a seed does the same each time; a failure is made
//! smaller.

use dormouse_engine::breakage::{Breakage, choose};
use dormouse_sim::shrink::{Overrides, shrink};
use dormouse_sim::{kept, run, run_with};

const SEEDS: u64 = 100;

#[test]
fn kept_schedules_pass() {
    for kept in kept::kept().unwrap() {
        expect_pass(kept.seed, &kept.overrides);
    }
}

#[test]
fn a_hundred_seeds_pass() {
    for seed in 1..=SEEDS {
        expect_pass(seed, &Overrides::default());
    }
}

#[test]
fn a_seed_does_the_same_each_time() {
    for seed in 1..=SEEDS / 20 {
        let (first, second) = (run(seed, true), run(seed, true));
        assert!(first.trace.len() > 10, "seed {seed} does something");
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
    }
}

#[test]
fn a_failure_is_made_smaller_and_still_fails() {
    choose(Some(Breakage::KeepPending));
    let seed = (1..).find(|seed| run(*seed, false).result.is_err()).unwrap();
    let (smaller, outcome) = shrink(seed, &Overrides::default());
    let again = run_with(seed, &smaller, true);
    choose(None);
    assert_eq!(outcome.result, again.result, "the overrides replay it");
    assert!(again.result.is_err());
    assert!(smaller.get("submits").is_some_and(|submits| submits <= 20), "{smaller}");
    assert!(smaller.get("salt").is_some(), "{smaller}");
    expect_pass(seed, &smaller);
}

fn expect_pass(seed: u64, overrides: &Overrides) {
    if let Err(error) = run_with(seed, overrides, false).result {
        panic!("{error}\nreplay: cargo xtask sim --seed {seed} --with {overrides} --trace");
    }
}
