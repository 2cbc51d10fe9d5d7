//! What leaves, what stays, and what comes back at a start.

use dormouse_engine::{Event, Frame, FrameBody, Limits, ScanFor, keys};
use dormouse_protocol::{Address, FunctionType, Partition, partition_of};
use expect_test::expect;

use crate::rig::{Rig, Setup, address, answer, message};
use crate::{awake, bounded, check, wake};

#[test]
fn messages_leave_in_the_order_sent_when_their_commit_is_appended() {
    let near = (0..).map(|n| format!("count/n{n}")).find(|text| place(text) == 0).unwrap();
    let far = (0..).map(|n| format!("count/f{n}")).find(|text| place(text) == 1).unwrap();
    let setup = Setup { partitions: 2, owned: vec![0], ..Setup::default() };
    let mut rig = Rig::with(setup);
    wake(&mut rig, &near);
    rig.submit(&near, "one");
    rig.done(answer().send(&far, "x").send(&near, "me").send(&far, "y").send(&near, "again"));
    rig.say("-- nothing leaves before the append");
    rig.append();
    rig.done(answer().send(&far, "z"));
    rig.append();
    let body = FrameBody::Confirm { epoch: 1, taken: 2 };
    rig.handle(Event::Frame(Frame { from: Partition(1), to: Partition(0), body }));
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
        call count/n1 with [one] state [None]
        call count/n1 with [me again] state [None]
        -- nothing leaves before the append
        commit 2: +outbox(1 1) +outbox(1 2) +pending(n1 3) +pending(n1 4) +head(1)
        frame 0>1 opens after 0 [x y]
        commit 3: +outbox(1 3) -pending(n1 3) -pending(n1 4) +head(1)
        frame 0>1 after 2 [z]
    "#]],
    );
}

#[test]
fn it_is_known_for_whom_the_open_commit_has_messages() {
    let near = (0..).map(|n| format!("count/n{n}")).find(|text| place(text) == 0).unwrap();
    let far = (0..).map(|n| format!("count/f{n}")).find(|text| place(text) == 1).unwrap();
    let mut rig = Rig::with(Setup { partitions: 2, owned: vec![0], ..Setup::default() });
    wake(&mut rig, &near);
    let has_sends_to = |rig: &Rig, partition| rig.shard.has_sends_to(|to| to == partition);
    rig.submit(&near, "one");
    rig.done(answer().send(&near, "me"));
    assert!(!has_sends_to(&rig, Partition(0)) && !has_sends_to(&rig, Partition(1)));
    rig.done(answer().send(&far, "x"));
    assert!(!has_sends_to(&rig, Partition(0)) && has_sends_to(&rig, Partition(1)));
    rig.append();
    assert!(!has_sends_to(&rig, Partition(1)));
}

fn place(text: &str) -> u16 {
    partition_of(&address(text), 2).0
}

#[test]
fn a_lost_opening_batch_is_sent_again() {
    let near = (0..).map(|n| format!("count/n{n}")).find(|text| place(text) == 0).unwrap();
    let far = (0..).map(|n| format!("count/f{n}")).find(|text| place(text) == 1).unwrap();
    let setup = || Setup { partitions: 2, ..Setup::default() };
    let mut sender = Rig::with(Setup { owned: vec![0], ..setup() });
    let mut receiver = Rig::with(Setup { owned: vec![1], ..setup() });
    wake(&mut sender, &near);
    sender.submit(&near, "one");
    sender.done(answer().send(&far, "x"));
    sender.append();
    sender.submit(&near, "two");
    sender.done(answer().send(&far, "y"));
    sender.append();
    check(
        &mut sender,
        &expect![[r#"
        call count/n1 with [one] state [None]
        commit 2: +outbox(1 1) +head(1)
        frame 0>1 opens after 0 [x]
        call count/n1 with [two] state [None]
        commit 3: +outbox(1 2) +head(1)
        frame 0>1 after 1 [y]
    "#]],
    );
    let batch = |after, opens, texts: &[&str]| {
        let messages = texts.iter().map(|text| message(&far, text).into()).collect();
        let body = FrameBody::Batch { epoch: 1, after, opens, messages };
        Event::Frame(Frame { from: Partition(0), to: Partition(1), body })
    };
    receiver.handle(batch(1, false, &["y"]));
    receiver.say("-- then both");
    receiver.handle(batch(0, true, &["x", "y"]));
    receiver.handle(batch(0, true, &["x"]));
    receiver.read();
    receiver.append();
    check(
        &mut receiver,
        &expect![[r#"
        frame 1>0 Gap { epoch: 0, taken: 0 }
        -- then both
        get 1 of State { id: InvocationId { slot: 0, generation: 2 }, first: 0 }
        call count/f0 with [x y] state [None]
        commit 1: +pending(f0 1) +pending(f0 2) +mark(0)
        frame 1>0 Confirm { epoch: 1, taken: 2 }
    "#]],
    );
    let body = FrameBody::Gap { epoch: 0, taken: 0 };
    sender.handle(Event::Frame(Frame { from: Partition(1), to: Partition(0), body }));
    check(
        &mut sender,
        &expect![[r#"
        frame 0>1 opens after 0 [x y]
    "#]],
    );
}

#[test]
fn an_egress_is_handed_no_more_than_its_window() {
    let mut rig = bounded(Limits { egress_window_len: 2, ..Limits::default() });
    wake(&mut rig, "count/a");
    rig.submit("count/a", "one");
    rig.done(answer().out("w").out("x").out("y").out("z"));
    rig.append();
    rig.say("-- durable");
    rig.sync();
    confirm(&mut rig, 2);
    rig.read();
    rig.sync();
    rig.say("-- late");
    confirm(&mut rig, 1);
    rig.read();
    rig.sync();
    check(
        &mut rig,
        &expect![[r#"
        call count/a with [one] state [None]
        commit 2: +egress(out 1) +egress(out 2) +egress(out 3) +egress(out 4) +head(out)
        -- durable
        egress 1 w
        egress 2 x
        scan Egress { partition: Partition(0), outbox: "out" }
        commit 3: -egress(out 2) +head(out)
        egress 3 y
        -- late
        scan Egress { partition: Partition(0), outbox: "out" }
        commit 4: -egress(out 1) +head(out)
        egress 4 z
    "#]],
    );
}

fn confirm(rig: &mut Rig, number: u64) {
    let outbox = "out".into();
    rig.handle(Event::EgressConfirmed { partition: Partition(0), outbox, number });
}

#[test]
fn a_reply_waits_for_what_it_rests_on() {
    let mut rig = awake();
    let mut question = message("count/a", "how many");
    let asker = Address::new(FunctionType::new("dormouse.http", "reply"), "r1");
    question.caller = Some(asker.clone());
    rig.submit("count/a", "one");
    rig.done(answer().set("1"));
    rig.append();
    rig.handle(Event::Submit { message: question, token: None });
    rig.reply(asker, "1");
    rig.append();
    rig.say("-- durable");
    rig.sync();
    check(
        &mut rig,
        &expect![[r#"
        call count/a with [one] state [None]
        commit 2: +state(a.n)
        call count/a with [how many] state [Some("1")]
        commit 3: 
        -- durable
        reply to r1: 1
    "#]],
    );
}

#[test]
fn messages_that_nobody_serves_stay_and_are_read_when_somebody_does() {
    let mut rig = Rig::new();
    rig.submit_token("nobody/a", "one", 1);
    rig.submit_token("count/b", "two", 2);
    rig.sync();
    check(
        &mut rig,
        &expect![[r#"
        get 1 of State { id: InvocationId { slot: 0, generation: 2 }, first: 0 }
        commit 1: +pending(a 1) +pending(b 2)
        accepted 1
        accepted 2
    "#]],
    );
    let mut rows = std::mem::take(&mut rig.rows);
    let mut key = Vec::new();
    keys::pending(&mut key, Partition(0), &address("nobody/a"), 1);
    let row = rows[&key].clone();
    keys::pending(&mut key, Partition(0), &address("count/a"), 1);
    rows.insert(key, row);
    let mut rig = Rig::with(Setup { rows, is_known: true, ..Setup::default() });
    rig.submit("count/a", "newer");
    rig.append();
    rig.read();
    check(
        &mut rig,
        &expect![[r#"
        scan Timers { partition: Partition(0) }
        scan Recovery { partition: Partition(0) }
        commit 1: +pending(a 101)
        scan Mail { id: InvocationId { slot: 0, generation: 2 } }
        scan Mail { id: InvocationId { slot: 1, generation: 4 } }
        get 1 of State { id: InvocationId { slot: 0, generation: 5 }, first: 0 }
        get 1 of State { id: InvocationId { slot: 1, generation: 6 }, first: 0 }
        call count/a with [one newer] state [None]
        call count/b with [two] state [None]
    "#]],
    );
}

#[test]
fn a_stored_state_of_another_type_blocks_its_address_and_is_kept() {
    let mut rig = Rig::new();
    wake(&mut rig, "count/a");
    rig.submit("count/a", "one");
    rig.done(answer().set("1"));
    rig.append();
    let rows = rig.rows.iter().map(|(key, value)| {
        let text = String::from_utf8_lossy(value).replace("t/int", "t/old");
        (key.clone(), text.into_bytes().into())
    });
    let rows = rows.collect();
    let mut rig = Rig::with(Setup { rows, is_known: true, ..Setup::default() });
    rig.read();
    rig.submit("count/a", "two");
    rig.read();
    rig.append();
    rig.advance(5_000);
    rig.read();
    check(
        &mut rig,
        &expect![[r#"
            scan Timers { partition: Partition(0) }
            scan Recovery { partition: Partition(0) }
            get 1 of State { id: InvocationId { slot: 0, generation: 2 }, first: 0 }
            blocked count/a (1) for 109 ms: state [n] of t/count/a: Previous type was: t/old, new type is: t/int
            commit 1: +pending(a 101)
            get 1 of State { id: InvocationId { slot: 0, generation: 3 }, first: 0 }
            blocked count/a (2) for 219 ms: state [n] of t/count/a: Previous type was: t/old, new type is: t/int
        "#]],
    );
}

#[test]
fn an_expired_value_is_gone_for_good_and_its_memory_too() {
    let mut rig = Rig::new();
    wake(&mut rig, "brief/a");
    let before = rig.shard.memory_bytes();
    rig.submit("brief/a", "one");
    rig.done(answer().set("a value of some length"));
    rig.append();
    rig.advance(49);
    rig.submit("brief/a", "two");
    rig.done(answer());
    rig.advance(1);
    rig.submit("brief/a", "three");
    rig.done(answer());
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
        call brief/a with [one] state [None]
        commit 2: +state(a.n)
        call brief/a with [two] state [Some("a value of some length")]
        call brief/a with [three] state [None]
        commit 3: -state(a.n)
    "#]],
    );
    assert_eq!(rig.shard.memory_bytes(), before);
}

#[test]
fn calls_keep_a_value_that_expires_after_calls_and_only_writes_one_that_expires_after_writes() {
    let mut rig = Rig::new();
    for target in ["visited/a", "brief/a"] {
        wake(&mut rig, target);
        rig.submit(target, "one");
        rig.done(answer().set("value"));
    }
    rig.sync();
    // Calls alone, each well within the time of the one before; the second one fails and is repeated.
    for _ in 0..2 {
        rig.advance(30);
        for target in ["visited/a", "brief/a"] {
            rig.submit(target, "again");
            rig.done(answer());
        }
        rig.sync();
    }
    rig.submit("visited/a", "failing");
    rig.advance(40);
    rig.fails();
    rig.sync();
    rig.text();
    // Another life counts the time in between: each request restarts it, also one that failed.
    let rows = std::mem::take(&mut rig.rows);
    let mut rig = Rig::with(Setup { rows, is_known: true, ..Setup::default() });
    rig.advance(100);
    rig.read();
    check(
        &mut rig,
        &expect![[r#"
            scan Timers { partition: Partition(0) }
            scan Recovery { partition: Partition(0) }
            scan Mail { id: InvocationId { slot: 0, generation: 2 } }
            get 1 of State { id: InvocationId { slot: 0, generation: 3 }, first: 0 }
            call visited/a with [failing] state [Some("value")]
        "#]],
    );
    rig.done(answer());
    rig.sync();
    rig.advance(49);
    rig.submit("visited/a", "in time");
    rig.done(answer());
    rig.advance(50);
    rig.submit("visited/a", "too late");
    rig.submit("brief/a", "too late");
    rig.read();
    check(
        &mut rig,
        &expect![[r#"
            commit 1: -pending(a 9) +state(a.n)
            call visited/a with [in time] state [Some("value")]
            call visited/a with [too late] state [None]
            get 1 of State { id: InvocationId { slot: 1, generation: 8 }, first: 0 }
            call brief/a with [too late] state [None]
        "#]],
    );
}

#[test]
fn an_egress_under_steady_load_is_read_all_the_same() {
    let mut rig = bounded(Limits { egress_window_len: 1, ..Limits::default() });
    wake(&mut rig, "count/a");
    for text in ["x", "y"] {
        rig.submit("count/a", "more");
        rig.done(answer().out(text));
        rig.seal();
    }
    rig.append_one();
    confirm(&mut rig, 1);
    rig.submit("count/a", "more");
    rig.done(answer().out("z"));
    rig.seal();
    rig.text();
    // Whenever the store takes a commit, there is a later one with more records.
    rig.append_one();
    rig.read();
    rig.sync();
    check(
        &mut rig,
        &expect![[r#"
        scan Egress { partition: Partition(0), outbox: "out" }
        commit 5: 
        egress 1 x
        egress 2 y
    "#]],
    );
}

#[test]
fn an_address_that_never_rests_does_not_hold_up_recovery() {
    let mut before = Rig::new();
    for target in ["count/a", "count/b"] {
        before.submit(target, "old");
    }
    before.append();
    let limits = Limits { recovering_max: 1, scan_rows_max: 1, ..Limits::default() };
    let rows = std::mem::take(&mut before.rows);
    let mut rig = Rig::with(Setup { rows, is_known: true, limits, ..Setup::default() });
    rig.read();
    for _ in 0..3 {
        rig.submit("count/a", "new");
        rig.append();
        rig.done(answer());
        rig.read();
    }
    check(
        &mut rig,
        &expect![[r#"
        scan Timers { partition: Partition(0) }
        scan Recovery { partition: Partition(0) }
        scan Mail { id: InvocationId { slot: 0, generation: 2 } }
        get 1 of State { id: InvocationId { slot: 0, generation: 3 }, first: 0 }
        call count/a with [old] state [None]
        commit 1: +pending(a 101)
        scan Recovery { partition: Partition(0) }
        call count/a with [new] state [None]
        scan Mail { id: InvocationId { slot: 1, generation: 7 } }
        get 1 of State { id: InvocationId { slot: 1, generation: 8 }, first: 0 }
        call count/b with [old] state [None]
        commit 2: -pending(a 1) +pending(a 102)
        call count/a with [new] state [None]
        commit 3: -pending(a 101) +pending(a 103)
    "#]],
    );
}

#[test]
fn a_blocked_address_does_not_hold_up_recovery() {
    let mut before = Rig::new();
    for target in ["count/a", "count/b"] {
        before.submit(target, "old");
    }
    before.append();
    let limits = Limits { recovering_max: 1, scan_rows_max: 1, ..Limits::default() };
    let rows = std::mem::take(&mut before.rows);
    let mut rig = Rig::with(Setup { rows, is_known: true, limits, ..Setup::default() });
    rig.read();
    rig.text();
    rig.fails();
    rig.read();
    check(
        &mut rig,
        &expect![[r#"
            blocked count/a (1) for 1036 ms: no
            scan Recovery { partition: Partition(0) }
            scan Mail { id: InvocationId { slot: 1, generation: 6 } }
            get 1 of State { id: InvocationId { slot: 1, generation: 7 }, first: 0 }
            call count/b with [old] state [None]
        "#]],
    );
}

#[test]
fn messages_to_self_come_in_the_next_batch() {
    let mut rig = awake();
    rig.submit("count/a", "one");
    rig.submit("count/a", "two");
    rig.done(answer().send("count/a", "self").set("1"));
    rig.done(answer().set("3"));
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
        call count/a with [one] state [None]
        call count/a with [two self] state [Some("1")]
        commit 2: +state(a.n)
    "#]],
    );
}

#[test]
#[should_panic(expected = "partition 0: 257 records of out are handed over, at most 256 may be")]
fn more_records_than_an_egress_may_be_handed_are_named() {
    let mut rig = Rig::new();
    rig.submit("dead/a", "x");
    rig.done(answer().out("record"));
    rig.sync();
    let mut first = Vec::new();
    keys::egress(&mut first, Partition(0), "out", 1);
    let value = rig.rows[&first].clone();
    let rows = (1..=257).map(|number| {
        let mut key = Vec::new();
        keys::egress(&mut key, Partition(0), "out", number);
        (key.into(), value.clone())
    });
    let purpose = ScanFor::Egress { partition: Partition(0), outbox: "out".into() };
    rig.handle(Event::Scanned { purpose, rows: rows.collect(), more: false });
}
