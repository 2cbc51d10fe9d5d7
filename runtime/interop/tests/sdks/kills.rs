//! `kill -9` of `dormouse` and of the functions' process, in the middle of messages that make messages:
//! everything that was accepted is counted, once.

use std::time::Duration;

use anyhow::{Result, ensure};
use dormouse_interop::packages::Language;
use dormouse_interop::wire::request::Value;

use crate::stage::Stage;

/// Each of these makes `EACH` messages, on two ways.
const COMMANDS: i32 = 12;
const EACH: i32 = 40;
/// Nothing that was counted twice comes so late.
const QUIET: Duration = Duration::from_millis(500);

pub(crate) fn counts_are_exact_over_kills_of_both_processes(language: Language) -> Result<()> {
    Stage::play(language, "kills", |stage| {
        for round in 0..3_u64 {
            for number in 0..COMMANDS / 3 {
                let (id, relay) = (format!("from{round}{number}"), format!("relay{number}"));
                // Directly, and by another actor that sends it on.
                stage.tell(&id, &format!("add 1; burst {EACH} suite/actor sum add 1"))?;
                let sent_on = format!("suite/actor {relay} send suite/actor sum add 1");
                stage.tell(&id, &format!("add 1; burst {EACH} {sent_on}; after 50 add 1"))?;
            }
            // Some of it is under way now.
            std::thread::sleep(Duration::from_millis(15 * round));
            if round != 1 {
                stage.application.kill()?;
            }
            if round != 0 {
                stage.functions.kill()?;
                std::thread::sleep(Duration::from_millis(100));
            }
            if round != 1 {
                stage.application.start()?;
            }
            if round != 0 {
                stage.functions.start_again()?;
            }
        }
        let all = Value::int(2 * COMMANDS * EACH);
        let mut last = stage.shown("sum", "count")?;
        for _ in 0..600 {
            if last == all {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
            last = stage.shown("sum", "count")?;
        }
        ensure!(last == all, "{last:?} of {all:?}");
        std::thread::sleep(QUIET);
        ensure!(stage.shown("sum", "count")? == all, "counted twice");
        for round in 0..3 {
            for number in 0..COMMANDS / 3 {
                let count = stage.shown(&format!("from{round}{number}"), "count")?;
                ensure!(count == Value::int(3), "from{round}{number}: {count:?}");
            }
        }
        Ok(())
    })
}
