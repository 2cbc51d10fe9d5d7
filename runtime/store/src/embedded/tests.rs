//! The rules between log, layers and base, watched from inside: what may be written when, what a
//! failed write ends, what is kept within bounds.

use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use dormouse_engine::{Commit, Trim, keys};

use super::*;
use crate::conformance::{Workload, open_shard, state_key, wait, wait_durable};
use crate::log::segment::Step;
use crate::outboxes::Span;

struct Place {
    directory: tempfile::TempDir,
    faults: Faults,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), faults: Faults::default() }
    }

    /// Checkpoints only when asked for.
    fn options(&self) -> EmbeddedOptions {
        let mut options = EmbeddedOptions::new(self.directory.path(), 8);
        options.checkpoint_after_idle = Duration::from_secs(3_600);
        options.faults = self.faults.clone();
        options
    }

    fn open(&self) -> Arc<EmbeddedStore> {
        self.open_with(self.options())
    }

    fn open_with(&self, options: EmbeddedOptions) -> Arc<EmbeddedStore> {
        EmbeddedStore::open(options).unwrap().0
    }
}

/// Syncs wait until this is dropped, also by a failing test.
struct Held(Faults);

impl Held {
    fn new(faults: &Faults) -> Self {
        faults.hold_syncs(true);
        Self(faults.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.hold_syncs(false);
    }
}

fn put(id: &str, value: &[u8]) -> Commit {
    let mut commit = Commit::default();
    commit.ops.put(&state_key(0, id), value);
    commit
}

fn get(shard: &mut dyn ShardStore, id: &str) -> Option<Bytes> {
    wait(shard.get(vec![state_key(0, id)], usize::MAX)).unwrap().remove(0)
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn checkpoint(store: &EmbeddedStore) {
    let floor = store.disk.log.last_lsn();
    checkpointer(store).checkpoint_now().unwrap();
    assert!(checkpoint_position(store) >= floor);
}

fn checkpointer(store: &EmbeddedStore) -> Checkpointer {
    Checkpointer {
        disk: Arc::clone(&store.disk),
        shards: Arc::clone(&store.shards),
        compactor: Arc::clone(&store.compactor),
        recovered: Arc::clone(&store.recovered),
        recovered_lsn: 0,
        recovered_trimmed: FxHashMap::default(),
        after_idle: Duration::ZERO,
    }
}

fn checkpoint_position(store: &EmbeddedStore) -> u64 {
    crate::checkpoint::covered_by(&store.disk.base.snapshot()).unwrap().floor
}

#[test]
fn nothing_reaches_the_base_before_it_is_durable_in_the_log() {
    let place = Place::new();
    let store = place.open();
    let mut shard = open_shard(&*store, 0, &[0]);
    let held = Held::new(&place.faults);
    let lsn = shard.append(&put("a", b"1")).unwrap();
    let checkpointer = checkpointer(&store);
    let writing = std::thread::spawn(move || checkpointer.checkpoint_now());
    std::thread::sleep(Duration::from_millis(200));
    assert!(store.disk.base.is_empty(), "written although the log is not synced");
    assert_eq!(get(&mut *shard, "a").as_deref(), Some(&b"1"[..]));
    drop(held);
    writing.join().unwrap().unwrap();
    assert!(shard.durable().unwrap() >= lsn);
    assert_eq!(checkpoint_position(&store), lsn.0);
    assert_eq!(get(&mut *shard, "a").as_deref(), Some(&b"1"[..]));
}

#[test]
fn log_files_go_only_when_the_base_covers_them() {
    let place = Place::new();
    let mut options = place.options();
    options.segment_bytes = 64 << 10;
    let store = place.open_with(options);
    let mut shard = open_shard(&*store, 0, &[0]);
    let files = || {
        let names = std::fs::read_dir(place.directory.path().join("log")).unwrap();
        names.filter(|name| name.as_ref().unwrap().path().extension().is_some()).count()
    };
    for round in 0..50_u32 {
        shard.append(&put(&round.to_string(), &[1; 10_000])).unwrap();
    }
    let last = shard.append(&Commit::default()).unwrap();
    wait_durable(&*shard, last).unwrap();
    let before = files();
    assert!(before > 5, "{before} segments");
    checkpoint(&store);
    until("the log is given up", || files() <= 3);
    for round in 0..50_u32 {
        assert_eq!(get(&mut *shard, &round.to_string()).map(|value| value.len()), Some(10_000));
    }
}

#[test]
fn values_of_base_and_memory_together_are_no_more_than_fit() {
    let place = Place::new();
    let store = place.open();
    let mut shard = open_shard(&*store, 0, &[0]);
    shard.append(&put("a", &[1; 1_000])).unwrap();
    checkpoint(&store);
    for id in ["b", "c"] {
        shard.append(&put(id, &[1; 1_000])).unwrap();
    }
    let keys: Vec<_> = ["a", "b", "c"].map(|id| state_key(0, id)).into();
    for (bytes_max, count) in [(1_000, 1), (1_001, 2), (2_000, 2), (2_001, 3)] {
        assert_eq!(wait(shard.get(keys.clone(), bytes_max)).unwrap().len(), count, "{bytes_max}");
    }
}

#[test]
fn a_failed_write_or_sync_ends_everything() {
    for step in [Step::Write, Step::Sync] {
        let place = Place::new();
        let store = place.open();
        let woken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&woken);
        let waker = Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let mut shard = store.open_shard(0, &[Partition(0)], waker).unwrap();
        let lsn = shard.append(&put("a", b"1")).unwrap();
        wait_durable(&*shard, lsn).unwrap();
        until("the mark is written", || store.disk.log.durable() > lsn.0);
        let before = woken.load(Ordering::SeqCst);
        place.faults.fail_once(step);
        let lost = shard.append(&put("a", b"2")).unwrap();
        until("it is noticed", || shard.durable().is_err());
        until("the shard is woken", || woken.load(Ordering::SeqCst) > before);
        // The disk works again from here on: nothing may be tried again.
        std::thread::sleep(Duration::from_millis(50));
        for answer in [shard.append(&put("b", b"1")), shard.append(&Commit::default())] {
            let message = answer.unwrap_err().to_string();
            assert!(message.contains("injected failure"), "{message}");
            assert!(message.contains(".log"), "{message}");
        }
        assert!(store.disk.log.durable() < lost.0);
        assert!(matches!(store.close(), Err(StoreError::Poisoned { .. })));
        drop((shard, store));
        let store = place.open();
        let mut shard = open_shard(&*store, 0, &[0]);
        let value = get(&mut *shard, "a").unwrap();
        assert!(step == Step::Sync || value == b"1"[..], "what was not written is not there");
    }
}

#[test]
fn a_failed_checkpoint_ends_everything() {
    let place = Place::new();
    let mut options = place.options();
    options.dirty_bytes_max = 10_000;
    let store = place.open_with(options);
    let mut shard = open_shard(&*store, 0, &[0]);
    std::fs::remove_dir_all(place.directory.path().join("base")).unwrap();
    shard.append(&put("a", &[1; 20_000])).unwrap();
    until("it is noticed", || shard.durable().is_err());
    let message = shard.append(&put("a", b"2")).unwrap_err().to_string();
    assert!(message.contains("base"), "{message}");
}

#[test]
fn dirty_bytes_are_bounded_and_the_end_of_saturation_is_told() {
    let place = Place::new();
    let mut options = place.options();
    options.dirty_bytes_max = 100_000;
    let store = place.open_with(options);
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&woken);
    let waker = Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let mut shard = store.open_shard(0, &[Partition(0)], waker).unwrap();
    let held = Held::new(&place.faults);
    let mut most = 0;
    let mut number = 0_u32;
    while !shard.is_saturated() {
        number += 1;
        shard.append(&put(&number.to_string(), &[1; 500])).unwrap();
        most = most.max(store.disk.dirty_bytes.load(Ordering::Relaxed));
        assert!(number < 1_000, "never saturated");
    }
    assert!((200_000..201_000).contains(&most), "{most} bytes");
    let before = woken.load(Ordering::SeqCst);
    drop(held);
    until("checkpoints catch up", || !shard.is_saturated());
    until("the shard is woken", || woken.load(Ordering::SeqCst) > before);
    until("all is written", || store.disk.dirty_bytes.load(Ordering::Relaxed) <= 100_000);
}

#[test]
fn an_idle_shard_holds_no_checkpoint_back() {
    let place = Place::new();
    let store = place.open();
    let mut idle = open_shard(&*store, 1, &[1]);
    idle.append(&{
        let mut commit = Commit::default();
        commit.ops.put(&state_key(1, "a"), b"1");
        commit
    })
    .unwrap();
    let mut busy = open_shard(&*store, 0, &[0]);
    let mut last = Lsn::default();
    for number in 0..100_u32 {
        last = busy.append(&put(&number.to_string(), b"1")).unwrap();
    }
    checkpoint(&store);
    assert!(checkpoint_position(&store) >= last.0);
    assert_eq!(store.disk.dirty_bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_checkpoint_covers_only_what_every_shard_had_when_the_first_one_froze() {
    let place = Place::new();
    let store = place.open();
    let mut shards = [open_shard(&*store, 0, &[0]), open_shard(&*store, 1, &[1])];
    let row = |partition: usize, value: &[u8]| {
        let mut commit = Commit::default();
        commit.ops.put(&state_key(partition as u16, "a"), value);
        commit
    };
    let mut appended_between = 0;
    // One of the two freezes first: with the other one held, the first goes on appending.
    for (held, other) in [(0, 1), (1, 0)] {
        shards[held].append(&row(held, b"before")).unwrap();
        let partitions = [Partition(held as u16)];
        let state = store.shards.open(held, &partitions, |_| unreachable!()).unwrap().1;
        let guard = lock(&state);
        let checkpointer = checkpointer(&store);
        let writing = std::thread::spawn(move || checkpointer.checkpoint_now());
        std::thread::sleep(Duration::from_millis(100));
        let between = shards[other].append(&row(other, &[held as u8; 10])).unwrap();
        drop(guard);
        writing.join().unwrap().unwrap();
        if store.disk.dirty_bytes.load(Ordering::Relaxed) > 0 {
            appended_between += 1;
            assert!(
                checkpoint_position(&store) < between.0,
                "the log lets go of what is not written"
            );
        }
        checkpoint(&store);
    }
    assert!(appended_between > 0, "no append came between the two freezes");
}

fn outbox(number: u64) -> Vec<u8> {
    let mut key = Vec::new();
    keys::outbox(&mut key, Partition(0), Partition(1), number);
    key
}

fn base_holds(store: &EmbeddedStore, number: u64) -> bool {
    store.disk.base.snapshot().get(&outbox(number)).unwrap().is_some()
}

fn span(store: &EmbeddedStore) -> Option<Span> {
    lock(&store.disk.spans).get(&(0, 1)).copied()
}

#[test]
fn trimmed_entries_leave_the_base_with_the_next_checkpoint() {
    let place = Place::new();
    let store = place.open();
    let mut shard = open_shard(&*store, 0, &[0, 1]);
    let mut commit = Commit::default();
    for number in 1..=5 {
        commit.ops.put(&outbox(number), b"message");
    }
    shard.append(&commit).unwrap();
    checkpoint(&store);
    assert_eq!(span(&store), Some(Span { first: 1, last: 5 }));
    let trim = |upto| Commit {
        trims: vec![Trim { from: Partition(0), to: Partition(1), upto }],
        ..Commit::default()
    };
    shard.append(&trim(3)).unwrap();
    assert!(base_holds(&store, 3), "trims are not written at once");
    shard.append(&put("a", b"1")).unwrap();
    checkpoint(&store);
    assert_eq!(span(&store), Some(Span { first: 4, last: 5 }));
    assert!(!base_holds(&store, 3) && base_holds(&store, 4));
    shard.append(&trim(100)).unwrap();
    checkpoint(&store);
    assert_eq!(span(&store), None);
    assert!(!base_holds(&store, 5));
    store.close().unwrap();
    drop((shard, store));
    assert_eq!(span(&place.open()), None, "the span of the base is kept in the base");
}

#[test]
fn a_mark_trims_what_its_sender_left_in_log_and_base() {
    let place = Place::new();
    let store = place.open();
    let mut sender = open_shard(&*store, 0, &[0]);
    let mut receiver = open_shard(&*store, 1, &[1]);
    let mut commit = Commit::default();
    for number in 1..=3 {
        commit.ops.put(&outbox(number), b"message");
    }
    sender.append(&commit).unwrap();
    checkpoint(&store);
    let mut mark = Commit::default();
    let mut key = Vec::new();
    keys::mark(&mut key, Partition(1), Partition(0));
    mark.ops.put(&key, &[0, 5]);
    receiver.append(&mark).unwrap();
    // The sender's entries come behind the mark that trims them, and nobody told the sender.
    let mut commit = Commit::default();
    for number in 4..=7 {
        commit.ops.put(&outbox(number), b"message");
    }
    sender.append(&commit).unwrap();
    store.close().unwrap();
    drop((sender, receiver, store));

    let store = place.open();
    // One shard instead of two: nothing depends on how many there were.
    let mut shard = open_shard(&*store, 0, &[0, 1]);
    let from = keys::space_prefix(keys::SPACE_OUTBOX, Partition(0));
    let to = keys::prefix_end(&from).unwrap();
    let (rows, _) = wait(shard.scan(from, to, 100, usize::MAX)).unwrap();
    let found: Vec<&[u8]> = rows.iter().map(|(key, _)| &key[..]).collect();
    assert_eq!(found, [&outbox(6)[..], &outbox(7)[..]]);
    until("what was replayed is in the base", || lock(&store.recovered).is_none());
    assert!((1..=5).all(|number| !base_holds(&store, number)));
    assert_eq!(span(&store), Some(Span { first: 6, last: 7 }));
}

#[test]
fn a_delete_replayed_over_the_base_hides_what_the_base_holds() {
    let place = Place::new();
    let mut pending = keys::space_prefix(keys::SPACE_PENDING, Partition(0));
    pending.extend_from_slice(&7_u64.to_be_bytes());
    let store = place.open();
    let mut shard = open_shard(&*store, 0, &[0]);
    let mut insert = Commit::default();
    insert.ops.put(&pending, b"message");
    shard.append(&insert).unwrap();
    // The insert is in the base, and also still in the log: its segment is in use.
    checkpoint(&store);
    let mut delete = Commit::default();
    delete.ops.delete(&pending);
    shard.append(&delete).unwrap();
    store.close().unwrap();
    drop((shard, store));
    let store = place.open();
    let mut shard = open_shard(&*store, 0, &[0]);
    assert_eq!(wait(shard.get(vec![pending], usize::MAX)).unwrap(), [None]);
}

#[test]
fn a_read_answers_as_of_its_call() {
    let place = Place::new();
    let store = place.open();
    let mut shard = open_shard(&*store, 0, &[0]);
    shard.append(&put("a", b"1")).unwrap();
    checkpoint(&store);
    let read = shard.get(vec![state_key(0, "a")], usize::MAX);
    let from = keys::space_prefix(keys::SPACE_STATE, Partition(0));
    let to = keys::prefix_end(&from).unwrap();
    let scan = shard.scan(from, to, 10, usize::MAX);
    let snapshot = store.disk.base.snapshot();
    for round in 2..20_u8 {
        shard.append(&put("a", &[round])).unwrap();
        checkpoint(&store);
    }
    while store.disk.base.compact().unwrap() {}
    assert_eq!(wait(read).unwrap(), [Some(Bytes::from_static(b"1"))]);
    assert_eq!(wait(scan).unwrap().0[0].1, b"1"[..]);
    assert_eq!(snapshot.get(&state_key(0, "a")).unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(get(&mut *shard, "a").as_deref(), Some(&[19][..]));
}

#[test]
fn a_closed_store_answers_that_it_is_closed() {
    let place = Place::new();
    let store = place.open();
    let mut shard = open_shard(&*store, 0, &[0]);
    let lsn = shard.append(&put("a", b"1")).unwrap();
    checkpoint(&store);
    store.close().unwrap();
    store.close().unwrap();
    assert!(shard.durable().unwrap() >= lsn, "what was appended before is durable");
    let read = wait(shard.get(vec![state_key(0, "a")], usize::MAX)).unwrap_err().to_string();
    assert!(read.contains("closed"), "{read}");
    let append = shard.append(&put("a", b"2")).unwrap_err().to_string();
    assert!(append.contains("closed"), "{append}");
}

#[test]
fn damage_in_the_base_is_reported_with_the_keys() {
    let place = Place::new();
    let store = place.open();
    let mut shard = open_shard(&*store, 0, &[0]);
    for number in 0..2_000_u32 {
        shard.append(&put(&number.to_string(), &[number as u8; 100])).unwrap();
    }
    checkpoint(&store);
    let tables = place.directory.path().join("base/tables");
    let table = std::fs::read_dir(tables).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&table).unwrap();
    for at in (20_000..bytes.len() / 2).step_by(500) {
        bytes[at] ^= 1;
    }
    std::fs::write(&table, bytes).unwrap();
    let asked: Vec<_> = (0..2_000_u32).map(|number| state_key(0, &number.to_string())).collect();
    let message = match wait(shard.get(asked, usize::MAX)) {
        Err(error @ StoreError::DamagedFile { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(message.contains("base") && message.contains("tables/"), "{message}");
}

#[test]
fn recovery_is_exact_after_any_number_of_restarts() {
    let place = Place::new();
    let mut workload = Workload::new(9, &[0, 1, 2]);
    let mut options = place.options();
    options.log_bytes_max = 200 << 10;
    options.segment_bytes = 64 << 10;
    options.dirty_bytes_max = 50 << 10;
    for round in 0..12_usize {
        let store = place.open_with(options.clone());
        let partitions: &[&[u16]] = if round % 2 == 0 { &[&[0, 1, 2]] } else { &[&[2, 0], &[1]] };
        let mut shards: Vec<_> = partitions
            .iter()
            .enumerate()
            .map(|(number, partitions)| (open_shard(&*store, number, partitions), *partitions))
            .collect();
        if round % 2 == 0 {
            workload.check(&mut *shards[0].0);
        }
        for _ in 0..200 {
            let commit = workload.commit();
            let partition = commit.parts[0].partition.0;
            let owner = shards.iter_mut().find(|(_, owned)| owned.contains(&partition));
            owner.unwrap().0.append(&commit).unwrap();
        }
        if round % 3 == 0 {
            drop(store);
        } else {
            store.close().unwrap();
        }
    }
}

#[test]
fn a_replay_keeps_no_more_in_memory_than_it_may() {
    let place = Place::new();
    let mut options = place.options();
    options.segment_bytes = 64 << 10;
    let store = place.open_with(options.clone());
    let mut shard = open_shard(&*store, 0, &[0, 1]);
    let mut workload = Workload::new(3, &[0, 1]);
    for _ in 0..2_000 {
        shard.append(&workload.commit()).unwrap();
    }
    store.close().unwrap();
    drop((shard, store));
    options.dirty_bytes_max = 100_000;
    let directory = Directory::open(place.directory.path(), 8).unwrap();
    let base = Arc::new(Base::open(&directory.base, 1 << 20, false).unwrap());
    let recovered = recover(&directory.log, &base, 100_000, None).unwrap();
    assert!(recovered.replayed.record_bytes > 1_000_000);
    assert!(recovered.layer.bytes() < 300_000, "{} bytes", recovered.layer.bytes());
    drop((recovered, base, directory));
    // A crash at this point: the base is ahead of where the log begins.
    for _ in 0..2 {
        let store = place.open_with(options.clone());
        let mut shard = open_shard(&*store, 0, &[0, 1]);
        workload.check(&mut *shard);
        shard.append(&workload.commit()).unwrap();
        store.close().unwrap();
    }
}

#[test]
fn a_commit_waits_for_those_of_shards_at_work_and_not_of_shards_at_rest() {
    let place = Place::new();
    let mut options = place.options();
    options.gather_max = Duration::from_secs(3_600);
    let store = place.open_with(options);
    let mut shards: Vec<_> = (0..2).map(|n| open_shard(&*store, n, &[n as u16])).collect();
    let first = shards[0].append(&put("a", b"1")).unwrap();
    // Shard 1 has nothing to wait for.
    store.rests(0);
    wait_durable(&*shards[0], first).unwrap();
    shards[0].append(&put("a", b"2")).unwrap();
    let mut other = Commit::default();
    other.ops.put(&state_key(1, "b"), b"1");
    let last = shards[1].append(&other).unwrap();
    store.rests(0);
    std::thread::sleep(Duration::from_millis(20));
    assert!(shards[1].durable().unwrap() < last, "shard 1 is at work");
    store.rests(1);
    wait_durable(&*shards[1], last).unwrap();
    // A store that closes waits for nobody.
    shards[0].append(&put("a", b"3")).unwrap();
    drop(shards);
    store.close().unwrap();
    let store = place.open();
    let mut shard = open_shard(&*store, 0, &[0]);
    assert_eq!(get(&mut *shard, "a").as_deref(), Some(&b"3"[..]));
}
