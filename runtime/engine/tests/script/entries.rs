//! Tables and buffers: reads while a function runs, writes with its other effects, expiry of each entry,
//! and deleting what was given up.

use dormouse_engine::keys::{self, Key};
use dormouse_engine::{Event, Limits};
use dormouse_protocol::{Partition, entries::PAGE_ROWS_MAX};
use expect_test::expect;

use crate::rig::{Rig, Setup, answer};
use crate::{bounded, check};

/// A rig in which an instance has entries a, b and c.
fn filled(target: &str) -> Rig {
    let mut rig = Rig::new();
    fill(&mut rig, target);
    rig
}

fn fill(rig: &mut Rig, target: &str) {
    rig.submit(target, "fill");
    rig.read();
    rig.done(answer().set("head").put("a", "1").put("b", "2").put("c", "3"));
    rig.sync();
    rig.text();
}

#[test]
fn a_running_function_reads_entries_while_others_go_on() {
    let mut rig = filled("table/x");
    rig.submit("table/x", "one");
    rig.submit("table/x", "two");
    rig.asks_entry("b");
    rig.submit("count/y", "other");
    rig.say("-- the other one is loaded, this one waits for its entry alone");
    rig.read();
    rig.asks_entry("missing");
    rig.read();
    rig.asks_page("a", "c", 10);
    rig.read();
    rig.done(answer().put("b", "5").remove("a"));
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
            call table/x with [one] state [Some("head")]
            get 1 of Entry { id: InvocationId { slot: 0, generation: 4 }, spec: 0, key: b"b" }
            get 1 of State { id: InvocationId { slot: 1, generation: 6 }, first: 0 }
            -- the other one is loaded, this one waits for its entry alone
            rows [b=2] next None
            call count/y with [other] state [None]
            get 1 of Entry { id: InvocationId { slot: 0, generation: 4 }, spec: 0, key: b"missing" }
            rows [] next None
            scan Entries { id: InvocationId { slot: 0, generation: 4 }, spec: 0 }
            rows [a=1 b=2] next None
            call table/x with [two] state [Some("head")]
            commit 2: +entry(x.e b) -entry(x.e a) +pending(x 3) +pending(y 4)
        "#]],
    );
}

#[test]
fn a_read_waits_until_the_last_write_can_be_read() {
    let mut rig = filled("table/x");
    rig.submit("table/x", "one");
    rig.done(answer().put("b", "5"));
    rig.submit("table/x", "two");
    rig.asks_entry("b");
    rig.say("-- nothing is read before the commit");
    rig.read();
    assert!(rig.shard.has_releases(), "somebody waits for the commit");
    rig.append();
    assert!(!rig.shard.has_releases());
    rig.read();
    check(
        &mut rig,
        &expect![[r#"
            call table/x with [one] state [Some("head")]
            call table/x with [two] state [Some("head")]
            -- nothing is read before the commit
            commit 2: +entry(x.e b) +pending(x 3)
            get 1 of Entry { id: InvocationId { slot: 0, generation: 5 }, spec: 0, key: b"b" }
            rows [b=5] next None
        "#]],
    );
}

#[test]
fn an_instance_does_not_sleep_before_its_entries_can_be_read() {
    let mut rig = bounded(Limits { idle_ms: 0, ..Limits::default() });
    fill(&mut rig, "table/x");
    rig.submit("table/x", "one");
    rig.read();
    rig.done(answer().put("b", "5"));
    rig.seal();
    (0..100).for_each(|_| rig.advance(1_000));
    assert_eq!(rig.shard.awake(), 1);
    rig.append_one();
    (0..100).for_each(|_| rig.advance(1_000));
    assert_eq!(rig.shard.awake(), 0);
}

#[test]
fn pages_are_bounded_whatever_is_asked_for() {
    let limits = Limits { scan_rows_max: 2, ..Limits::default() };
    let mut rig = bounded(limits);
    fill(&mut rig, "table/x");
    rig.submit("table/x", "one");
    rig.read();
    rig.asks_page("", "z", usize::MAX);
    rig.read();
    rig.asks_page("b\0", "z", PAGE_ROWS_MAX);
    rig.read();
    check(
        &mut rig,
        &expect![[r#"
            call table/x with [one] state [Some("head")]
            scan Entries { id: InvocationId { slot: 0, generation: 4 }, spec: 0 }
            rows [a=1 b=2] next Some("b\\x00")
            scan Entries { id: InvocationId { slot: 0, generation: 4 }, spec: 0 }
            rows [c=3] next None
        "#]],
    );
}

#[test]
fn pages_of_many_readers_share_the_memory() {
    let limits = Limits { memory_bytes_max: 32 << 10, ..Limits::default() };
    let mut rig = bounded(limits);
    let long = "x".repeat(6 << 10);
    let rows = |rig: &mut Rig| rig.text().matches("=xxx").count();
    for id in ["table/x", "table/y"] {
        rig.submit(id, "fill");
        rig.read();
        rig.done(answer().put("a", &long).put("b", &long).put("c", &long).put("d", &long));
        rig.sync();
    }
    rig.text();
    rig.submit("table/x", "one");
    rig.asks_page("a", "z", 10);
    rig.read();
    assert_eq!(rows(&mut rig), 4, "as much as fits into all of it");
    rig.submit("table/y", "two");
    rig.asks_page("a", "z", 10);
    rig.read();
    assert_eq!(rows(&mut rig), 3, "as much as fits into half of it");
}

#[test]
fn an_entry_expires_so_long_after_its_own_last_write() {
    let mut rig = filled("written/x");
    rig.advance(40);
    rig.submit("written/x", "one");
    rig.done(answer().put("b", "new"));
    rig.append();
    rig.advance(10);
    rig.submit("written/x", "two");
    rig.asks_page("a", "z", 10);
    rig.read();
    rig.say("-- what was seen to be gone is deleted, also if the function fails");
    rig.fails();
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
            call written/x with [one] state [Some("head")]
            commit 2: +entry(x.e b)
            call written/x with [two] state [Some("head")]
            scan Entries { id: InvocationId { slot: 0, generation: 5 }, spec: 0 }
            rows [b=new] next None
            -- what was seen to be gone is deleted, also if the function fails
            blocked written/x (1) for 109 ms: no
            commit 3: -entry(x.e a) -entry(x.e c) +pending(x 3)
        "#]],
    );
}

#[test]
fn an_entry_that_is_read_lives_on_where_it_expires_after_its_last_use() {
    let mut rig = filled("used/x");
    rig.advance(40);
    rig.submit("used/x", "one");
    rig.asks_entry("b");
    rig.read();
    rig.say("-- the next read sees the new time");
    rig.advance(40);
    rig.asks_page("a", "z", 10);
    rig.append();
    rig.read();
    check(
        &mut rig,
        &expect![[r#"
            call used/x with [one] state [Some("head")]
            get 1 of Entry { id: InvocationId { slot: 0, generation: 4 }, spec: 0, key: b"b" }
            rows [b=2] next None
            -- the next read sees the new time
            commit 2: +entry(x.e b) +pending(x 2)
            scan Entries { id: InvocationId { slot: 0, generation: 4 }, spec: 0 }
            rows [b=2] next None
        "#]],
    );
}

#[test]
fn what_is_given_up_is_deleted_in_steps() {
    let limits = Limits { scan_rows_max: 2, ..Limits::default() };
    let mut rig = bounded(limits);
    rig.clean();
    rig.read();
    assert!(rig.shard.is_clean());
    rig.submit("table/x", "one");
    rig.read();
    rig.done(answer().put("1a", "").put("1b", "").put("1c", "").put("2", "stays"));
    rig.submit("table/x", "two");
    rig.done(answer().clear("1"));
    rig.submit("table/x", "three");
    rig.text();
    rig.say("-- not before the commit that gives it up can be read");
    rig.clean();
    rig.read();
    rig.done(answer().clear("3"));
    while !rig.shard.is_clean() {
        rig.append();
        rig.clean();
        rig.read();
    }
    check(
        &mut rig,
        &expect![[r#"
            -- not before the commit that gives it up can be read
            commit 1: +entry(x.e 1a) +entry(x.e 1b) +entry(x.e 1c) +entry(x.e 2) +cleared(x.e 1) +cleared(x.e 3)
            scan Cleared { partition: Partition(0) }
            scan ClearedEntries { partition: Partition(0), note: b"g\0\0\0\x01x\0\x07t/table\0\x01e1" }
            commit 2: -entry(x.e 1a) -entry(x.e 1b)
            scan Cleared { partition: Partition(0) }
            scan ClearedEntries { partition: Partition(0), note: b"g\0\0\0\x01x\0\x07t/table\0\x01e1" }
            commit 3: -entry(x.e 1c) -cleared(x.e 1)
            scan Cleared { partition: Partition(0) }
            scan ClearedEntries { partition: Partition(0), note: b"g\0\0\0\x01x\0\x07t/table\0\x01e3" }
            commit 4: -cleared(x.e 3)
            scan Cleared { partition: Partition(0) }
        "#]],
    );
    let prefix = keys::space_prefix(keys::SPACE_ENTRY, Partition(0));
    assert_eq!(rig.rows.keys().filter(|key| key.starts_with(&prefix)).count(), 1);
}

#[test]
fn a_start_goes_on_deleting() {
    let mut rig = filled("table/x");
    rig.submit("table/x", "one");
    rig.done(answer().set("head 2").clear("a"));
    rig.append();
    let rows = std::mem::take(&mut rig.rows);
    let mut rig = Rig::with(Setup { rows, is_known: true, ..Setup::default() });
    rig.read();
    for _ in 0..3 {
        rig.clean();
        rig.read();
        rig.append();
    }
    assert!(rig.shard.is_clean() && !rig.shard.has_cleaning());
    let left = |space| {
        let prefix = keys::space_prefix(space, Partition(0));
        rig.rows.keys().filter(|key| key.starts_with(&prefix)).collect::<Vec<_>>()
    };
    assert!(left(keys::SPACE_CLEARED).is_empty());
    let entries: Vec<_> = left(keys::SPACE_ENTRY)
        .into_iter()
        .map(|key| match keys::parse(key).expect("a key").1 {
            Key::Entry { entry, .. } => entry,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(entries, [b"b", b"c"]);
}

#[test]
fn who_has_lost_its_partition_reads_no_more() {
    let mut rig = Rig::with(Setup { commits_alone: true, ..Setup::default() });
    fill(&mut rig, "table/x");
    rig.submit("table/x", "one");
    rig.done(answer().clear("a"));
    rig.submit("table/x", "two");
    rig.asks_entry("b");
    rig.handle(Event::Refused { partition: Partition(0) });
    rig.text();
    rig.asks_entry("b");
    rig.clean();
    rig.read();
    check(&mut rig, &expect![[""]]);
}
