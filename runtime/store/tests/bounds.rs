//! The log that a restart has to replay is bounded by bytes, not by time: under load without a pause
//! it never grows beyond twice its setting, and what it held is in the base.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::time::{Duration, Instant};

use dormouse_store::conformance::{Workload, open_shard, wait_durable};
use dormouse_store::{EmbeddedOptions, EmbeddedStore, Store};

const LOG_BYTES_MAX: u64 = 512 << 10;
const SEGMENT_BYTES: u64 = 64 << 10;

/// What is appended in all: many times the bound.
const TOTAL_BYTES: u64 = 16 << 20;

/// Bytes of the log files that a restart would read; recycled ones that wait for use are not.
fn kept(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory.join("log")).unwrap().filter_map(Result::ok);
    let logs = files.filter(|file| file.path().extension().is_some_and(|e| e == "log"));
    // A file may be recycled between listing and looking.
    logs.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[test]
fn the_log_to_replay_is_bounded_by_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = EmbeddedOptions::new(directory.path(), 4);
    options.log_bytes_max = LOG_BYTES_MAX;
    options.segment_bytes = SEGMENT_BYTES;
    options.checkpoint_after_idle = Duration::from_secs(3_600);
    let (store, _) = EmbeddedStore::open(options.clone()).unwrap();
    let mut shard = open_shard(&*store, 0, &[0, 1, 2, 3]);
    let mut workload = Workload::new(7, &[0, 1, 2, 3]);
    let (mut appended, mut most, mut last) = (0, 0, None);
    let began = Instant::now();
    while appended < TOTAL_BYTES {
        assert!(began.elapsed() < Duration::from_secs(300), "{appended} bytes only");
        if shard.is_saturated() {
            // As a shard does: it starts nothing until the store has caught up.
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        let commit = workload.commit();
        appended += commit.ops.as_bytes().len() as u64;
        last = Some(shard.append(&commit).unwrap());
        most = most.max(kept(directory.path()));
    }
    wait_durable(&*shard, last.unwrap()).unwrap();
    // The file being written, the ready one, the one that was sealed last and the one with the last
    // durable record are whole segments; and files come and go while they are listed.
    let bound = 2 * LOG_BYTES_MAX + 8 * SEGMENT_BYTES;
    assert!(most <= bound, "the log reached {most} bytes, {bound} at most were expected");
    drop(shard);
    store.close().unwrap();
    let (_, report) = EmbeddedStore::open(options).unwrap();
    assert!(report.bytes <= bound, "{} bytes had to be replayed", report.bytes);
}
