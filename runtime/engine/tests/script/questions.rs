//! Messages whose senders wait for the reply need not be written before they are answered, unless that
//! takes long.

use dormouse_engine::{Event, Limits, SubmitToken};
use dormouse_protocol::{Address, FunctionType, Partition};
use expect_test::expect;

use crate::rig::{Rig, Setup, answer, message};
use crate::{awake, bounded, check};

fn asker(id: &str) -> Address {
    Address::new(FunctionType::new("dormouse.http", "reply"), id)
}

/// A message to `target` from a client that waits for the reply to it.
fn ask(rig: &mut Rig, target: &str, token: u64) {
    let mut message = message(target, &format!("ask {token}"));
    message.caller = Some(asker(&format!("r{token}")));
    rig.handle(Event::Submit { message, token: Some(SubmitToken(token)) });
}

#[test]
fn a_question_that_is_answered_soon_takes_one_commit() {
    let mut rig = awake();
    ask(&mut rig, "count/a", 1);
    rig.append();
    rig.submit("count/a", "two");
    rig.append();
    rig.reply(asker("r1"), "1");
    rig.append();
    rig.say("-- durable");
    rig.sync();
    assert!(!rig.shard.is_settled(), "its time is not over");
    rig.advance(20);
    assert!(rig.shard.is_settled());
    check(
        &mut rig,
        &expect![[r#"
            call count/a with [ask 1] state [None]
            commit 2: +pending(a 3)
            call count/a with [two] state [None]
            commit 3: 
            -- durable
            reply to r1: 1
            accepted 1
        "#]],
    );
}

#[test]
fn a_question_that_takes_long_is_written() {
    let mut rig = awake();
    ask(&mut rig, "count/a", 1);
    ask(&mut rig, "count/a", 2);
    rig.advance(19);
    rig.append();
    assert_eq!(rig.shard.next_wake_ms(), Some(rig.now_ms + 1));
    rig.say("-- 20 ms");
    rig.advance(1);
    rig.append();
    rig.sync();
    rig.say("-- answered");
    rig.done(answer().set("1"));
    rig.append();
    rig.done(answer().set("2"));
    rig.sync();
    check(
        &mut rig,
        &expect![[r#"
            call count/a with [ask 1] state [None]
            -- 20 ms
            commit 2: +pending(a 2) +pending(a 3)
            accepted 1
            accepted 2
            -- answered
            call count/a with [ask 2] state [Some("1")]
            commit 3: -pending(a 2) +state(a.n)
            commit 4: -pending(a 3) +state(a.n)
        "#]],
    );
}

#[test]
fn questions_beyond_the_bound_are_written_at_once() {
    let mut rig = bounded(Limits { questions_max: 1, ..Limits::default() });
    ask(&mut rig, "count/a", 1);
    ask(&mut rig, "count/b", 2);
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
            get 1 of State { id: InvocationId { slot: 0, generation: 2 }, first: 0 }
            get 1 of State { id: InvocationId { slot: 1, generation: 4 }, first: 0 }
            commit 1: +pending(b 2)
        "#]],
    );
}

#[test]
fn a_question_that_is_left_to_the_store_is_durable_with_that() {
    let mut rig = bounded(Limits { mailbox_len_max: 1, ..Limits::default() });
    ask(&mut rig, "count/a", 1);
    rig.append();
    ask(&mut rig, "count/a", 2);
    ask(&mut rig, "count/a", 3);
    rig.append();
    rig.sync();
    check(
        &mut rig,
        &expect![[r#"
            get 1 of State { id: InvocationId { slot: 0, generation: 2 }, first: 0 }
            commit 1: +pending(a 2) +pending(a 3)
            accepted 2
            accepted 3
        "#]],
    );
}

#[test]
fn a_question_that_fails_is_written_while_its_address_waits() {
    let mut rig = awake();
    ask(&mut rig, "count/a", 1);
    rig.fails();
    rig.append();
    rig.advance(20);
    rig.append();
    rig.sync();
    check(
        &mut rig,
        &expect![[r#"
            call count/a with [ask 1] state [None]
            blocked count/a (1) for 109 ms: no
            commit 2: +pending(a 2)
            accepted 1
        "#]],
    );
}

#[test]
fn questions_of_a_partition_that_was_lost_are_forgotten() {
    let mut rig = Rig::with(Setup { commits_alone: true, ..Setup::default() });
    ask(&mut rig, "count/a", 1);
    rig.handle(Event::Refused { partition: Partition(0) });
    rig.advance(20);
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
            get 1 of State { id: InvocationId { slot: 0, generation: 2 }, first: 0 }
        "#]],
    );
}
