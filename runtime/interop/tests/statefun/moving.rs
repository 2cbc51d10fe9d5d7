//! State that comes from another runtime: a function hands out what it knows of an id as a record, and the
//! same function, on its new runtime, takes such a record as a message.

use anyhow::{Context as _, Result, ensure};
use dormouse_interop::endpoint::{Reply, Request};
use dormouse_interop::wire::STRING;
use dormouse_interop::wire::answer::{Effects, Expires};
use dormouse_interop::wire::request::Value;

use crate::stage::{RECORDS, Stage, asks};

const TEXT: (&str, &str, Expires) = ("text", STRING, Expires::Never);
const INSTANCES: usize = 20;

/// `set X` is its daily work; `export` and `import X` move it. What is there already is newer than what is
/// imported.
fn movable(request: &Request) -> Reply {
    if let Some(reply) = asks(request, &[TEXT]) {
        return reply;
    }
    let mut effects = Effects::new();
    let mut known = request.batch.state("text").flatten().cloned();
    for message in request.batch.texts() {
        match message.split_once(' ') {
            Some(("set", text)) => known = Some(Value::string(text)),
            Some(("import", text)) => known = Some(known.unwrap_or_else(|| Value::string(text))),
            _ => {
                let id = request.batch.target.rsplit('/').next().unwrap_or_default();
                let text = known.as_ref().map(Value::text).unwrap_or_default();
                effects = effects.record(RECORDS, &format!("{id} {text}"));
            }
        }
    }
    match known {
        Some(known) => effects.set("text", &known).into(),
        None => effects.into(),
    }
}

#[test]
fn state_moves_as_records_that_become_messages() -> Result<()> {
    let mut exported = Vec::new();
    Stage::play("moving-from", "", movable, |stage| {
        for number in 0..INSTANCES {
            stage.tell(&format!("s/f/{number}"), &format!("set value {number}"))?;
            stage.tell(&format!("s/f/{number}"), "export")?;
        }
        for _ in 0..INSTANCES {
            exported.push(stage.application.record(RECORDS)?);
        }
        Ok(())
    })?;
    Stage::play("moving-to", "", movable, |stage| {
        stage.tell("s/f/0", "set newer")?;
        // Whoever is not sure what arrived sends all of it again.
        for _ in 0..2 {
            for record in &exported {
                let (id, text) = record.split_once(' ').context("a record is an id and a text")?;
                stage.tell(&format!("s/f/{id}"), &format!("import {text}"))?;
            }
            stage.restart()?;
        }
        let mut found = Vec::new();
        for number in 0..INSTANCES {
            stage.tell(&format!("s/f/{number}"), "export")?;
            found.push(stage.application.record(RECORDS)?);
        }
        let kept = (1..INSTANCES).map(|number| format!("{number} value {number}"));
        let expected: Vec<String> = std::iter::once("0 newer".to_owned()).chain(kept).collect();
        ensure!(found == expected, "{found:?}");
        Ok(())
    })
}
