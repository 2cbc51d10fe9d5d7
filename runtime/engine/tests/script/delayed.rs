//! Delayed messages: tokens and whose they are, what fires when, what a restart reads, and how much of
//! it is in memory.

use dormouse_engine::{Limits, ScanFor, keys};
use expect_test::expect;

use crate::rig::{Rig, Setup, answer};
use crate::{bounded, check, wake};

/// Answers the call that `target` gets for a message, and lets the store have it.
fn told(rig: &mut Rig, target: &str, what: crate::rig::Answer) {
    rig.submit(target, "do");
    rig.read();
    rig.done(what);
    rig.sync();
}

/// What `count/b` is given from here on, after so many milliseconds.
fn fired(rig: &mut Rig, by_ms: u64) -> String {
    rig.text();
    rig.advance(by_ms);
    rig.read();
    rig.done_all();
    rig.sync();
    let text = rig.text();
    let calls = text.lines().filter_map(|line| line.strip_prefix("call count/b with "));
    calls.map(|call| call.split(" state").next().unwrap_or(call)).collect()
}

/// The next life of a store.
fn restarted(rig: &mut Rig, limits: Limits) -> Rig {
    let rows = std::mem::take(&mut rig.rows);
    let mut next = Rig::with(Setup { rows, is_known: true, limits, ..Setup::default() });
    next.read();
    next
}

#[test]
fn a_token_belongs_to_the_id_of_its_sender_whatever_the_type() {
    let mut rig = Rig::new();
    for target in ["count/a", "brief/a", "count/c"] {
        wake(&mut rig, target);
    }
    for (sender, text) in [("count/a", "first"), ("count/c", "other")] {
        told(&mut rig, sender, answer().delay(50, "count/b", text, Some("x")));
    }
    // Another id has tokens of its own; another type with the same id shares them.
    told(&mut rig, "count/c", answer().cancel("y"));
    told(&mut rig, "brief/a", answer().cancel("x"));
    assert_eq!(fired(&mut rig, 60), "[other]");
}

#[test]
fn a_live_token_used_again_replaces_also_from_another_type_and_after_a_restart() {
    let limits = || Limits { timers_near_max: 4, ..Limits::default() };
    let mut rig = bounded(limits());
    wake(&mut rig, "count/a");
    let sends = (0..8).fold(answer(), |all, n| all.delay(50 + n, "count/b", "early", Some("x")));
    told(&mut rig, "count/a", sends.delay(500, "count/b", "late", Some("far")));
    let others = (0..8).fold(answer(), |all, n| all.delay(100 + n, "count/d", "other", None));
    told(&mut rig, "count/a", others);
    let mut rig = restarted(&mut rig, limits());
    // Nobody has read the row of this token: it is replaced all the same.
    told(&mut rig, "brief/a", answer().delay(20, "count/b", "now", Some("far")));
    assert_eq!(fired(&mut rig, 30), "[now]");
    assert_eq!(fired(&mut rig, 30), "[early]");
    assert_eq!(fired(&mut rig, 60), "");
    assert_eq!(fired(&mut rig, 1_000), "");
}

#[test]
fn a_token_is_free_again_when_its_message_has_fired_or_was_cancelled() {
    let mut rig = Rig::new();
    wake(&mut rig, "count/a");
    told(&mut rig, "count/a", answer().delay(10, "count/b", "one", Some("x")));
    assert_eq!(fired(&mut rig, 10), "[one]");
    // Too late, and unknown: nothing happens.
    told(&mut rig, "count/a", answer().cancel("x").cancel("never used"));
    told(&mut rig, "count/a", answer().delay(10, "count/b", "two", Some("x")));
    told(&mut rig, "count/a", answer().cancel("x").delay(20, "count/b", "three", Some("x")));
    assert_eq!(fired(&mut rig, 10), "");
    assert_eq!(fired(&mut rig, 10), "[three]");
    let left = |rows: &Rig| rows.rows.keys().filter(|key| is_timer(key)).count();
    assert_eq!(left(&rig), 0, "nothing of them stays");
}

fn is_timer(key: &[u8]) -> bool {
    matches!(
        keys::parse(key).expect("a whole key").1,
        keys::Key::Due { .. } | keys::Key::Token { .. }
    )
}

#[test]
fn what_came_due_while_nobody_ran_fires_at_once_in_the_order_of_its_time() {
    let mut rig = Rig::new();
    wake(&mut rig, "count/a");
    let sends = answer()
        .delay(0, "count/b", "at once", None)
        .delay(30, "count/b", "third", None)
        .delay(10, "count/b", "first", Some("x"))
        .delay(10, "count/b", "second", None)
        .delay(900, "count/b", "later", None);
    told(&mut rig, "count/a", sends);
    assert_eq!(fired(&mut rig, 0), "[at once]");
    let mut rig = restarted(&mut rig, Limits::default());
    assert_eq!(fired(&mut rig, 500), "[first second third]");
    assert_eq!(fired(&mut rig, 399), "");
    assert_eq!(fired(&mut rig, 1), "[later]");
}

#[test]
fn the_sender_is_the_caller_and_the_time_is_that_of_the_answer() {
    let mut rig = Rig::new();
    wake(&mut rig, "count/a");
    rig.submit("count/a", "slow");
    rig.advance(500);
    rig.done(answer().delay(100, "count/b", "late", None));
    rig.sync();
    assert_eq!(fired(&mut rig, 99), "");
    rig.advance(1);
    rig.read();
    let call = rig.text();
    assert!(call.contains("call count/b with [late]"), "{call}");
    assert_eq!(rig.caller(), "count/a");
}

/// The due times from which scans for delayed messages have read, and rows that they were given.
fn timers_read(rig: &Rig) -> Vec<(u64, usize)> {
    let is_timers = |purpose: &ScanFor| matches!(purpose, ScanFor::Timers { .. });
    let scans = rig.scans.iter().filter(|scan| is_timers(&scan.purpose));
    let due = scans.map(|scan| match keys::parse(&scan.from).expect("a whole key").1 {
        keys::Key::Due { due_ms, .. } => (due_ms, scan.rows),
        other => panic!("{other:?}"),
    });
    due.collect()
}

#[test]
fn a_start_does_not_read_past_messages_that_were_always_cancelled() {
    let limits = || Limits { timers_near_max: 16, ..Limits::default() };
    let mut rig = bounded(limits());
    wake(&mut rig, "count/a");
    told(&mut rig, "count/a", answer().delay(2_000_000, "count/b", "end", None));
    // A timeout for each request, which is always answered in time.
    for _ in 0..1_000 {
        told(&mut rig, "count/a", answer().delay(60_000, "count/b", "timeout", Some("x")));
        rig.advance(10);
        told(&mut rig, "count/a", answer().cancel("x"));
    }
    assert_eq!(rig.shard.stats().delayed_fired, 0);
    let now_ms = rig.now_ms;
    // The cursor has passed them: what was sent last lies a minute ahead of the clock.
    let mut rig = restarted(&mut rig, limits());
    let (from_ms, rows) = timers_read(&rig)[0];
    assert!(from_ms > now_ms + 50_000, "read from {from_ms}, it was {now_ms}");
    assert_eq!(rows, 1);
    // What is sent for a time before it is found by the start after that.
    rig.now_ms = now_ms;
    rig.advance(1);
    told(&mut rig, "count/a", answer().delay(1_000, "count/b", "soon", None));
    let mut rig = restarted(&mut rig, limits());
    rig.now_ms = now_ms;
    assert_eq!(fired(&mut rig, 1_002), "[soon]");
    assert_eq!(fired(&mut rig, 2_000_000), "[end]");
}

#[test]
fn long_delayed_messages_are_in_memory_as_far_as_there_is_room_for_them() {
    let limits =
        || Limits { timers_near_bytes_max: 10_000, timers_near_max: 100, ..Limits::default() };
    let mut rig = bounded(limits());
    wake(&mut rig, "count/a");
    let text = "x".repeat(4_000);
    let token = |n: u64| n.is_multiple_of(2).then(|| format!("t{n}"));
    for n in 1..=40 {
        told(&mut rig, "count/a", answer().delay(n * 10, "count/b", &text, token(n).as_deref()));
        assert!(rig.shard.near_timers() <= 3, "{} in memory", rig.shard.near_timers());
    }
    // After a restart they are read a few at a time, also those that lie under tokens.
    let mut rig = restarted(&mut rig, limits());
    for n in 1..=40 {
        rig.advance(10);
        assert!(rig.shard.near_timers() <= 3, "{} in memory", rig.shard.near_timers());
        rig.read();
        rig.done_all();
        rig.sync();
        assert_eq!(rig.shard.stats().delayed_fired, n);
    }
    let most = timers_read(&rig).iter().map(|(_, rows)| *rows).max();
    assert!(timers_read(&rig).len() >= 10, "{most:?} rows at once");
}

#[test]
fn many_at_the_same_moment_fire_in_turns() {
    let limits = Limits { timers_per_turn: 3, ..Limits::default() };
    let mut rig = bounded(limits);
    wake(&mut rig, "count/a");
    let sends = (0..7).fold(answer(), |all, n| all.delay(10, "count/b", &n.to_string(), None));
    told(&mut rig, "count/a", sends);
    rig.text();
    rig.advance(10);
    assert_eq!(rig.shard.stats().delayed_fired, 3);
    // The rest is due at once.
    assert_eq!(rig.shard.next_wake_ms(), Some(rig.now_ms));
    rig.advance(0);
    rig.advance(0);
    rig.read();
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
            get 1 of State { id: InvocationId { slot: 1, generation: 6 }, first: 0 }
            call count/b with [0 1 2 3 4 5 6] state [None]
            commit 3: -due(1010 3) -due(1010 4) -due(1010 5) -due(1010 6) -due(1010 7) -due(1010 8) -due(1010 9) +pending(b 10) +pending(b 11) +pending(b 12) +pending(b 13) +pending(b 14) +pending(b 15) +pending(b 16) +fired
        "#]],
    );
}
