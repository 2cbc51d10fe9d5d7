//! Measures how fast a start replays a full log: `cargo run --release -p dormouse-store --example
//! replay -- DIR [MB of log] [rounds]`. Logs of three kinds are written below DIR, as a crash leaves
//! them; each is opened with the default settings, which bound memory during the replay.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use dormouse_engine::{Commit, Fence, PartMeta, keys};
use dormouse_protocol::{Address, FunctionType, Partition};
use dormouse_store::{EmbeddedOptions, EmbeddedStore, RecoveryReport, Store};

/// Operations of one commit.
const OPS: u64 = 60;
/// Instances that the states and messages belong to.
const INSTANCES: u64 = 200_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next().ok_or("a directory is needed")?;
    let mut number = |default: u64| -> Result<u64, Box<dyn Error>> {
        Ok(arguments.next().map_or(Ok(default), |text| text.parse())?)
    };
    let (bytes, rounds) = (number(256)? << 20, number(3)?);
    let place = Path::new(&place);
    measure(&place.join("states"), (bytes, rounds), put_state)?;
    measure(&place.join("queue"), (bytes, rounds), |commit, at| {
        put_pending(commit, at);
        delete_pending(commit, at.saturating_sub(2_000));
    })?;
    measure(&place.join("mixed"), (bytes, rounds), |commit, at| {
        put_state(commit, at);
        put_pending(commit, at);
        delete_pending(commit, at.saturating_sub(2_000));
    })?;
    Ok(())
}

/// Fills a log with `fill`, and opens copies of it.
fn measure(
    place: &Path,
    (bytes, rounds): (u64, u64),
    fill: impl Fn(&mut Commit, u64),
) -> Result<(), Box<dyn Error>> {
    let full = place.join("full");
    let mut options = EmbeddedOptions::new(&full, 128);
    // No checkpoint: all of it stays in the log.
    options.log_bytes_max = u64::MAX / 2;
    options.dirty_bytes_max = u64::MAX / 2;
    options.checkpoint_after_idle = Duration::from_secs(86_400);
    options.segment_bytes = 16 << 20;
    let ops = write_log(options, bytes, fill)?;
    for round in 0..rounds {
        let crashed = place.join(format!("crashed-{round}"));
        copy(&full, &crashed)?;
        let before = processor_time()?;
        let (store, report) = EmbeddedStore::open(EmbeddedOptions::new(&crashed, 128))?;
        print(place, ops, &report, processor_time()? - before);
        store.close()?;
        drop(store);
        std::fs::remove_dir_all(&crashed)?;
    }
    std::fs::remove_dir_all(place)?;
    Ok(())
}

/// Returns how many operations were written.
fn write_log(
    options: EmbeddedOptions,
    bytes: u64,
    fill: impl Fn(&mut Commit, u64),
) -> Result<u64, Box<dyn Error>> {
    let (store, _) = EmbeddedStore::open(options)?;
    let mut shard = store.open_shard(0, &[Partition(0)], std::sync::Arc::new(|| {}))?;
    let (mut at, mut ops, mut seq, mut written) = (0, 0, 0, 0);
    while written < bytes {
        seq += 1;
        let mut commit = Commit { number: seq, ..Commit::default() };
        commit.parts.push(PartMeta {
            partition: Partition(0),
            fence: Fence::default(),
            seq,
            time_ms: seq,
            arrival: at,
        });
        while (commit.ops.len() as u64) < OPS {
            at += 1;
            fill(&mut commit, at);
        }
        ops += commit.ops.len() as u64;
        written += commit.ops.as_bytes().len() as u64;
        shard.append(&commit)?;
        while shard.is_saturated() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    store.close()?;
    Ok(ops)
}

/// Time that this thread has had on a core, which other processes on the machine do not change.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().ok_or("no time in schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

fn print(place: &Path, ops: u64, report: &RecoveryReport, processor: Duration) {
    let seconds = report.elapsed.as_secs_f64();
    println!(
        "{}: {:.0} MB in {:.0} ms: {:.0} MB/s, {:.0} records/s, {:.2} M operations/s; {:.0} ms on the core: {:.0} MB/s",
        place.file_name().unwrap_or_default().display(),
        report.bytes as f64 / 1e6,
        seconds * 1e3,
        report.bytes as f64 / 1e6 / seconds,
        report.commits as f64 / seconds,
        ops as f64 / 1e6 / seconds,
        processor.as_secs_f64() * 1e3,
        report.bytes as f64 / 1e6 / processor.as_secs_f64(),
    );
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
            // As the log is: all but its tail was synced.
            File::open(target)?.sync_all()?;
        }
    }
    Ok(())
}

/// The instance that message `at` is for: all of them in turn, in no order.
fn instance(at: u64) -> Address {
    let function_type = FunctionType::parse("example/counter").expect("a valid type");
    let id = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) % INSTANCES;
    Address::new(function_type, &*id.to_string())
}

fn put_state(commit: &mut Commit, at: u64) {
    let mut key = Vec::new();
    keys::state_prefix(&mut key, Partition(0), &instance(at));
    key.extend_from_slice(b"count");
    commit.ops.put(&key, &[7; 100]);
}

fn put_pending(commit: &mut Commit, at: u64) {
    let mut key = Vec::new();
    keys::pending(&mut key, Partition(0), &instance(at), at);
    commit.ops.put(&key, &[7; 100]);
}

fn delete_pending(commit: &mut Commit, at: u64) {
    let mut key = Vec::new();
    keys::pending(&mut key, Partition(0), &instance(at), at);
    commit.ops.delete(&key);
}
