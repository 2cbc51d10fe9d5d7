//! A small runtime in memory, for the tests of ingresses and egresses: the SDK's lanes over functions
//! that really run, one thread, no store. Delayed messages fire when a test says so, durability can be
//! held back, and admitted memory is counted.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic"
)]

pub mod client;
pub mod memory;
pub mod spec;

pub use memory::{Confirmed, Memory};

use std::time::Duration;

/// Longest run of one test.
const TEST_TIME: Duration = Duration::from_secs(30);

/// Runs a test on a single thread, as a shard would.
pub fn run<F: Future<Output = ()>>(test: F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let limited = async {
        tokio::time::timeout(TEST_TIME, test).await.expect("the test hangs");
    };
    tokio::task::LocalSet::new().block_on(&runtime, limited);
}
