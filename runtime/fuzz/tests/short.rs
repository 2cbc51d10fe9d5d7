//! A short run of each target: the corpus, and mutations that are the same each time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use dormouse_fuzz::run::{Budget, corpus, fuzz};
use dormouse_fuzz::targets::{TARGETS, Target};

#[global_allocator]
static ALLOCATOR: dormouse_fuzz::memory::Counting = dormouse_fuzz::memory::Counting;

/// Mutations of each target.
const INPUTS: u64 = 5_000;

// One test: the peak of memory is that of the process.
#[test]
fn no_input_panics_or_takes_too_much() {
    for target in TARGETS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        let report = fuzz(target, &corpus(&directory).unwrap(), Budget::Inputs(INPUTS), 7)
            .unwrap_or_else(|f| panic!("{}: {}: {:?}", target.name, f.what, f.input));
        assert_eq!(report.inputs, INPUTS);
    }
    findings_are_found();
}

fn findings_are_found() {
    let found = |feed: fn(&[u8])| {
        let target = Target { name: "broken", feed };
        fuzz(&target, &[b"corpus".to_vec()], Budget::Inputs(INPUTS), 7).err()
    };
    assert!(found(|input| assert!(!input.contains(&b'*'))).unwrap().what.contains("panics"));
    let hungry = |input: &[u8]| drop(Vec::<u8>::with_capacity(input.len() << 24));
    assert!(found(hungry).unwrap().what.contains("memory"));
    assert!(found(|_| {}).is_none());
}
