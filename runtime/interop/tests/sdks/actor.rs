//! What a function does reaches the runtime in every language: state, messages, delays, expiration,
//! failures and batches.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dormouse_interop::packages::Language;
use dormouse_interop::wire::request::Value;

use crate::stage::Stage;

/// After so long the states `brief` and `used` are gone.
const BRIEF: Duration = Duration::from_millis(1_500);

pub(crate) fn state_is_kept_and_cleared(language: Language) -> Result<()> {
    Stage::play(language, "state", |stage| {
        ensure!(stage.shown("a", "count")? == Value::string("unset"));
        stage.tell("a", "add 2")?;
        stage.tell("a", "add 3; add 4")?;
        ensure!(stage.shown("a", "count")? == Value::int(9));
        ensure!(stage.shown("b", "count")? == Value::string("unset"), "another address");
        stage.tell("a", "clear count")?;
        ensure!(stage.shown("a", "count")? == Value::string("unset"));
        stage.tell("a", "clear count; put count 7; clear count; add 1")?;
        ensure!(stage.shown("a", "count")? == Value::int(1), "the last change counts");
        Ok(())
    })
}

pub(crate) fn messages_know_their_callers(language: Language) -> Result<()> {
    Stage::play(language, "callers", |stage| {
        stage.tell("a", "add 5; tell outside")?;
        let record = stage.application.record("news")?;
        ensure!(record == "outside: a called by nobody, count 5", "{record}");
        stage.tell("a", "send suite/actor b tell other")?;
        let record = stage.application.record("news")?;
        ensure!(record == "other: b called by suite/actor/a, count none", "{record}");
        stage.tell("a", "send suite/actor a tell self")?;
        let record = stage.application.record("news")?;
        ensure!(record == "self: a called by suite/actor/a, count 5", "{record}");
        stage.tell("a", "send frail/actor b reply tell answer")?;
        let record = stage.application.record("news")?;
        ensure!(record == "answer: a called by frail/actor/b, count 5", "{record}");
        stage.tell("a", "after 20 tell later")?;
        let record = stage.application.record("news")?;
        ensure!(record == "later: a called by suite/actor/a, count 5", "{record}");
        Ok(())
    })
}

pub(crate) fn delayed_messages_come_or_are_cancelled(language: Language) -> Result<()> {
    Stage::play(language, "delays", |stage| {
        // Nothing at all later, in whole milliseconds.
        stage.tell("a", "after 0 tell now")?;
        ensure!(stage.application.record("news")? == "now: a called by suite/actor/a, count none");
        // Cancelled by the answer that sends it, and by a later one.
        stage.tell("a", "timer 100 one tell cancelled; cancel one")?;
        stage.tell("a", "timer 2500 two tell cancelled")?;
        stage.tell("a", "cancel two; cancel unknown")?;
        stage.tell("a", "timer 100 three tell kept; cancel one")?;
        ensure!(stage.application.record("news")? == "kept: a called by suite/actor/a, count none");
        // It would be here by now.
        stage.tell("a", "after 3000 tell last")?;
        ensure!(stage.application.record("news")? == "last: a called by suite/actor/a, count none");
        // Delayed messages outlive a kill.
        stage.tell("a", "timer 300 four tell survived")?;
        ensure!(stage.shown("a", "count")? == Value::string("unset"));
        stage.application.kill()?;
        stage.application.start()?;
        let mut record = stage.application.record("news")?;
        // What was taken just before the kill may be shown again.
        while ["now", "kept", "last"].iter().any(|word| record.starts_with(word)) {
            record = stage.application.record("news")?;
        }
        ensure!(record == "survived: a called by suite/actor/a, count none", "{record}");
        Ok(())
    })
}

pub(crate) fn state_expires_after_writes_and_after_calls(language: Language) -> Result<()> {
    Stage::play(language, "expiration", |stage| {
        let unset = Value::string("unset");
        let is_kept_by_calls = loop {
            let written = Instant::now();
            stage.tell("a", "put brief 1; put used 2")?;
            let values = stage.all_shown("a", &["brief", "used"])?;
            if written.elapsed() < BRIEF {
                ensure!(values == [Value::int(1), Value::int(2)], "{values:?}");
            }
            let (mut longest, mut last) = (Duration::ZERO, Instant::now());
            let values = loop {
                let values = stage.all_shown("a", &["brief", "used"])?;
                longest = longest.max(last.elapsed());
                last = Instant::now();
                if values[0] == unset {
                    break values;
                }
                ensure!(written.elapsed() < 20 * BRIEF, "`brief` does not expire");
            };
            ensure!(written.elapsed() >= BRIEF, "`brief` was gone after {:?}", written.elapsed());
            if longest < BRIEF / 2 {
                break values[1] == Value::int(2);
            }
            // The machine was too busy to call often enough.
        };
        ensure!(is_kept_by_calls, "calls did not keep `used`");
        std::thread::sleep(BRIEF + Duration::from_millis(100));
        ensure!(stage.shown("a", "used")? == unset, "`used` does not expire without calls");
        Ok(())
    })
}

/// What the call of a function that throws looks like, from outside.
fn failure_of(language: Language) -> &'static str {
    match language {
        Language::Python => "got 500 Internal Server Error, `the function failed, see its log`",
        Language::JavaScript => "got 500 Internal Server Error",
        Language::Go => "got 500 Internal Server Error, `asked to fail`",
        Language::Java => "got none, with the header `status: 500`: the function failed",
    }
}

pub(crate) fn a_function_that_fails_is_given_up_and_has_done_nothing(
    language: Language,
) -> Result<()> {
    Stage::play(language, "failure", |stage| {
        stage.application.tell("frail/actor/a", "add 1; tell before")?;
        stage.application.tell("frail/actor/a", "add 10; tell never; fail")?;
        stage.application.tell("frail/actor/a", "add 100; tell after")?;
        ensure!(stage.application.record("news")? == "before: a called by nobody, count 1");
        ensure!(stage.application.record("news")? == "after: a called by nobody, count 101");
        let letters = stage.application.given_up(1)?;
        let expected = failure_of(language);
        ensure!(letters.contains(expected), "expected `{expected}` in {letters}");
        Ok(())
    })
}

pub(crate) fn a_negative_delay_is_a_failure_of_the_function(language: Language) -> Result<()> {
    Stage::play(language, "negative", |stage| {
        stage.application.tell("frail/actor/a", "add 1; after -5 add 10")?;
        stage.application.tell("frail/actor/a", "tell after")?;
        ensure!(stage.application.record("news")? == "after: a called by nobody, count none");
        let letters = stage.application.given_up(1)?;
        ensure!(letters.contains("has delay_in_ms -5: expected 0 or more"), "{letters}");
        Ok(())
    })
}

pub(crate) fn many_messages_for_one_address_are_taken_in_batches(language: Language) -> Result<()> {
    const MESSAGES: i32 = 600;
    Stage::play(language, "batches", |stage| {
        // The answer is long: the Go SDK's server sends it in chunks.
        stage.tell("a", &format!("burst {MESSAGES} suite/actor b add 1"))?;
        // Behind all of them: messages of one sender to one target keep their order.
        stage.tell("a", "send suite/actor b tell done")?;
        let record = stage.application.record("news")?;
        ensure!(record == format!("done: b called by suite/actor/a, count {MESSAGES}"), "{record}");
        let calls = stage.application.metric("dormouse_function_invocations_total")?;
        ensure!(calls < f64::from(MESSAGES) / 2.0, "{calls} calls for {MESSAGES} messages");
        Ok(())
    })
}
