//! What the log looks like after a crash, edited by hand: torn tails are cut, damage is reported with
//! file and offset, and nothing that was cut or recycled ever comes back. The log is read here by an
//! independent reader, written from `docs/format.md`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_store::conformance::{Workload, open_shard, wait_durable};
use dormouse_store::{EmbeddedOptions, EmbeddedStore, RecoveryReport, Store, StoreError};
use tempfile::TempDir;

const PARTITIONS: [u16; 3] = [0, 1, 2];
const HEADER: usize = 32;
const MARK: u8 = 2;

fn options(directory: &Path) -> EmbeddedOptions {
    let mut options = EmbeddedOptions::new(directory, 8);
    options.log_bytes_max = 16 << 20;
    options.segment_bytes = 128 << 10;
    options.dirty_bytes_max = 16 << 20;
    options.checkpoint_after_idle = Duration::from_secs(3_600);
    options
}

fn open(directory: &Path) -> Result<(Arc<EmbeddedStore>, RecoveryReport), StoreError> {
    EmbeddedStore::open(options(directory))
}

/// A copy of a data directory, as a crash would leave it.
fn image(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_directory(directory, copy.path());
    copy
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_directory(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// A record as the format says that it lies in a file.
#[derive(Clone, Debug)]
struct Record {
    path: PathBuf,
    offset: usize,
    bytes: usize,
    lsn: u64,
    kind: u8,
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// All records of the log in `directory`, in order.
fn records(directory: &Path) -> Vec<Record> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    paths.sort();
    let mut records = Vec::new();
    for path in paths {
        // The store may give the file up meanwhile.
        let Ok(file) = std::fs::read(&path) else { continue };
        let (segment, epoch) = (&file[8..16], &file[16..24]);
        let mut offset = 64;
        while let Some(header) = file.get(offset..offset + HEADER) {
            let mut hasher = crc32fast::Hasher::new();
            for part in [segment, epoch, &header[4..]] {
                hasher.update(part);
            }
            if number(&header[..4]) != u64::from(hasher.finalize()) {
                break;
            }
            let body = number(&header[4..8]) as usize;
            let bytes = (HEADER + body).next_multiple_of(8);
            records.push(Record {
                path: path.clone(),
                offset,
                bytes,
                lsn: number(&header[8..16]),
                kind: header[30],
            });
            offset += bytes;
        }
    }
    records
}

/// Position of the first record that is still in the log.
fn begins(directory: &Path) -> u64 {
    records(directory).first().map_or(0, |first| first.lsn)
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// The same file in another image.
fn within(image: &Path, path: &Path) -> PathBuf {
    image.join("log").join(path.file_name().unwrap())
}

/// A store with work in it, until the log is idle and has its mark; the workload after each commit.
fn worked(directory: &Path, commits: usize) -> (Arc<EmbeddedStore>, Vec<Workload>) {
    let (store, _) = open(directory).unwrap();
    let mut shard = open_shard(&*store, 0, &PARTITIONS);
    let mut workloads = vec![Workload::new(5, &PARTITIONS)];
    for number in 0..commits {
        let mut workload = workloads[number].clone();
        shard.append(&workload.commit()).unwrap();
        workloads.push(workload);
    }
    // A mark may also stand between commits, when this thread was slow.
    let last = shard.append(&dormouse_engine::Commit::default()).unwrap();
    wait_durable(&*shard, last).unwrap();
    wait_for_mark(directory);
    (store, workloads)
}

fn wait_for_mark(directory: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while records(directory).last().is_none_or(|last| last.kind != MARK) {
        assert!(Instant::now() < deadline, "no mark was written");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn check(store: &Arc<EmbeddedStore>, workload: &mut Workload) {
    workload.check(&mut *open_shard(&**store, 0, &PARTITIONS));
}

/// An image in which the last `unsynced` commits were written but never known to be durable: those
/// records again, as one write after the last sync would have left them.
fn image_with_unsynced(directory: &Path, unsynced: usize) -> (TempDir, Vec<Record>) {
    let image = image(directory);
    let all = records(image.path());
    let commits: Vec<Record> = all.iter().filter(|record| record.kind != MARK).cloned().collect();
    let (kept, last) = commits.split_at(commits.len() - unsynced);
    let durable = kept.last().unwrap().lsn;
    for record in &last[1..] {
        assert_eq!(record.path, last[0].path, "the tail lies in one segment");
    }
    edit(&last[0].path, |bytes| {
        for record in all.iter().filter(|record| record.kind == MARK) {
            if record.path == last[0].path && record.offset > last[0].offset {
                bytes[record.offset..record.offset + record.bytes].fill(0);
            }
        }
        for record in last {
            bytes[record.offset + 16..record.offset + 24].copy_from_slice(&durable.to_be_bytes());
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&bytes[8..24]);
            hasher.update(&bytes[record.offset + 4..record.offset + HEADER]);
            let checksum = hasher.finalize().to_be_bytes();
            bytes[record.offset..record.offset + 4].copy_from_slice(&checksum);
        }
    });
    (image, last.to_vec())
}

/// Ways in which a record may have failed to reach the disk.
fn tear(bytes: &mut [u8], record: &Record, way: usize) {
    let range = record.offset..record.offset + record.bytes;
    match way {
        0 => bytes[range].fill(0),
        1 => bytes[range.start + 9] ^= 0x40,
        2 => bytes[range.start + HEADER] ^= 1,
        3 => bytes[range.start + HEADER..range.end].fill(0),
        4 => bytes[range.start..range.start + 8].fill(0xff),
        _ => {
            let end = bytes.len();
            bytes[range.start + 16..end].fill(0);
        }
    }
}

#[test]
fn a_torn_tail_is_cut_wherever_it_is_torn() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut workloads) = worked(directory.path(), 150);
    let unsynced = 6;
    for torn in 0..unsynced {
        for way in 0..6 {
            let (image, tail) = image_with_unsynced(directory.path(), unsynced);
            edit(&tail[torn].path, |bytes| tear(bytes, &tail[torn], way));
            let (recovered, report) = open(image.path())
                .unwrap_or_else(|error| panic!("record {torn}, way {way}: {error}"));
            assert_eq!(report.last.0 + 1, tail[torn].lsn);
            let kept = workloads.len() - 1 - (unsynced - torn);
            assert_eq!(report.commits, kept as u64, "record {torn}, way {way}");
            check(&recovered, &mut workloads[kept]);
            if torn + 1 < unsynced && way < 4 {
                let cut = report.cut.expect("whole records behind the torn one are cut too");
                assert_eq!((cut.lsn, cut.offset), (tail[torn].lsn, tail[torn].offset as u64));
                assert!(cut.bytes > 0 && cut.path == tail[torn].path);
            }
        }
    }
    store.close().unwrap();
}

#[test]
fn a_tail_that_is_whole_is_kept_though_nobody_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, mut workloads) = worked(directory.path(), 60);
    let (image, _) = image_with_unsynced(directory.path(), 5);
    let (recovered, report) = open(image.path()).unwrap();
    assert_eq!((report.commits, report.cut), (60, None));
    check(&recovered, &mut workloads[60]);
}

#[test]
fn damage_to_anything_durable_is_reported_with_file_and_offset() {
    let directory = tempfile::tempdir().unwrap();
    let (store, workloads) = worked(directory.path(), 600);
    store.close().unwrap();
    let all = records(directory.path());
    let files: std::collections::BTreeSet<_> = all.iter().map(|record| &record.path).collect();
    assert!(files.len() >= 3, "{} segments", files.len());
    let commits: Vec<&Record> = all.iter().filter(|record| record.kind != MARK).collect();
    assert_eq!(commits.len() + 1, workloads.len());
    let last_ones = commits.iter().rev().take(3);
    let in_each_file = files.iter().flat_map(|path| {
        let of_file: Vec<_> = commits.iter().filter(|record| record.path == ***path).collect();
        [of_file[0], of_file[of_file.len() / 2], of_file[of_file.len() - 1]]
    });
    for (at, record) in last_ones.chain(in_each_file).enumerate() {
        let image = image(directory.path());
        let path = within(image.path(), &record.path);
        // Everything but a cut through the file: that is not how a durable record gets lost.
        edit(&path, |bytes| tear(bytes, record, at % 5));
        match open(image.path()) {
            Err(StoreError::Damaged { path: found, offset, problem }) => {
                assert_eq!((found, offset), (path, record.offset as u64), "{problem}");
                assert!(problem.contains(&format!("record {}", record.lsn)), "{problem}");
            }
            other => panic!("record {record:?}: {other:?}"),
        }
    }
}

#[test]
fn missing_segments_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = worked(directory.path(), 600);
    store.close().unwrap();
    let mut files: Vec<PathBuf> = records(directory.path()).into_iter().map(|r| r.path).collect();
    files.dedup();
    // The last one too: an empty one follows it, and says so.
    for file in &files {
        let image = image(directory.path());
        let file = within(image.path(), file);
        std::fs::remove_file(&file).unwrap();
        match open(image.path()).expect_err("a segment is missing") {
            StoreError::Missing { path, .. } => assert_eq!(path, file),
            error => panic!("{error}"),
        }
    }
    let image = image(directory.path());
    edit(&within(image.path(), &files[0]), |bytes| bytes[20] ^= 1);
    let error = open(image.path()).expect_err("a segment header is damaged");
    assert!(error.to_string().contains("at offset 0"), "{error}");
}

#[test]
fn a_segment_cut_short_is_reported_with_the_offset() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = worked(directory.path(), 600);
    store.close().unwrap();
    let all = records(directory.path());
    // At the end of a record as well: the length of a segment is durable before it is used.
    let ends = all.iter().map(|record| (&record.path, record.offset + record.bytes));
    for (path, end) in
        ends.rev().step_by(100).flat_map(|(path, end)| [(path, end), (path, end - 9)])
    {
        let image = image(directory.path());
        edit(&within(image.path(), path), |bytes| bytes.truncate(end));
        match open(image.path()).expect_err("a segment is cut short") {
            StoreError::Damaged { path: found, offset, problem } => {
                assert_eq!((found, offset), (within(image.path(), path), end as u64), "{problem}");
            }
            error => panic!("{error}"),
        }
    }
}

#[test]
fn what_was_cut_never_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, workloads) = worked(directory.path(), 100);
    let unsynced = 8;
    for torn in [0, 3, 6] {
        let (image, tail) = image_with_unsynced(directory.path(), unsynced);
        edit(&tail[torn].path, |bytes| tear(bytes, &tail[torn], 1));
        // Another history follows the cut, and crashes as well; records behind the torn one had the
        // same positions as the new ones.
        let mut workload = workloads[100 - (unsynced - torn)].clone();
        for _ in 0..4 {
            let (store, _) = open(image.path()).unwrap();
            check(&store, &mut workload);
            let mut shard = open_shard(&*store, 0, &PARTITIONS);
            workload.delay();
            for _ in 0..unsynced / 2 {
                shard.append(&workload.commit()).unwrap();
            }
            let last = shard.append(&dormouse_engine::Commit::default()).unwrap();
            wait_durable(&*shard, last).unwrap();
            store.close().unwrap();
        }
        let (store, _) = open(image.path()).unwrap();
        check(&store, &mut workload);
    }
}

#[test]
fn stale_records_of_recycled_files_never_revive() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(directory.path());
    options.segment_bytes = 32 << 10;
    options.log_bytes_max = 128 << 10;
    options.dirty_bytes_max = 128 << 10;
    let (store, _) = EmbeddedStore::open(options.clone()).unwrap();
    let mut shard = open_shard(&*store, 0, &PARTITIONS);
    let mut workload = Workload::new(5, &PARTITIONS);
    let mut images = 0;
    let deadline = Instant::now() + Duration::from_secs(60);
    while images < 5 {
        assert!(Instant::now() < deadline, "no recycled file was ever in use");
        for _ in 0..20 {
            while shard.is_saturated() {
                std::thread::sleep(Duration::from_millis(1));
            }
            shard.append(&workload.commit()).unwrap();
        }
        let last = shard.append(&dormouse_engine::Commit::default()).unwrap();
        wait_durable(&*shard, last).unwrap();
        wait_for_mark(directory.path());
        let Some(last) = records(directory.path()).pop() else { continue };
        let behind = std::fs::read(&last.path).unwrap().split_off(last.offset + last.bytes);
        if behind.iter().all(|byte| *byte == 0) {
            continue;
        }
        // A whole stale record, right behind the tail, where a reader would look for the next one.
        images += 1;
        let image = quiet_image(directory.path());
        let (recovered, report) = {
            let mut options = options.clone();
            options.directory = image.path().to_path_buf();
            EmbeddedStore::open(options).unwrap()
        };
        assert_eq!((report.last.0, report.cut), (last.lsn, None));
        check(&recovered, &mut workload);
    }
}

/// An image of a store that may be writing a checkpoint: taken again until nothing changed meanwhile.
fn quiet_image(directory: &Path) -> TempDir {
    let listing = || {
        let mut files = Vec::new();
        for part in ["log", "base", "base/tables"] {
            for entry in std::fs::read_dir(directory.join(part)).unwrap().flatten() {
                let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
                files.push((entry.path(), modified));
            }
        }
        files.sort();
        files
    };
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let before = listing();
        let copy = std::panic::catch_unwind(|| image(directory));
        if let Ok(copy) = copy
            && before == listing()
        {
            return copy;
        }
    }
}

#[test]
fn a_checkpoint_half_done_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut workloads) = worked(directory.path(), 400);
    let before = image(directory.path());
    // Opening writes what it replays to the base.
    store.close().unwrap();
    drop(store);
    let (store, _) = open(directory.path()).unwrap();
    let tables =
        |directory: &Path| std::fs::read_dir(directory.join("base/tables")).unwrap().count();
    let deadline = Instant::now() + Duration::from_secs(30);
    while tables(directory.path()) == 0 || begins(directory.path()) == 1 {
        assert!(Instant::now() < deadline, "no checkpoint");
        std::thread::sleep(Duration::from_millis(10));
    }
    let after = quiet_image(directory.path());
    store.close().unwrap();
    assert_eq!(tables(before.path()), 0);

    // Tables are there, the version file does not name them yet.
    let unnamed = image(before.path());
    copy_directory(&after.path().join("base/tables"), &unnamed.path().join("base/tables"));
    // The base is complete, the log files it covers are still there.
    let covered = image(before.path());
    std::fs::remove_dir_all(covered.path().join("base")).unwrap();
    copy_directory(&after.path().join("base"), &covered.path().join("base"));
    // A table was being written.
    let torn = image(unnamed.path());
    for entry in std::fs::read_dir(torn.path().join("base/tables")).unwrap() {
        let path = entry.unwrap().path();
        edit(&path, |bytes| bytes.truncate(bytes.len() / 2));
    }
    for image in [unnamed, covered, torn, before, after] {
        for _ in 0..2 {
            let (store, _) = open(image.path()).unwrap();
            check(&store, &mut workloads[400]);
            store.close().unwrap();
        }
    }
}

#[test]
fn losing_the_base_behind_a_recycled_log_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = worked(directory.path(), 400);
    store.close().unwrap();
    drop(store);
    let (store, _) = open(directory.path()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while begins(directory.path()) == 1 {
        assert!(Instant::now() < deadline, "no checkpoint");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut shard = open_shard(&*store, 0, &PARTITIONS);
    shard.append(&Workload::new(6, &PARTITIONS).commit()).unwrap();
    store.close().unwrap();
    drop((shard, store));
    std::fs::remove_dir_all(directory.path().join("base")).unwrap();
    let error = open(directory.path()).expect_err("most of the data are gone");
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
}
