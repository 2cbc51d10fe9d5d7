//! A real process is killed under load, again and again: what it was told is durable is there
//! afterwards, whole commits only, and what shards wrote is a prefix of what they appended.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dormouse_store::conformance::{Workload, open_shard, wait};
use dormouse_store::{EmbeddedOptions, EmbeddedStore, ShardStore, Store, StoreError};

const DIRECTORY: &str = "DORMOUSE_STORE_TEST_DIRECTORY";
const SHARDS: [[u16; 2]; 2] = [[0, 2], [1, 3]];

fn options(directory: &Path) -> EmbeddedOptions {
    let mut options = EmbeddedOptions::new(directory, 4);
    options.log_bytes_max = 1 << 20;
    options.segment_bytes = 128 << 10;
    options.dirty_bytes_max = 512 << 10;
    options.checkpoint_after_idle = Duration::from_millis(20);
    options
}

/// Runs `name` of this file as a process of its own.
fn child(name: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(DIRECTORY, directory).stdout(Stdio::piped());
    command
}

/// Brings the workload to where the store is: the sum of its partitions' sequence numbers.
fn catch_up(shard: &mut dyn ShardStore, owned: &[u16], workload: &mut Workload) {
    let stored: u64 = owned
        .iter()
        .map(|number| {
            let opened = wait(shard.open(dormouse_protocol::Partition(*number))).unwrap();
            opened.meta.map_or(0, |meta| meta.seq)
        })
        .sum();
    while workload.number() < stored {
        workload.commit();
    }
}

fn workloads() -> [Workload; 2] {
    [Workload::new(1, &SHARDS[0]), Workload::new(2, &SHARDS[1])]
}

/// The process that a test below kills: appends for ever, and prints the number of each shard's last
/// durable commit. On its own, as a test among others, it has nothing to do and returns at once.
#[test]
fn work_until_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let (store, report) = EmbeddedStore::open(options(Path::new(&directory))).unwrap();
    println!("open cut={}", report.cut.is_some());
    let mut shards: Vec<_> = workloads()
        .into_iter()
        .enumerate()
        .map(|(number, mut workload)| {
            let mut shard = open_shard(&*store, number, &SHARDS[number]);
            catch_up(&mut *shard, &SHARDS[number], &mut workload);
            (shard, workload, Vec::new())
        })
        .collect();
    loop {
        for (number, (shard, workload, waiting)) in shards.iter_mut().enumerate() {
            for _ in 0..5 {
                let lsn = shard.append(&workload.commit()).unwrap();
                waiting.push((lsn, workload.number()));
            }
            let durable = shard.durable().unwrap();
            let count = waiting.iter().take_while(|(lsn, _)| *lsn <= durable).count();
            if let Some((_, last)) = waiting.drain(..count).next_back() {
                println!("durable {number} {last}");
            }
            while shard.is_saturated() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Lets the child run for about `millis` after its first word; what it said was durable.
fn kill_after(mut child: Child, millis: u64) -> ([u64; 2], bool) {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        let mut durable = [0; 2];
        let mut cut = false;
        for line in lines.map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["durable", shard, number] => {
                    // The last line may be cut off in the middle of its number.
                    let number = number.parse().unwrap_or(0);
                    let shard: usize = shard.parse().unwrap();
                    durable[shard] = number.max(durable[shard]);
                }
                [.., "cut=true"] => cut = true,
                _ => {}
            }
        }
        (durable, cut)
    });
    std::thread::sleep(Duration::from_millis(millis));
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn a_killed_process_loses_nothing_that_was_durable() {
    let directory = tempfile::tempdir().unwrap();
    let mut reached = [0; 2];
    for round in 0..12_u64 {
        let child = child("work_until_killed", directory.path()).spawn().unwrap();
        let (durable, _) = kill_after(child, 60 + round * 37 % 250);
        let (store, report) = EmbeddedStore::open(options(directory.path())).unwrap();
        for (number, mut workload) in workloads().into_iter().enumerate() {
            let mut shard = open_shard(&*store, number, &SHARDS[number]);
            catch_up(&mut *shard, &SHARDS[number], &mut workload);
            assert!(
                workload.number() >= durable[number].max(reached[number]),
                "shard {number} lost commits: {} < {}; {report:?}",
                workload.number(),
                durable[number],
            );
            workload.check(&mut *shard);
            reached[number] = workload.number();
        }
        store.close().unwrap();
    }
    assert!(reached.iter().all(|number| *number > 100), "hardly any work: {reached:?}");
    let tables = std::fs::read_dir(directory.path().join("base/tables")).unwrap().count();
    assert!(tables > 0, "no checkpoint was ever written");
}

/// The process that the test below kills: holds a directory open. Returns at once on its own.
#[test]
fn hold_until_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let _store = EmbeddedStore::open(options(Path::new(&directory))).unwrap();
    println!("\nopen");
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_directory_is_open_in_one_process_only() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = child("hold_until_killed", directory.path()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "open"));
    let error = EmbeddedStore::open(options(directory.path())).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&*directory.path().to_string_lossy()), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    EmbeddedStore::open(options(directory.path())).unwrap().0.close().unwrap();
    // Closing lets go of it, and so does dropping.
    let first = EmbeddedStore::open(options(directory.path())).unwrap();
    assert!(EmbeddedStore::open(options(directory.path())).is_err());
    drop(first);
    EmbeddedStore::open(options(directory.path())).unwrap();
}

/// The process that the test below starts with a limit on the size of files: appends until the disk
/// refuses, and says how that was told. Returns at once on its own.
#[test]
fn work_until_refused() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let mut options = options(Path::new(&directory));
    options.log_bytes_max = 1 << 30;
    options.dirty_bytes_max = 1 << 30;
    options.segment_bytes = 4 << 20;
    let (store, _) = EmbeddedStore::open(options).unwrap();
    let mut shard = open_shard(&*store, 0, &SHARDS[0]);
    let mut workload = Workload::new(1, &SHARDS[0]);
    let error = loop {
        if let Err(error) = shard.append(&workload.commit()) {
            break error;
        }
        if let Err(error) = shard.durable() {
            break error;
        }
    };
    println!("\nrefused {error}");
    let again = shard.append(&workload.commit()).unwrap_err();
    println!("\nagain {again}");
    println!("\nclosed {}", store.close().unwrap_err());
}

#[test]
fn a_disk_that_refuses_ends_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let exe = std::env::current_exe().unwrap();
    // A limit on the size of files stands for a full disk; 2,048 blocks are 1 or 2 MB.
    let script = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" --exact work_until_refused --nocapture";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(exe)
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for word in ["refused", "again", "closed"] {
        let line = said.lines().find(|line| line.starts_with(word)).unwrap_or_else(|| {
            panic!("{word}: {said}\n{}", String::from_utf8_lossy(&output.stderr))
        });
        assert!(line.contains("the store stopped after a failed write"), "{line}");
        assert!(line.contains("too large"), "{line}");
        assert!(line.contains("/log/"), "{line}");
    }
    // What was durable before is there, and with room on the disk the store works again.
    let (store, _) = EmbeddedStore::open(options(directory.path())).unwrap();
    let mut shard = open_shard(&*store, 0, &SHARDS[0]);
    let mut workload = Workload::new(1, &SHARDS[0]);
    catch_up(&mut *shard, &SHARDS[0], &mut workload);
    assert!(workload.number() > 100, "{} commits", workload.number());
    workload.check(&mut *shard);
    shard.append(&workload.commit()).unwrap();
    store.close().unwrap();
}
