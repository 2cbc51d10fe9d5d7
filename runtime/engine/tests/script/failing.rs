//! Functions that keep failing: what their policies make of the messages, and what stays of them.

use std::time::Duration;

use dormouse_engine::{DeadLetter, Event, Limits, Redeem, keys};
use dormouse_protocol::{Address, FunctionType, Message, Partition};
use expect_test::expect;

use crate::rig::{Rig, Setup, answer, message};
use crate::{bounded, check};

fn letters(rig: &Rig) -> Vec<DeadLetter> {
    let prefix = keys::space_prefix(keys::SPACE_DEAD, Partition(0));
    let rows = rig.rows.iter().filter(|(key, _)| key.starts_with(&prefix));
    rows.map(|(key, value)| DeadLetter::read(key, value).expect("a letter").2).collect()
}

/// A rig with two dead letters of `dead/a`, `one` and `two`.
fn with_letters() -> Rig {
    let mut rig = Rig::new();
    for text in ["one", "two"] {
        rig.submit("dead/a", text);
        rig.fails();
        rig.advance(1_000);
        rig.fails();
        rig.sync();
    }
    assert_eq!(rig.shard.stats().dead_letters, 2);
    rig.text();
    rig
}

#[test]
fn only_the_guilty_message_of_a_batch_becomes_a_dead_letter() {
    let mut rig = Rig::new();
    rig.submit("dead/a", "first");
    for text in ["good", "bad", "better"] {
        rig.submit("dead/a", text);
    }
    rig.done(answer());
    rig.fails();
    rig.sync();
    rig.advance(200);
    rig.done(answer());
    rig.fails();
    rig.advance(200);
    rig.fails();
    rig.say("-- it is out of the mailbox with the commit that holds it");
    rig.sync();
    rig.done(answer().send("count/b", "x"));
    rig.sync();
    check(
        &mut rig,
        &expect![[r#"
        call dead/a with [first] state []
        call dead/a with [good bad better] state []
        blocked dead/a (1) for 109 ms: no
        commit 1: +pending(a 2) +pending(a 3) +pending(a 4)
        call dead/a with [good] state []
        call dead/a with [bad] state []
        blocked dead/a (1) for 109 ms: no
        call dead/a with [bad] state []
        call dead/a with [better] state []
        -- it is out of the mailbox with the commit that holds it
        commit 2: -pending(a 2) +dead(3) +tally -pending(a 3)
        given up of dead/a after 2: DeadLetter { number: 3 }: no
        get 1 of State { id: InvocationId { slot: 1, generation: 9 }, first: 0 }
        commit 3: -pending(a 4) +pending(b 5)
    "#]],
    );
    let stats = rig.shard.stats();
    assert_eq!((stats.messages_finished, stats.messages_buried, stats.dead_letters), (3, 1, 1));
    assert_eq!(stats.blocked, 0);
    let [letter] = &letters(&rig)[..] else { panic!("one letter") };
    assert_eq!((letter.attempts, letter.cause.as_str()), (2, "no"));
    assert_eq!((letter.first_ms, letter.died_ms), (1_200, 1_400));
    assert_eq!(letter.message, message("dead/a", "bad"));
}

#[test]
fn a_batch_that_failed_for_the_last_time_is_tried_one_by_one_first() {
    let mut rig = Rig::new();
    rig.submit("drop/a", "first");
    rig.submit("drop/a", "two");
    rig.submit("drop/a", "three");
    rig.done(answer());
    rig.advance(300);
    rig.fails();
    rig.say("-- 300 of 250 ms, and yet");
    rig.advance(200);
    rig.done(answer());
    rig.done(answer());
    check(
        &mut rig,
        &expect![[r#"
        call drop/a with [first] state []
        call drop/a with [two three] state []
        blocked drop/a (1) for 109 ms: no
        -- 300 of 250 ms, and yet
        call drop/a with [two] state []
        call drop/a with [three] state []
    "#]],
    );
    assert_eq!(rig.shard.stats().messages_dropped, 0);
}

#[test]
fn a_message_is_dropped_when_its_time_is_over_and_is_tried_just_before() {
    let mut rig = Rig::new();
    rig.submit("drop/a", "one");
    rig.fails();
    rig.advance(120);
    rig.fails();
    rig.say("-- not after 200 ms, but when the time is over");
    rig.advance(130);
    rig.fails();
    rig.sync();
    check(
        &mut rig,
        &expect![[r#"
        call drop/a with [one] state []
        blocked drop/a (1) for 109 ms: no
        call drop/a with [one] state []
        blocked drop/a (2) for 130 ms: no
        -- not after 200 ms, but when the time is over
        call drop/a with [one] state []
        commit 1: 
        given up of drop/a after 3: Dropped: no
    "#]],
    );
    let stats = rig.shard.stats();
    assert_eq!((stats.messages_dropped, stats.blocked, stats.mailbox_messages), (1, 0, 0));
}

#[test]
fn who_is_blocked_for_good_is_tried_with_the_longest_pause() {
    let mut rig = bounded(Limits { retry_delay_ms_max: 10_000, ..Limits::default() });
    rig.submit("slow/a", "one");
    rig.fails();
    rig.advance(2_000);
    rig.fails();
    rig.advance(11_000);
    rig.fails();
    check(
        &mut rig,
        &expect![[r#"
        call slow/a with [one] state []
        blocked slow/a (1) for 1036 ms: no
        call slow/a with [one] state []
        blocked slow/a (2) for 10754 ms: no
        call slow/a with [one] state []
        blocked slow/a (3) for 10538 ms: no
    "#]],
    );
    assert_eq!(rig.shard.stats().blocked, 1);
}

#[test]
fn an_asked_pause_is_kept_within_its_bound() {
    let mut rig = bounded(Limits { retry_after_ms_max: 60_000, ..Limits::default() });
    rig.submit("slow/a", "one");
    rig.submit("slow/b", "two");
    rig.fails_for(Duration::from_secs(7));
    rig.fails_for(Duration::MAX);
    check(
        &mut rig,
        &expect![[r#"
        call slow/a with [one] state []
        call slow/b with [two] state []
        blocked slow/a (1) for 7000 ms: busy
        blocked slow/b (1) for 60000 ms: busy
    "#]],
    );
}

#[test]
fn the_pause_differs_by_id_and_attempt_and_not_by_run() {
    let pauses = || {
        let mut rig = bounded(Limits { retry_delay_ms_max: 1_000, ..Limits::default() });
        let mut text = String::new();
        for id in ["a", "b"] {
            rig.submit(&format!("slow/{id}"), "one");
        }
        for _ in 0..2 {
            rig.fails();
            rig.fails();
            rig.advance(1_200);
        }
        text.push_str(&rig.text());
        let waits = text.lines().filter(|line| line.starts_with("blocked"));
        waits.map(|line| line.split(' ').nth(4).expect("a pause").to_owned()).collect::<Vec<_>>()
    };
    let first = pauses();
    assert_eq!(first, pauses());
    assert_eq!(first.len(), 4);
    for (index, pause) in first.iter().enumerate() {
        assert!(!first[..index].contains(pause), "{first:?}");
    }
}

#[test]
fn a_state_of_another_type_gives_the_message_up_as_well() {
    let mut rig = Rig::new();
    rig.submit("typed/a", "one");
    rig.read();
    rig.done(answer().set("1"));
    rig.sync();
    let rows = rig.rows.iter().map(|(key, value)| {
        let text = String::from_utf8_lossy(value).replace("t/int", "t/old");
        (key.clone(), text.into_bytes().into())
    });
    let rows = rows.collect();
    let mut rig = Rig::with(Setup { rows, is_known: true, ..Setup::default() });
    rig.read();
    rig.submit("typed/a", "two");
    rig.submit("typed/a", "three");
    rig.read();
    rig.sync();
    check(
        &mut rig,
        &expect![[r#"
            scan Timers { partition: Partition(0) }
            scan Recovery { partition: Partition(0) }
            get 1 of State { id: InvocationId { slot: 0, generation: 2 }, first: 0 }
            get 1 of State { id: InvocationId { slot: 0, generation: 3 }, first: 0 }
            commit 1: +dead(101) +tally +dead(102) +tally
            given up of typed/a after 1: DeadLetter { number: 101 }: state [n] of t/typed/a: Previous type was: t/old, new type is: t/int
            given up of typed/a after 1: DeadLetter { number: 102 }: state [n] of t/typed/a: Previous type was: t/old, new type is: t/int
        "#]],
    );
    assert_eq!(rig.shard.stats().dead_letters, 2);
}

#[test]
fn at_the_bound_of_dead_letters_the_address_is_blocked() {
    for limits in [
        Limits { dead_letters_max: 2, ..Limits::default() },
        Limits { dead_letter_bytes_max: 60, ..Limits::default() },
    ] {
        let mut rig = bounded(Limits { retry_delay_ms_max: 10_000, ..limits });
        for text in ["one", "two", "three"] {
            rig.submit("dead/a", text);
        }
        while rig.shard.stats().burials_refused == 0 {
            rig.fails();
            rig.advance(2_000);
        }
        rig.sync();
        assert_eq!(letters(&rig).len(), 2);
        let stats = rig.shard.stats();
        assert_eq!((stats.blocked, stats.mailbox_messages), (1, 1));
        let text = rig.text();
        let line = text.lines().rfind(|line| line.starts_with("blocked")).expect("it is blocked");
        assert!(line.contains("no; it stays, because there are 2 dead letters of "), "{line}");
        rig.say("-- room again");
        rig.redeem(Redeem::Discard, 1);
        rig.sync();
        rig.advance(11_000);
        rig.fails();
        rig.sync();
        assert_eq!(letters(&rig).len(), 1);
        assert_eq!(rig.shard.stats().blocked, 0);
    }
}

#[test]
fn a_replay_deletes_the_letters_with_the_commit_that_holds_their_messages() {
    let mut rig = with_letters();
    rig.redeem(Redeem::Replay, 7);
    rig.append();
    rig.say("-- durable");
    rig.sync();
    rig.done(answer());
    rig.done(answer());
    rig.sync();
    check(
        &mut rig,
        &expect![[r#"
        call dead/a with [one] state []
        commit 3: -dead(1) -dead(2) +tally +pending(a 3) +pending(a 4)
        -- durable
        redeemed 7
        call dead/a with [two] state []
        commit 4: -pending(a 3) -pending(a 4)
    "#]],
    );
    assert_eq!(rig.shard.stats().dead_letters, 0);
    assert_eq!(rig.rows.len(), 1, "the tally alone is left");
}

#[test]
fn discarded_letters_are_gone() {
    let mut rig = with_letters();
    rig.redeem(Redeem::Discard, 7);
    rig.sync();
    check(
        &mut rig,
        &expect![[r#"
        commit 3: -dead(1) -dead(2) +tally
        redeemed 7
    "#]],
    );
    assert_eq!(rig.shard.dead_letters(Partition(0)), 0);
}

#[test]
fn how_many_there_are_is_known_after_a_restart() {
    let rig = with_letters();
    let setup = Setup { rows: rig.rows, is_known: true, ..Setup::default() };
    let mut rig = Rig::with(setup);
    assert_eq!(rig.shard.stats().dead_letters, 2);
    rig.read();
    rig.text();
    rig.redeem(Redeem::Replay, 1);
    assert!(rig.text().contains("call dead/a with [one"), "it is called again");
    assert_eq!(rig.shard.stats().dead_letters, 0);
}

#[test]
fn who_waits_for_a_reply_is_told_with_the_commit_that_gives_the_message_up() {
    let mut rig = Rig::new();
    let http = |name: &str, id: &str| {
        Some(Address::new(FunctionType::new("dormouse.http", name), id.to_owned()))
    };
    let callers = [http("reply", "7"), http("request", "1:a:t/dead:key"), http("other", "x")];
    for (caller, text) in callers.into_iter().zip(["one", "two", "three"]) {
        let message = Message { caller, ..message("dead/a", text) };
        rig.handle(Event::Submit { message, token: None });
        rig.fails();
        rig.advance(1_000);
        rig.fails();
        rig.append();
        rig.say("-- durable");
        rig.sync();
    }
    check(
        &mut rig,
        &expect![[r#"
        call dead/a with [one] state []
        blocked dead/a (1) for 109 ms: no
        call dead/a with [one] state []
        commit 1: +dead(1) +tally
        -- durable
        reply to 7: t/dead/a failed 2 times, and the message is a dead letter (0-1): no
        given up of dead/a after 2: DeadLetter { number: 1 }: no
        call dead/a with [two] state []
        blocked dead/a (1) for 109 ms: no
        call dead/a with [two] state []
        commit 2: +dead(2) +tally +pending(1:a:t/dead:key 3)
        -- durable
        given up of dead/a after 2: DeadLetter { number: 2 }: no
        call dead/a with [three] state []
        blocked dead/a (1) for 109 ms: no
        call dead/a with [three] state []
        commit 3: +dead(4) +tally
        -- durable
        given up of dead/a after 2: DeadLetter { number: 4 }: no
    "#]],
    );
}

#[test]
fn a_letter_keeps_who_sent_it() {
    let mut rig = Rig::new();
    rig.submit("count/b", "start");
    rig.read();
    rig.done(answer().send("dead/a", "bad"));
    rig.fails();
    rig.advance(200);
    rig.fails();
    rig.sync();
    let [letter] = &letters(&rig)[..] else { panic!("one letter") };
    let caller = Address::new(FunctionType::new("t", "count"), "b");
    assert_eq!(letter.message.caller, Some(caller));
}
