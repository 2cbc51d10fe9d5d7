//! The suite that every store has to pass. A store's tests call [`conformance_tests!`] with a way to
//! make an empty store; what a crash must not change is checked with the same [`Workload`].
//!
//! [`conformance_tests!`]: crate::conformance_tests

pub mod content;
mod workload;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dormouse_engine::{Commit, Fence, PartMeta, Trim, keys};
use dormouse_protocol::{Address, FunctionType, Partition};

pub use workload::Workload;

use crate::{Lsn, ShardStore, Store, StoreError};

/// Makes an empty store.
pub type Make<'a> = &'a dyn Fn() -> Arc<dyn Store>;

/// Declares one test for each check of the suite.
#[macro_export]
macro_rules! conformance_tests {
    ($make:expr) => {
        $crate::conformance_tests!($make;
            reads_see_appends_at_once,
            gets_answer_no_more_than_fits,
            scans_are_in_order_and_bounded,
            opening_a_partition_gives_its_meta,
            an_empty_commit_waits_for_all_before_it,
            trimmed_entries_are_gone,
            commits_are_absolute,
            shards_are_apart,
            partitions_belong_to_one_shard,
            positions_grow_and_become_durable,
            what_cannot_be_stored_is_refused_whole,
            commits_of_others_and_after_a_gap_are_refused_whole,
            random_work_reads_back
        );
    };
    ($make:expr; $($check:ident),*) => {
        $(
            #[test]
            fn $check() {
                $crate::conformance::$check(&$make);
            }
        )*
    };
}

/// Waits for a read on the current thread.
pub fn wait<T>(mut future: Pin<Box<dyn Future<Output = T>>>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Waits until everything up to `lsn` is durable.
pub fn wait_durable(shard: &dyn ShardStore, lsn: Lsn) -> Result<(), StoreError> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while shard.durable()? < lsn {
        assert!(Instant::now() < deadline, "{lsn:?} never became durable");
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// A shard that nobody is woken for.
pub fn open_shard(store: &dyn Store, shard: usize, partitions: &[u16]) -> Box<dyn ShardStore> {
    let partitions: Vec<Partition> = partitions.iter().map(|number| Partition(*number)).collect();
    store.open_shard(shard, &partitions, Arc::new(|| {})).expect("the shard opens")
}

fn address(id: &str) -> Address {
    Address::new(FunctionType::parse("example/counter").expect("a type"), id)
}

/// The key of a state of `id`.
pub fn state_key(partition: u16, id: &str) -> Vec<u8> {
    let mut key = Vec::new();
    keys::state_prefix(&mut key, Partition(partition), &address(id));
    key.extend_from_slice(b"value");
    key
}

fn pending_key(partition: u16, id: &str, arrival: u64) -> Vec<u8> {
    let mut key = Vec::new();
    keys::pending(&mut key, Partition(partition), &address(id), arrival);
    key
}

fn outbox_key(from: u16, to: u16, number: u64) -> Vec<u8> {
    let mut key = Vec::new();
    keys::outbox(&mut key, Partition(from), Partition(to), number);
    key
}

fn puts(rows: &[(Vec<u8>, &str)]) -> Commit {
    let mut commit = Commit::default();
    for (key, value) in rows {
        commit.ops.put(key, value.as_bytes());
    }
    commit
}

fn deletes(keys: &[Vec<u8>]) -> Commit {
    let mut commit = Commit::default();
    for key in keys {
        commit.ops.delete(key);
    }
    commit
}

fn append(shard: &mut dyn ShardStore, commit: &Commit) -> Lsn {
    shard.append(commit).expect("the commit is taken")
}

fn get(shard: &mut dyn ShardStore, keys: &[Vec<u8>]) -> Vec<Option<String>> {
    let values = wait(shard.get(keys.to_vec(), usize::MAX)).expect("the read works");
    let text = |value: &Bytes| String::from_utf8_lossy(value).into_owned();
    values.iter().map(|value| value.as_ref().map(text)).collect()
}

fn some(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| Some((*value).into())).collect()
}

/// All keys of a space of a partition, read `rows_max` at a time.
fn scan_keys(
    shard: &mut dyn ShardStore,
    (space, partition): (u8, u16),
    rows_max: usize,
) -> Vec<Bytes> {
    let mut from = keys::space_prefix(space, Partition(partition));
    let to = keys::prefix_end(&from).expect("a space has an end");
    let mut found = Vec::new();
    loop {
        let scan = shard.scan(from.clone(), to.clone(), rows_max, usize::MAX);
        let (rows, more) = wait(scan).expect("the scan works");
        assert!(rows.len() <= rows_max);
        let Some((last, _)) = rows.last() else {
            assert!(!more, "an answer without rows says that there are more");
            return found;
        };
        from = [&last[..], &[0]].concat();
        found.extend(rows.into_iter().map(|(key, _)| key));
        if !more {
            return found;
        }
    }
}

pub fn reads_see_appends_at_once(make: Make<'_>) {
    let store = make();
    let mut shard = open_shard(&*store, 0, &[0, 1]);
    let asked = [state_key(0, "a"), state_key(1, "b"), state_key(0, "c")];
    assert_eq!(get(&mut *shard, &asked), [None, None, None]);
    let rows = [(asked[2].clone(), "3"), (asked[0].clone(), "1")];
    append(&mut *shard, &puts(&rows));
    let expected = [Some("1".into()), None, Some("3".into())];
    assert_eq!(get(&mut *shard, &asked), expected);
    append(&mut *shard, &puts(&[(asked[0].clone(), "longer than it was")]));
    append(&mut *shard, &deletes(&asked[2..]));
    let expected = [Some("longer than it was".into()), None, None];
    assert_eq!(get(&mut *shard, &asked), expected);
    store.close().expect("the store closes");
}

pub fn gets_answer_no_more_than_fits(make: Make<'_>) {
    let store = make();
    let mut shard = open_shard(&*store, 0, &[0]);
    let long = "x".repeat(40_000);
    let keys: Vec<_> = ["a", "b", "c", "none"].map(|id| state_key(0, id)).into();
    // Some of them in the base by the time of the reads, where there is one.
    for key in &keys[..3] {
        append(&mut *shard, &puts(&[(key.clone(), &long)]));
    }
    for _ in 0..20 {
        let lengths = |bytes_max| {
            let values = wait(shard.get(keys.clone(), bytes_max)).expect("the read works");
            values.iter().map(|value| value.as_ref().map(Bytes::len)).collect::<Vec<_>>()
        };
        let mut lengths = lengths;
        let found = Some(long.len());
        assert_eq!(lengths(0), [found], "at least one");
        assert_eq!(lengths(40_000), [found]);
        assert_eq!(lengths(40_001), [found, found]);
        assert_eq!(lengths(200_000), [found, found, found, None]);
        std::thread::sleep(Duration::from_millis(2));
    }
    store.close().expect("the store closes");
}

pub fn scans_are_in_order_and_bounded(make: Make<'_>) {
    let store = make();
    let mut shard = open_shard(&*store, 0, &[0, 1]);
    let all: Vec<Vec<u8>> = (1..=20).map(|at| pending_key(0, "a", at)).collect();
    for key in all.iter().rev() {
        append(&mut *shard, &puts(&[(key.clone(), "message")]));
    }
    append(&mut *shard, &puts(&[(pending_key(1, "a", 21), "other")]));
    append(&mut *shard, &deletes(&all[3..6]));
    let left: Vec<&[u8]> = all[..3].iter().chain(&all[6..]).map(|key| &key[..]).collect();
    for rows_max in [1, 3, 100] {
        let found = scan_keys(&mut *shard, (keys::SPACE_PENDING, 0), rows_max);
        assert_eq!(found, left, "{rows_max} rows at a time");
    }
    let (from, to) = (all[0].clone(), pending_key(0, "b", 0));
    let two_rows = 2 * all[0].len() + "message".len() + 1;
    let (rows, more) = wait(shard.scan(from.clone(), to.clone(), 100, two_rows)).expect("a scan");
    assert_eq!((rows.len(), more), (2, true));
    let (rows, _) = wait(shard.scan(from, to.clone(), 100, 1)).expect("a scan");
    assert_eq!(rows.len(), 1, "at least one row, however big");
    let (rows, more) = wait(shard.scan(to.clone(), to, 100, 100)).expect("a scan");
    assert_eq!((rows.len(), more), (0, false));
    store.close().expect("the store closes");
}

fn meta(partition: u16, seq: u64) -> PartMeta {
    PartMeta {
        partition: Partition(partition),
        fence: Fence { counter: 7, nonce: 9 },
        seq,
        time_ms: 1_000 + seq,
        arrival: 10 * seq,
    }
}

pub fn opening_a_partition_gives_its_meta(make: Make<'_>) {
    let store = make();
    let mut shard = open_shard(&*store, 0, &[0, 1]);
    let opened = wait(shard.open(Partition(0))).expect("it opens");
    assert_eq!((opened.meta, opened.rows.len()), (None, 0));
    let mut source = keys::space_prefix(keys::SPACE_META, Partition(0));
    source.extend_from_slice(b"xtopic");
    let mut mark = Vec::new();
    keys::mark(&mut mark, Partition(0), Partition(1));
    for seq in 1..=3 {
        let mut commit = puts(&[(source.clone(), "position"), (mark.clone(), "\0\x01")]);
        commit.parts = vec![meta(0, seq), meta(1, seq + 5)];
        append(&mut *shard, &commit);
    }
    let opened = wait(shard.open(Partition(0))).expect("it opens");
    assert_eq!(opened.meta, Some(meta(0, 3)));
    let found: Vec<&[u8]> = opened.rows.iter().map(|(key, _)| &key[..]).collect();
    assert_eq!(found, [&mark[..], &source[..]]);
    let opened = wait(shard.open(Partition(1))).expect("it opens");
    assert_eq!((opened.meta, opened.rows.len()), (Some(meta(1, 8)), 0));
    let found = scan_keys(&mut *shard, (keys::SPACE_META, 0), 1);
    assert_eq!(found, [&mark[..], &source[..]], "no scan shows the meta's row");
    store.close().expect("the store closes");
}

pub fn an_empty_commit_waits_for_all_before_it(make: Make<'_>) {
    let store = make();
    let mut first = open_shard(&*store, 0, &[0]);
    let mut second = open_shard(&*store, 1, &[1]);
    let empty = Commit::default();
    let before = append(&mut *second, &empty);
    let lsn = append(&mut *first, &puts(&[(state_key(0, "a"), "1")]));
    assert!(lsn > before);
    assert_eq!(append(&mut *second, &empty), lsn, "the last one of any shard");
    assert_eq!(append(&mut *first, &empty), lsn, "nothing is written");
    wait_durable(&*second, lsn).expect("it becomes durable");
    store.close().expect("the store closes");
}

pub fn trimmed_entries_are_gone(make: Make<'_>) {
    let store = make();
    let mut shard = open_shard(&*store, 0, &[0, 1]);
    let entries = |from, to: u16, numbers: std::ops::RangeInclusive<u64>| -> Vec<Vec<u8>> {
        numbers.map(|number| outbox_key(from, to, number)).collect()
    };
    for to in [1, 2, 3] {
        for key in entries(0, to, 1..=10) {
            append(&mut *shard, &puts(&[(key, "message")]));
        }
    }
    let trim = |to: u16, upto: u64| Commit {
        trims: vec![Trim { from: Partition(0), to: Partition(to), upto }],
        ..Commit::default()
    };
    append(&mut *shard, &trim(2, 4));
    append(&mut *shard, &trim(3, 10));
    append(&mut *shard, &trim(2, 3));
    let left = [entries(0, 1, 1..=10), entries(0, 2, 5..=10)].concat();
    for rows_max in [1, 7, 100] {
        let found = scan_keys(&mut *shard, (keys::SPACE_OUTBOX, 0), rows_max);
        assert_eq!(found, left);
    }
    let asked = [outbox_key(0, 2, 4), outbox_key(0, 2, 5)];
    assert_eq!(get(&mut *shard, &asked), [None, Some("message".into())]);
    append(&mut *shard, &puts(&[(outbox_key(0, 3, 11), "later")]));
    let found = scan_keys(&mut *shard, (keys::SPACE_OUTBOX, 0), 100);
    assert_eq!(found.last().map(|key| &key[..]), Some(&outbox_key(0, 3, 11)[..]));
    store.close().expect("the store closes");
}

pub fn commits_are_absolute(make: Make<'_>) {
    let store = make();
    let mut shard = open_shard(&*store, 0, &[0]);
    let mut commit = puts(&[(state_key(0, "a"), "1"), (pending_key(0, "a", 1), "m")]);
    commit.ops.delete(&state_key(0, "b"));
    commit.parts = vec![meta(0, 1)];
    for _ in 0..3 {
        append(&mut *shard, &commit);
        let asked = [state_key(0, "a"), state_key(0, "b")];
        assert_eq!(get(&mut *shard, &asked), [Some("1".into()), None]);
        let found = scan_keys(&mut *shard, (keys::SPACE_PENDING, 0), 100);
        assert_eq!(found, [&pending_key(0, "a", 1)[..]]);
    }
    store.close().expect("the store closes");
}

pub fn shards_are_apart(make: Make<'_>) {
    let store = make();
    let mut first = open_shard(&*store, 0, &[0]);
    let mut second = open_shard(&*store, 1, &[1]);
    append(&mut *first, &puts(&[(state_key(0, "a"), "first")]));
    append(&mut *second, &puts(&[(state_key(1, "a"), "second")]));
    assert_eq!(get(&mut *first, &[state_key(0, "a")]), some(&["first"]));
    assert_eq!(get(&mut *second, &[state_key(1, "a")]), some(&["second"]));
    store.close().expect("the store closes");
}

pub fn partitions_belong_to_one_shard(make: Make<'_>) {
    let store = make();
    let _first = open_shard(&*store, 0, &[0, 1]);
    let refused = store.open_shard(1, &[Partition(2), Partition(1)], Arc::new(|| {}));
    let message = refused.expect_err("partition 1 is taken").to_string();
    assert!(message.contains("partition 1 belongs to shard 0"), "{message}");
    store.close().expect("the store closes");
}

pub fn positions_grow_and_become_durable(make: Make<'_>) {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let store = make();
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&woken);
    let waker = Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let mut shard = store.open_shard(0, &[Partition(0)], waker).expect("the shard opens");
    let mut last = Lsn::default();
    for round in 0..100 {
        let lsn = append(&mut *shard, &puts(&[(state_key(0, "a"), &round.to_string())]));
        assert!(lsn > last);
        last = lsn;
    }
    wait_durable(&*shard, last).expect("it becomes durable");
    let deadline = Instant::now() + Duration::from_secs(10);
    while woken.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "nobody was woken");
        std::thread::yield_now();
    }
    store.close().expect("the store closes");
}

pub fn what_cannot_be_stored_is_refused_whole(make: Make<'_>) {
    let store = make();
    let mut shard = open_shard(&*store, 0, &[0]);
    let mut long = state_key(0, "a");
    long.resize(65_536, b'x');
    for key in [&long[..], b""] {
        let mut commit = puts(&[(state_key(0, "a"), "1")]);
        commit.ops.put(key, b"value");
        let refused = shard.append(&commit);
        assert!(matches!(refused, Err(StoreError::Unstorable { .. })), "{refused:?}");
    }
    assert_eq!(get(&mut *shard, &[state_key(0, "a")]), [None]);
    long.truncate(65_535);
    append(&mut *shard, &puts(&[(long.clone(), "fits")]));
    assert_eq!(get(&mut *shard, &[long]), some(&["fits"]));
    store.close().expect("the store closes");
}

pub fn commits_of_others_and_after_a_gap_are_refused_whole(make: Make<'_>) {
    let store = make();
    let mut shard = open_shard(&*store, 0, &[0, 1]);
    let mut commit = puts(&[(state_key(0, "a"), "first")]);
    commit.parts = vec![meta(0, 1), meta(1, 6)];
    let first = append(&mut *shard, &commit);
    let other = PartMeta { fence: Fence { counter: 7, nonce: 8 }, ..meta(1, 7) };
    for (parts, why) in [
        (vec![meta(0, 2), other], "partition 1: commit 7: another owner has taken the partition"),
        (vec![meta(0, 3), meta(1, 7)], "partition 0: commit 3: a commit before it is missing"),
    ] {
        let mut commit = puts(&[(state_key(0, "a"), "second")]);
        commit.parts = parts;
        let refused = shard.append(&commit).map_err(|error| error.to_string());
        assert!(refused.as_ref().is_err_and(|error| error.contains(why)), "{refused:?}");
        assert_eq!(get(&mut *shard, &[state_key(0, "a")]), some(&["first"]));
    }
    // The same once more, since its answer was lost: nothing is written.
    let mut again = puts(&[(state_key(0, "a"), "repeated")]);
    again.parts = vec![meta(0, 1), meta(1, 6)];
    assert_eq!(append(&mut *shard, &again), first);
    assert_eq!(get(&mut *shard, &[state_key(0, "a")]), some(&["first"]));
    // One who opens the partition goes on where the store is.
    let opened = wait(shard.open(Partition(1))).expect("it opens");
    assert_eq!(opened.meta, Some(meta(1, 6)));
    let mut next = puts(&[(state_key(1, "b"), "next")]);
    next.parts = vec![meta(1, 7)];
    assert!(append(&mut *shard, &next) > first);
    store.close().expect("the store closes");
}

pub fn random_work_reads_back(make: Make<'_>) {
    let store = make();
    let mut shards: Vec<_> = [[0, 2], [1, 3]]
        .into_iter()
        .enumerate()
        .map(|(number, owned)| {
            let workload = Workload::new(number as u64 + 1, &owned);
            (open_shard(&*store, number, &owned), workload)
        })
        .collect();
    for round in 0..2_000 {
        for (shard, workload) in &mut shards {
            append(&mut **shard, &workload.commit());
            if round % 100 == 0 {
                workload.check(&mut **shard);
            } else if round % 10 == 0 {
                workload.check_some(&mut **shard);
            }
        }
    }
    for (shard, workload) in &mut shards {
        workload.check(&mut **shard);
    }
    store.close().expect("the store closes");
}
