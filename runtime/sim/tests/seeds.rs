//! The kept seeds and 200 more pass; a seed does the same each time.

use dormouse_sim::{kept_seeds, run};

const SEEDS: u64 = 200;

#[test]
fn kept_seeds_pass() {
    let kept = kept_seeds();
    assert!(!kept.is_empty());
    for seed in kept {
        expect_pass(seed);
    }
}

#[test]
fn two_hundred_seeds_pass() {
    for seed in 1..=SEEDS {
        expect_pass(seed);
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

fn expect_pass(seed: u64) {
    if let Err(error) = run(seed, false).result {
        panic!("{error}\nreplay: cargo run -p dormouse-sim -- --seed {seed} --trace");
    }
}
