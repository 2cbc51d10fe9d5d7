//! From a message that comes in to an invocation.

use dormouse_engine::Limits;
use dormouse_protocol::Expiration;
use expect_test::expect;

use crate::rig::{Rig, answer, spec};
use crate::{awake, bounded, check, wake};

#[test]
fn a_first_message_loads_state_runs_and_is_acknowledged_when_durable() {
    let mut rig = Rig::new();
    rig.submit_token("count/a", "one", 7);
    check(
        &mut rig,
        &expect![[r#"
        get 1 of State { id: InvocationId { slot: 0, generation: 2 }, first: 0 }
    "#]],
    );
    rig.read();
    rig.done(answer().set("1"));
    check(
        &mut rig,
        &expect![[r#"
        call count/a with [one] state [None]
    "#]],
    );
    rig.append();
    rig.say("-- durable");
    rig.sync();
    check(
        &mut rig,
        &expect![[r#"
        commit 1: +state(a.n)
        -- durable
        accepted 7
    "#]],
    );
}

#[test]
fn an_input_that_runs_is_written_once_and_deleted_with_its_effects() {
    let mut rig = awake();
    rig.submit("count/a", "one");
    rig.append();
    rig.submit("count/a", "two");
    rig.append();
    rig.append();
    rig.done(answer().set("1"));
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
        call count/a with [one] state [None]
        commit 2: +pending(a 2)
        commit 3: +pending(a 3)
        call count/a with [two] state [Some("1")]
        commit 4: -pending(a 2) +state(a.n)
    "#]],
    );
}

#[test]
fn messages_that_wait_go_out_as_one_batch() {
    let mut rig = bounded(Limits { batch_len_max: 2, ..Limits::default() });
    wake(&mut rig, "count/a");
    for text in ["one", "two", "three", "four"] {
        rig.submit("count/a", text);
    }
    rig.done(answer().set("1"));
    rig.done(answer().set("3"));
    rig.done(answer().set("4"));
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
        call count/a with [one] state [None]
        call count/a with [two three] state [Some("1")]
        call count/a with [four] state [Some("3")]
        commit 2: +state(a.n)
    "#]],
    );
}

#[test]
fn a_type_is_asked_for_its_states_once() {
    let mut rig = bounded(Limits { handshakes_max: 1, ..Limits::default() });
    rig.submit("learn/a", "one");
    rig.submit("learn/b", "two");
    rig.submit("learn/a", "three");
    rig.asks(vec![spec("n", Expiration::Never)]);
    check(
        &mut rig,
        &expect![[r#"
        call learn/a with [one] state []
        get 1 of State { id: InvocationId { slot: 1, generation: 4 }, first: 0 }
        get 1 of State { id: InvocationId { slot: 0, generation: 5 }, first: 0 }
    "#]],
    );
    rig.read();
    check(
        &mut rig,
        &expect![[r#"
        call learn/b with [two] state [None]
        call learn/a with [one] state [None]
    "#]],
    );
}

#[test]
fn a_first_call_that_hangs_does_not_hold_up_its_type() {
    let mut rig = bounded(Limits { handshakes_max: 1, ..Limits::default() });
    rig.submit("learn/a", "one");
    rig.submit("learn/b", "two");
    rig.advance(999);
    rig.say("-- a second has passed");
    rig.advance(1);
    check(
        &mut rig,
        &expect![[r#"
        call learn/a with [one] state []
        -- a second has passed
        call learn/b with [two] state []
    "#]],
    );
}

#[test]
fn a_failed_batch_is_tried_again_one_by_one() {
    let mut rig = awake();
    rig.submit("count/a", "one");
    rig.submit("count/a", "two");
    rig.submit("count/a", "three");
    rig.done(answer());
    rig.fails();
    rig.submit("count/b", "other");
    rig.read();
    check(
        &mut rig,
        &expect![[r#"
            call count/a with [one] state [None]
            call count/a with [two three] state [None]
            blocked count/a (1) for 109 ms: no
            get 1 of State { id: InvocationId { slot: 1, generation: 7 }, first: 0 }
            call count/b with [other] state [None]
        "#]],
    );
    rig.advance(2_000);
    assert_eq!(rig.shard.stats().blocked, 1, "also while it is tried again");
    rig.say("-- others go on");
    rig.done(answer());
    rig.fails();
    rig.advance(4_000);
    assert_eq!(rig.shard.stats().blocked, 1);
    rig.done(answer());
    assert_eq!(rig.shard.stats().blocked, 0);
    rig.done(answer());
    check(
        &mut rig,
        &expect![[r#"
            call count/a with [two] state [None]
            -- others go on
            blocked count/a (2) for 219 ms: no
            call count/a with [two] state [None]
            call count/a with [three] state [None]
        "#]],
    );
}

#[test]
fn what_does_not_fit_a_mailbox_is_read_back_in_order() {
    let mut rig = bounded(Limits { mailbox_len_max: 1, ..Limits::default() });
    wake(&mut rig, "count/a");
    for text in ["one", "two", "three", "four"] {
        rig.submit("count/a", text);
    }
    rig.append();
    rig.done(answer());
    rig.done(answer());
    check(
        &mut rig,
        &expect![[r#"
        call count/a with [one] state [None]
        commit 2: +pending(a 4) +pending(a 5) +pending(a 2) +pending(a 3)
        call count/a with [two] state [None]
        scan Mail { id: InvocationId { slot: 0, generation: 6 } }
    "#]],
    );
    rig.read();
    rig.done(answer());
    rig.read();
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
        call count/a with [three] state [None]
        scan Mail { id: InvocationId { slot: 0, generation: 8 } }
        call count/a with [four] state [None]
        commit 3: -pending(a 2) -pending(a 3) -pending(a 4)
    "#]],
    );
}

#[test]
fn a_delayed_message_cancelled_in_the_same_answer_never_comes() {
    let mut rig = awake();
    rig.submit("count/a", "one");
    rig.done(
        answer()
            .delay(50, "count/b", "cancelled", Some("x"))
            .delay(60, "count/b", "replaced", Some("y"))
            .cancel("x")
            .delay(70, "count/b", "kept", Some("y"))
            .delay(80, "count/b", "plain", None),
    );
    rig.append();
    rig.advance(69);
    check(
        &mut rig,
        &expect![[r#"
        call count/a with [one] state [None]
        commit 2: +token(a x) +due(1050 3) +token(a y) +due(1060 4) -due(1050 3) -token(a x) -due(1060 4) +token(a y) +due(1070 5) +due(1080 6)
    "#]],
    );
    rig.advance(100);
    rig.read();
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
            get 1 of State { id: InvocationId { slot: 1, generation: 6 }, first: 0 }
            call count/b with [kept plain] state [None]
            commit 3: -due(1070 5) -token(a y) -due(1080 6) +pending(b 7) +pending(b 8) +fired
        "#]],
    );
}

#[test]
fn a_cancellation_that_cannot_be_read_yet_holds_up_reading_timers() {
    let mut rig = bounded(Limits { timers_near_max: 4, ..Limits::default() });
    wake(&mut rig, "count/a");
    rig.submit("count/a", "one");
    let mut sends = answer();
    for (delay_ms, token) in [(10, "a"), (20, "b"), (30, "c"), (40, "d"), (50, "far")] {
        sends = sends.delay(delay_ms, "count/b", token, Some(token));
    }
    rig.done(sends);
    rig.sync();
    rig.text();
    rig.submit("count/a", "two");
    rig.done(answer().cancel("far").cancel("a").cancel("b").cancel("c"));
    rig.say("-- not read before the commit");
    rig.read();
    rig.append();
    rig.read();
    rig.advance(100);
    check(
        &mut rig,
        &expect![[r#"
            call count/a with [two] state [None]
            -- not read before the commit
            commit 3: -token(a far) -due(1010 3) -token(a a) -due(1020 4) -token(a b) -due(1030 5) -token(a c) +fired
            scan Timers { partition: Partition(0) }
            get 1 of Tokens { partition: Partition(0), rows: [TokenRow { due_ms: 1050, arrival: 7, id: "a", token: "far" }], upto: (18446744073709551615, 18446744073709551615) }
            get 1 of State { id: InvocationId { slot: 1, generation: 7 }, first: 0 }
        "#]],
    );
}
