//! Blocked addresses when memory is full: they keep when they are tried again, and give back the rest.

use dormouse_engine::{ACTIVATION_BYTES, Limits};

use crate::rig::{Rig, answer};
use crate::{bounded, wake};

/// Room for some bare instances, and not for what the blocked ones here hold.
fn limits() -> Limits {
    let memory_bytes_max = 8 * ACTIVATION_BYTES;
    Limits { memory_bytes_max, retry_delay_ms_min: 100, ..Limits::default() }
}

/// What the call that waits longest was given, and its state.
fn call_of(rig: &mut Rig, target: &str) -> String {
    let text = rig.text();
    let mut calls =
        text.lines().filter_map(|line| line.strip_prefix(&format!("call {target} with ")));
    calls.next_back().unwrap_or_else(|| panic!("no call of {target}: {text}")).to_owned()
}

#[test]
fn blocked_addresses_do_not_keep_the_memory_from_others() {
    let mut rig = bounded(limits());
    wake(&mut rig, "count/a");
    rig.submit("count/a", "state");
    rig.done(answer().set(&"s".repeat(3_000)));
    rig.sync();
    rig.submit("count/a", "guilty");
    for n in 0..3 {
        rig.submit("count/a", &format!("{n}{}", "m".repeat(1_000)));
    }
    let full = rig.shard.memory_bytes();
    assert!(full >= limits().memory_bytes_max, "{full}");
    rig.fails();
    rig.submit("count/a", "late");
    // Not before everything can be read back.
    rig.advance(10);
    rig.advance(10);
    assert!(rig.shard.memory_bytes() >= full);
    rig.append();
    rig.advance(10);
    rig.advance(10);
    assert!(rig.shard.memory_bytes() < 2 * ACTIVATION_BYTES, "{}", rig.shard.memory_bytes());
    assert_eq!((rig.shard.stats().blocked, rig.shard.stats().mailbox_messages), (1, 0));
    assert_eq!(rig.shard.stats().spilled_messages, 5);
    wake(&mut rig, "count/b");
    rig.text();
    // It is tried again at its time, with the same messages, in order, and its state.
    rig.advance(40);
    rig.read();
    assert_eq!(rig.text(), "");
    rig.advance(100);
    rig.read();
    let call = call_of(&mut rig, "count/a");
    assert!(call.starts_with("[guilty] state [Some(\"sss"), "{call}");
    rig.done(answer());
    rig.read();
    let call = call_of(&mut rig, "count/a");
    let first: Vec<_> =
        call.split(' ').map(|word| word.chars().take(2).collect::<String>()).collect();
    assert_eq!(first[..4], ["[0", "1m", "2m", "la"], "{call}");
    rig.done(answer());
    rig.sync();
    assert_eq!((rig.shard.stats().blocked, rig.shard.stats().spilled_messages), (0, 0));
}
