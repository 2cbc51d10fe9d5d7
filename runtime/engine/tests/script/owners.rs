//! Partitions that change hands, in a store that takes each partition's commits alone.

use dormouse_engine::{Event, Fence, Frame, FrameBody, Opened, PartMeta, keys};
use dormouse_protocol::{Address, FunctionType, Partition, partition_of};
use expect_test::expect;

use crate::rig::{Rig, Setup, address, answer, message};
use crate::{check, wake};

const HERE: Partition = Partition(0);
const THERE: Partition = Partition(1);

/// The owner of partition 0 of 2.
fn owner() -> Rig {
    Rig::with(Setup { partitions: 2, owned: vec![0], commits_alone: true, ..Setup::default() })
}

/// An instance of `t/count` in a partition.
fn instance(partition: Partition) -> String {
    let mut all = (0..).map(|n| format!("count/n{n}"));
    all.find(|text| partition_of(&address(text), 2) == partition).expect("one of them lies there")
}

fn open_again(rig: &mut Rig, seq: u64) {
    let fence = Fence { counter: 2, nonce: 2 };
    let meta = PartMeta { partition: HERE, fence, seq, time_ms: 1_000, arrival: 50 };
    let prefix = keys::space_prefix(keys::SPACE_META, HERE);
    let rows = rig.rows.iter().filter(|(key, _)| key.starts_with(&prefix));
    let rows = rows.map(|(key, value)| (key.clone().into(), value.clone())).collect();
    let opened = Opened { meta: Some(meta), rows };
    rig.handle(Event::Opened { partition: HERE, fence, opened });
    rig.handle(Event::Started);
}

fn from_there(body: FrameBody) -> Event {
    Event::Frame(Frame { from: THERE, to: HERE, body })
}

#[test]
fn what_a_refused_partition_had_under_way_comes_to_nothing() {
    let mut rig = owner();
    let here = instance(HERE);
    wake(&mut rig, &here);
    rig.submit_token(&here, "one", 1);
    rig.append();
    rig.submit_token(&here, "two", 2);
    rig.seal();
    rig.sealed.clear();
    rig.say("-- refused");
    rig.handle(Event::Refused { partition: HERE });
    rig.done(answer().set("late").send(&here, "late"));
    rig.seal();
    assert_eq!((rig.shard.in_flight(), rig.shard.awake(), rig.shard.memory_bytes()), (0, 0, 0));
    assert_eq!((rig.shard.stats().mailbox_messages, rig.shard.stats().mailbox_bytes), (0, 0));
    assert!(rig.shard.is_settled());
    rig.say("-- opened again");
    open_again(&mut rig, 2);
    rig.read();
    rig.done(answer().set("1"));
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
        call count/n1 with [one] state [None]
        commit 2: +pending(n1 2)
        commit 3: +pending(n1 3)
        -- refused
        -- opened again
        scan Timers { partition: Partition(0) }
        scan Recovery { partition: Partition(0) }
        scan Mail { id: InvocationId { slot: 0, generation: 6 } }
        get 1 of State { id: InvocationId { slot: 0, generation: 7 }, first: 0 }
        call count/n1 with [one] state [None]
        commit 4: -pending(n1 2) +state(n1.n)
    "#]],
    );
}

#[test]
fn a_new_owner_is_asked_and_sent_what_the_former_one_did_not_confirm() {
    let mut rig = owner();
    let here = instance(HERE);
    wake(&mut rig, &here);
    rig.submit(&here, "one");
    rig.done(answer().send(&instance(THERE), "x").send(&instance(THERE), "y"));
    rig.sync();
    rig.handle(from_there(FrameBody::Confirm { epoch: 1, taken: 1 }));
    rig.say("-- moved");
    rig.handle(Event::Moved { partition: THERE });
    rig.handle(from_there(FrameBody::Status { epoch: 1, taken: 1 }));
    check(
        &mut rig,
        &expect![[r#"
        call count/n1 with [one] state [None]
        commit 2: +outbox(1 1) +outbox(1 2) +head(1)
        frame 0>1 opens after 0 [x y]
        -- moved
        frame 0>1 Ask
        frame 0>1 after 1 [y]
    "#]],
    );
}

#[test]
fn a_former_owner_does_not_mind_what_a_later_one_has_sent() {
    let mut rig = owner();
    let here = instance(HERE);
    wake(&mut rig, &here);
    rig.submit(&here, "one");
    rig.done(answer().send(&instance(THERE), "x"));
    rig.sync();
    rig.say("-- answers to the later owner");
    rig.handle(from_there(FrameBody::Confirm { epoch: 1, taken: 2 }));
    rig.handle(Event::Moved { partition: THERE });
    rig.handle(from_there(FrameBody::Status { epoch: 1, taken: 2 }));
    rig.advance(200);
    rig.append();
    check(
        &mut rig,
        &expect![[r#"
        call count/n1 with [one] state [None]
        commit 2: +outbox(1 1) +head(1)
        frame 0>1 opens after 0 [x]
        -- answers to the later owner
        frame 0>1 Ask
    "#]],
    );
}

#[test]
fn a_former_receiver_that_misses_what_was_confirmed_is_not_sent_it_again_and_again() {
    let mut rig = owner();
    let here = instance(HERE);
    wake(&mut rig, &here);
    rig.submit(&here, "one");
    rig.done(answer().send(&instance(THERE), "x").send(&instance(THERE), "y"));
    rig.sync();
    rig.handle(from_there(FrameBody::Confirm { epoch: 1, taken: 1 }));
    rig.say("-- the former owner knows of nothing");
    rig.handle(from_there(FrameBody::Gap { epoch: 1, taken: 0 }));
    rig.handle(from_there(FrameBody::Gap { epoch: 1, taken: 0 }));
    rig.handle(from_there(FrameBody::Status { epoch: 1, taken: 0 }));
    rig.say("-- the owner does");
    rig.handle(from_there(FrameBody::Status { epoch: 1, taken: 1 }));
    check(
        &mut rig,
        &expect![[r#"
        call count/n1 with [one] state [None]
        commit 2: +outbox(1 1) +outbox(1 2) +head(1)
        frame 0>1 opens after 0 [x y]
        -- the former owner knows of nothing
        frame 0>1 Ask
        -- the owner does
        frame 0>1 after 1 [y]
    "#]],
    );
}

#[test]
fn a_sender_is_told_only_what_cannot_be_lost_any_more() {
    let mut rig = owner();
    let batch = FrameBody::Batch {
        epoch: 1,
        after: 0,
        opens: true,
        messages: [message(&instance(HERE), "x").into()].into_iter().collect(),
    };
    rig.handle(from_there(batch));
    rig.handle(from_there(FrameBody::Ask));
    rig.append();
    rig.handle(from_there(FrameBody::Ask));
    rig.sync();
    rig.handle(from_there(FrameBody::Ask));
    check(
        &mut rig,
        &expect![[r#"
        get 1 of State { id: InvocationId { slot: 0, generation: 2 }, first: 0 }
        frame 0>1 Status { epoch: 1, taken: 0 }
        commit 1: +pending(n1 1) +mark(1)
        frame 0>1 Status { epoch: 1, taken: 0 }
        frame 0>1 Confirm { epoch: 1, taken: 1 }
        frame 0>1 Status { epoch: 1, taken: 1 }
    "#]],
    );
}

#[test]
fn a_reply_for_which_nothing_is_written_still_asks_the_store() {
    let mut rig = owner();
    let here = instance(HERE);
    wake(&mut rig, &here);
    rig.submit(&here, "one");
    let reply = Address::new(FunctionType::new("dormouse.http", "reply"), "7");
    rig.append();
    rig.reply(reply.clone(), "a");
    rig.append();
    rig.sync();
    rig.submit(&here, "two");
    rig.reply(reply, "b");
    rig.seal();
    let (_, commit) = rig.sealed.front().expect("a sealed commit");
    assert!(commit.ops.is_empty());
    assert_eq!(commit.parts.len(), 1, "it carries the fence, and a number");
    rig.sync();
    check(
        &mut rig,
        &expect![[r#"
        call count/n1 with [one] state [None]
        commit 2: +pending(n1 2)
        commit 3: -pending(n1 2)
        reply to 7: a
        call count/n1 with [two] state [None]
        commit 4: 
        reply to 7: b
    "#]],
    );
}

#[test]
fn outbox_entries_that_are_deleted_are_noted_in_the_head() {
    let mut rig = owner();
    let here = instance(HERE);
    wake(&mut rig, &here);
    rig.submit(&here, "one");
    rig.done(answer().send(&instance(THERE), "x").send(&instance(THERE), "y"));
    rig.sync();
    rig.handle(from_there(FrameBody::Confirm { epoch: 1, taken: 1 }));
    rig.advance(200);
    rig.sync();
    rig.say("-- opened again: an old answer does not lead to what is gone");
    rig.handle(Event::Refused { partition: HERE });
    open_again(&mut rig, 3);
    rig.handle(from_there(FrameBody::Status { epoch: 1, taken: 0 }));
    rig.read();
    rig.handle(from_there(FrameBody::Status { epoch: 1, taken: 1 }));
    rig.read();
    check(
        &mut rig,
        &expect![[r#"
            call count/n1 with [one] state [None]
            commit 2: +outbox(1 1) +outbox(1 2) +head(1)
            frame 0>1 opens after 0 [x y]
            commit 3: +head(1)
            -- opened again: an old answer does not lead to what is gone
            frame 0>1 Ask
            scan Timers { partition: Partition(0) }
            scan Recovery { partition: Partition(0) }
            scan Outbox { partition: Partition(0), receiver: Partition(1) }
            frame 0>1 after 1 [y]
        "#]],
    );
}
