//! What StateFun's users know as limits of its protocol, and find again.

use anyhow::{Result, ensure};
use dormouse_interop::endpoint::Request;
use dormouse_interop::wire::answer::{Effects, Expires};
use dormouse_interop::wire::request::Value;
use dormouse_interop::wire::{INT, STRING};

use crate::stage::{RECORDS, Stage, asks, nothing};

/// Whatever the function reads or changes of it.
#[test]
fn every_value_of_an_address_goes_out_with_each_of_its_calls() -> Result<()> {
    const STATES: [(&str, &str, Expires); 3] = [
        ("long", STRING, Expires::Never),
        ("number", INT, Expires::Never),
        ("other", STRING, Expires::AfterCall(3_600_000)),
    ];
    let long = Value::string(&"x".repeat(100_000));
    let sent = long.clone();
    let handler = move |request: &Request| {
        if let Some(reply) = asks(request, &STATES) {
            return reply;
        }
        let effects = match request.batch.texts()[0].as_str() {
            "set" => Effects::new().set("long", &sent).set("other", &Value::string("o")),
            _ => Effects::new(),
        };
        effects.set("number", &Value::int(7)).record(RECORDS, "done").into()
    };
    Stage::play("same-values", "", handler, |stage| {
        stage.tell("s/f/a", "set")?;
        stage.application.record(RECORDS)?;
        stage.tell("s/f/a", "one")?;
        stage.application.record(RECORDS)?;
        stage.restart()?;
        stage.tell("s/f/a", "two")?;
        for text in ["one", "two"] {
            let request = stage.endpoint.wait_for(text, |all| {
                let fits = |request: &&std::sync::Arc<Request>| {
                    request.batch.texts() == [text] && !request.batch.states.is_empty()
                };
                all.iter().find(fits).cloned()
            })?;
            let state = |name: &str| request.batch.state(name).flatten().cloned();
            ensure!(state("long").as_ref() == Some(&long), "{text}: `long` is not there");
            ensure!(state("number") == Some(Value::int(7)), "{text}: {:?}", state("number"));
            ensure!(state("other") == Some(Value::string("o")), "{text}: {:?}", state("other"));
        }
        Ok(())
    })
}

/// A remote function has no metrics of its own here, and its calls are counted.
#[test]
fn calls_of_remote_functions_are_measured_by_their_type() -> Result<()> {
    Stage::play(
        "same-metrics",
        "",
        |_| nothing(),
        |stage| {
            for (target, text) in [("s/f/a", "1"), ("s/f/b", "2"), ("s/f/a", "3"), ("s/g/a", "4")] {
                stage.tell(target, text)?;
                stage.endpoint.got(target, text)?;
            }
            for (function, count) in [("s/f", 3.0), ("s/g", 1.0)] {
                for name in
                    ["dormouse_function_messages_total", "dormouse_function_invocations_total"]
                {
                    let series = format!("{name}{{function=\"{function}\"}}");
                    stage.application.wait_for(&format!("{series} {count}"), |application| {
                        Ok(application.metric(&series)? == count)
                    })?;
                }
            }
            Ok(())
        },
    )
}
