//! At the bounds: what waits in the store when memory is full, and what finding it again costs.

use dormouse_engine::keys::{self, Key};
use dormouse_engine::{ACTIVATION_BYTES, Event, Frame, FrameBody, Limits, ScanFor};
use dormouse_protocol::{Partition, partition_of};
use expect_test::expect;

use crate::rig::{Rig, Setup, address, answer};
use crate::{bounded, check, wake};

/// Memory for at most `awake` instances, which sleep as soon as they may.
fn memory_for(awake: usize) -> Limits {
    Limits { memory_bytes_max: awake * ACTIVATION_BYTES, idle_ms: 0, ..Limits::default() }
}

#[test]
fn a_sleeping_address_is_not_woken_when_memory_is_full() {
    let mut rig = bounded(memory_for(1));
    rig.submit("count/a", "one");
    rig.read();
    rig.say("-- full");
    rig.submit("count/b", "x");
    rig.submit("count/b", "y");
    assert_eq!(rig.shard.awake(), 1);
    assert_eq!(rig.shard.stats().spilled_messages, 2);
    rig.append();
    rig.advance(10);
    rig.read();
    check(
        &mut rig,
        &expect![[r#"
            get 1 of State { id: InvocationId { slot: 0, generation: 2 }, first: 0 }
            call count/a with [one] state [None]
            -- full
            commit 1: +pending(b 2) +pending(b 3) +pending(a 1)
        "#]],
    );
    rig.done(answer());
    rig.append();
    rig.say("-- room");
    let wake_ms = rig.shard.next_wake_ms();
    assert_eq!(wake_ms, Some(rig.now_ms + 10), "the sweep comes soon");
    rig.advance(10);
    rig.advance(10);
    rig.say("-- a third one is behind those two");
    rig.submit("count/b", "z");
    rig.read();
    rig.append();
    rig.read();
    assert_eq!(rig.shard.awake(), 1);
    assert_eq!(rig.shard.stats().spilled_messages, 0);
    check(
        &mut rig,
        &expect![[r#"
            commit 2: -pending(a 1)
            -- room
            scan Recovery { partition: Partition(0) }
            -- a third one is behind those two
            commit 3: +pending(b 4)
            scan Mail { id: InvocationId { slot: 0, generation: 5 } }
            get 1 of State { id: InvocationId { slot: 0, generation: 6 }, first: 0 }
            call count/b with [x y z] state [None]
        "#]],
    );
}

#[test]
fn what_was_put_aside_is_read_when_its_commit_is_readable() {
    let mut rig = bounded(memory_for(1));
    wake(&mut rig, "count/a");
    rig.submit("count/b", "one");
    rig.advance(10);
    rig.advance(10);
    rig.read();
    rig.say("-- nothing to read before the commit");
    rig.append();
    rig.read();
    check(
        &mut rig,
        &expect![[r#"
            -- nothing to read before the commit
            commit 2: +pending(b 2)
            scan Recovery { partition: Partition(0) }
            scan Mail { id: InvocationId { slot: 0, generation: 5 } }
            get 1 of State { id: InvocationId { slot: 0, generation: 6 }, first: 0 }
            call count/b with [one] state [None]
        "#]],
    );
}

#[test]
fn many_sleepers_with_messages_are_found_by_few_scans() {
    const ADDRESSES: usize = 5_000;
    let mut rig = bounded(Limits { recovering_max: 64, ..memory_for(1_000) });
    for round in 0..2 {
        for index in 0..ADDRESSES {
            rig.submit(&format!("count/{index}"), &round.to_string());
        }
    }
    while rig.shard.stats().messages_finished < 2 * ADDRESSES as u64 {
        rig.read();
        rig.done_all();
        rig.append();
        rig.advance(10);
        assert!(rig.shard.awake() <= 1_000);
    }
    rig.read();
    rig.advance(10);
    assert!(rig.shard.is_recovered());
    let (scans, rows) = searched(&rig);
    assert!(rows <= ADDRESSES * 4, "{rows} rows were read in {scans} scans to find {ADDRESSES}");
    assert!(scans <= ADDRESSES / 2, "{scans} scans");
}

/// Scans that looked for addresses with pending messages, and the rows that they were given.
fn searched(rig: &Rig) -> (usize, usize) {
    let is_search = |purpose: &ScanFor| matches!(purpose, ScanFor::Recovery { .. });
    let searches = rig.scans.iter().filter(|scan| is_search(&scan.purpose));
    searches.fold((0, 0), |(scans, rows), scan| (scans + 1, rows + scan.rows))
}

#[test]
fn only_the_first_messages_of_an_address_are_read_to_find_it() {
    let mut before = Rig::new();
    for (target, count) in [("a", 5_000), ("b", 1), ("c", 5_000), ("d", 5_000), ("e", 1)] {
        for _ in 0..count {
            before.submit(&format!("count/{target}"), "old");
        }
    }
    before.append();
    let rows = std::mem::take(&mut before.rows);
    let mut rig = Rig::with(Setup { rows, is_known: true, ..Setup::default() });
    rig.read();
    assert!(rig.shard.is_recovered());
    assert_eq!(rig.shard.awake(), 5);
    let (scans, rows) = searched(&rig);
    assert!(rows <= 40, "{rows} rows in {scans} scans");
    let first = &rig.scans[1];
    assert_eq!(first.from, keys::space_prefix(keys::SPACE_PENDING, Partition(0)));
}

#[test]
fn a_message_put_aside_is_looked_for_at_its_own_key() {
    let mut rig = bounded(memory_for(1));
    wake(&mut rig, "count/a");
    rig.submit("count/m", "one");
    rig.append();
    rig.advance(10);
    rig.advance(10);
    rig.read();
    let mut prefix = Vec::new();
    keys::pending_prefix(&mut prefix, Partition(0), &address("count/m"));
    assert_eq!(rig.scans[0].from, prefix, "not from the start of the space");
    assert_eq!(searched(&rig), (1, 1));
}

#[test]
fn twice_as_many_ask_after_each_second_without_an_answer_and_all_go_on_after_the_first() {
    let mut rig = bounded(Limits { handshakes_max: 1, ..Limits::default() });
    for id in 'a'..='l' {
        rig.submit(&format!("learn/{id}"), "x");
    }
    rig.say("-- a second");
    rig.advance(1_000);
    rig.say("-- and another");
    rig.advance(1_000);
    rig.say("-- the first answer");
    rig.done(answer());
    check(
        &mut rig,
        &expect![[r#"
        call learn/a with [x] state []
        -- a second
        call learn/b with [x] state []
        call learn/c with [x] state []
        -- and another
        call learn/d with [x] state []
        call learn/e with [x] state []
        call learn/f with [x] state []
        call learn/g with [x] state []
        -- the first answer
        call learn/h with [x] state []
        call learn/i with [x] state []
        call learn/j with [x] state []
        call learn/k with [x] state []
        call learn/l with [x] state []
    "#]],
    );
}

#[test]
fn a_type_has_one_gate_however_often_its_first_calls_fail() {
    let mut rig = bounded(Limits { handshakes_max: 1, ..Limits::default() });
    for id in ["a", "b", "c"] {
        rig.submit(&format!("learn/{id}"), "x");
        rig.fails();
        rig.advance(100);
    }
    rig.submit("learn/d", "hangs");
    for id in 'e'..='l' {
        rig.submit(&format!("learn/{id}"), "waits");
    }
    rig.text();
    rig.say("-- a second after the first of all");
    rig.advance(700);
    rig.say("-- a second after those that failed");
    rig.advance(200);
    check(
        &mut rig,
        &expect![[r#"
        -- a second after the first of all
        call learn/e with [waits] state []
        call learn/f with [waits] state []
        -- a second after those that failed
    "#]],
    );
}

#[test]
fn delayed_messages_are_read_from_where_the_last_one_fired() {
    let limits = || Limits { timers_near_max: 4, ..Limits::default() };
    let mut rig = bounded(limits());
    wake(&mut rig, "count/a");
    rig.submit("count/a", "one");
    let sends = (1..=20).fold(answer(), |all, n| all.delay(n * 10, "count/b", "later", None));
    rig.done(sends);
    rig.append();
    // Half of them fire, a few at a time: each scan goes on where the last one ended.
    for _ in 0..10 {
        rig.advance(10);
        rig.read();
        rig.done_all();
        rig.append();
    }
    let read = timers_read(&rig);
    assert!(read.len() >= 3, "{read:?}");
    assert!(read.is_sorted() && read[0] > 1_000, "{read:?}");
    // Another life begins behind the last one that fired, and has the other half before it.
    let rows = std::mem::take(&mut rig.rows);
    let setup = Setup { rows, is_known: true, limits: limits(), ..Setup::default() };
    let mut rig = Rig::with(setup);
    rig.read();
    assert_eq!(timers_read(&rig)[0], 1_100);
    for _ in 0..20 {
        rig.advance(10);
        rig.read();
        rig.done_all();
        rig.append();
    }
    assert_eq!(rig.shard.stats().delayed_fired, 10);
    let read = timers_read(&rig);
    assert!(read.is_sorted() && read.len() >= 3, "{read:?}");
}

/// The due times from which scans for delayed messages have read.
fn timers_read(rig: &Rig) -> Vec<u64> {
    let is_timers = |purpose: &ScanFor| matches!(purpose, ScanFor::Timers { .. });
    let scans = rig.scans.iter().filter(|scan| is_timers(&scan.purpose));
    let due = scans.map(|scan| match keys::parse(&scan.from).expect("a whole key").1 {
        Key::Due { due_ms, .. } => due_ms,
        other => panic!("{other:?}"),
    });
    due.collect()
}

/// A shard with partition 0 of three, an instance awake in it, and addresses in the other two.
fn sender() -> (Rig, String, [String; 2]) {
    let place = |text: &str| partition_of(&address(text), 3).0;
    let find = |partition| {
        let names = (0..).map(|n| format!("count/n{n}"));
        names.into_iter().find(|text| place(text) == partition).expect("ids are spread")
    };
    let mut rig = Rig::with(Setup { partitions: 3, owned: vec![0], ..Setup::default() });
    let near = find(0);
    wake(&mut rig, &near);
    (rig, near, [find(1), find(2)])
}

fn confirm(rig: &mut Rig, receiver: u16, taken: u64) {
    let body = FrameBody::Confirm { epoch: 1, taken };
    rig.handle(Event::Frame(Frame { from: Partition(receiver), to: Partition(0), body }));
}

#[test]
fn confirmations_ride_on_the_commits_of_messages() {
    const MESSAGES: u64 = 100;
    let (mut rig, near, [far, _]) = sender();
    let before = rig.shard.stats().commits;
    for number in 1..=MESSAGES {
        rig.submit(&near, "one");
        rig.done(answer().send(&far, "x"));
        rig.append();
        confirm(&mut rig, 1, number);
        rig.append();
    }
    assert_eq!(rig.shard.stats().commits - before, MESSAGES, "one for each message");
    assert_eq!(rig.trims, MESSAGES - 1, "the last confirmation waits");
    assert_eq!(rig.shard.next_wake_ms(), Some(rig.now_ms + 100));
    rig.advance(100);
    rig.append();
    assert_eq!(rig.trims, MESSAGES);
}

#[test]
fn confirmations_that_wait_are_sealed_when_they_are_many() {
    let (mut rig, near, far) = sender();
    rig.submit(&near, "one");
    let sends = (0..1_024).fold(answer(), |all, n| all.send(&far[n % 2], "x"));
    rig.done(sends);
    rig.append();
    for number in 1..=512 {
        confirm(&mut rig, 1, number);
        rig.append();
        assert_eq!(rig.trims, 0);
        confirm(&mut rig, 2, number);
        rig.append();
    }
    assert_eq!(rig.trims, 1_024);
}

#[test]
fn an_address_under_steady_load_leaves_the_store_when_it_has_caught_up() {
    let mut rig = bounded(Limits { mailbox_len_max: 4, ..Limits::default() });
    wake(&mut rig, "count/a");
    for text in ["1", "2", "3", "4", "5", "6", "7"] {
        rig.submit("count/a", text);
    }
    rig.append();
    rig.done(answer());
    rig.done(answer());
    rig.say("-- new ones come while the last ones are read");
    rig.submit("count/a", "8");
    rig.append();
    rig.submit("count/a", "9");
    rig.read();
    rig.submit("count/a", "10");
    rig.say("-- nothing is left in the store that memory does not hold");
    assert_eq!(rig.shard.stats().spilled_messages, 0);
    rig.done_all();
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
        call count/a with [1] state [None]
        commit 2: +pending(a 7) +pending(a 8) +pending(a 2) +pending(a 3) +pending(a 4) +pending(a 5) +pending(a 6)
        call count/a with [2 3 4 5] state [None]
        scan Mail { id: InvocationId { slot: 0, generation: 6 } }
        -- new ones come while the last ones are read
        commit 3: -pending(a 2) -pending(a 3) -pending(a 4) -pending(a 5) -pending(a 6) +pending(a 9)
        call count/a with [6 7 8 9] state [None]
        -- nothing is left in the store that memory does not hold
        call count/a with [10] state [None]
        commit 4: -pending(a 7) -pending(a 8) -pending(a 9)
    "#]],
    );
}

#[test]
fn what_came_during_a_read_goes_behind_what_the_read_did_not_bring() {
    let mut rig = bounded(Limits { mailbox_len_max: 2, ..Limits::default() });
    wake(&mut rig, "count/a");
    for text in ["1", "2", "3", "4", "5", "6", "7"] {
        rig.submit("count/a", text);
    }
    rig.append();
    rig.done(answer());
    rig.done(answer());
    rig.say("-- two of four are read");
    rig.submit("count/a", "8");
    rig.append();
    rig.submit("count/a", "9");
    rig.read();
    rig.say("-- the others, and then what came");
    rig.append();
    for _ in 0..3 {
        rig.done_all();
        rig.read();
    }
    rig.append();
    assert!(rig.rows.is_empty(), "nothing is pending");
    check(
        &mut rig,
        &expect![[r#"
        call count/a with [1] state [None]
        commit 2: +pending(a 5) +pending(a 6) +pending(a 7) +pending(a 8) +pending(a 2) +pending(a 3) +pending(a 4)
        call count/a with [2 3] state [None]
        scan Mail { id: InvocationId { slot: 0, generation: 6 } }
        -- two of four are read
        commit 3: -pending(a 2) -pending(a 3) -pending(a 4) +pending(a 9)
        call count/a with [4 5] state [None]
        -- the others, and then what came
        commit 4: +pending(a 10)
        scan Mail { id: InvocationId { slot: 0, generation: 8 } }
        call count/a with [6 7] state [None]
        scan Mail { id: InvocationId { slot: 0, generation: 10 } }
        call count/a with [8 9] state [None]
        commit 5: -pending(a 5) -pending(a 6) -pending(a 7) -pending(a 8) -pending(a 9) -pending(a 10)
    "#]],
    );
}

#[test]
fn a_type_that_hangs_leaves_places_for_others() {
    let mut rig = bounded(Limits { in_flight_max: 4, ..Limits::default() });
    for id in 1..=4 {
        rig.submit(&format!("slow/{id}"), "hangs");
    }
    rig.say("-- half of the places are taken; the next type gets half of the rest");
    rig.submit("dead/1", "hangs too");
    rig.submit("dead/2", "waits");
    rig.say("-- one is left");
    rig.submit("drop/1", "runs");
    assert_eq!(rig.shard.in_flight(), 4);
    rig.say("-- a place that is left goes to whoever waited first and may have it");
    rig.done(answer());
    rig.done(answer());
    rig.done(answer());
    rig.done_all();
    check(
        &mut rig,
        &expect![[r#"
        call slow/1 with [hangs] state []
        call slow/2 with [hangs] state []
        -- half of the places are taken; the next type gets half of the rest
        call dead/1 with [hangs too] state []
        -- one is left
        call drop/1 with [runs] state []
        -- a place that is left goes to whoever waited first and may have it
        call slow/3 with [hangs] state []
        call dead/2 with [waits] state []
        call slow/4 with [hangs] state []
    "#]],
    );
}
