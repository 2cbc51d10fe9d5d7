//! What a puppet does: what its message says, a line of words. The same function runs inside of the
//! runtime (the binary `puppet`) and is served to it (the binary `far-puppet`).

use std::time::Duration;

use dormouse_sdk::record::PlaygroundRecord;
use dormouse_sdk::{Context, FunctionError, State};

/// What was noted, one line each.
pub(crate) const NOTES: State<String> = State::new("notes");

/// The message is a line of words; a message with somebody who waits is answered with the notes.
pub(crate) async fn puppet(ctx: &mut Context, mut line: String) -> Result<(), FunctionError> {
    if let Some(pause) = line.strip_prefix("pause ") {
        // The function is slow, its thread is free. What it holds meanwhile is not the runtime's.
        let millis = duration(pause.split(' ').next().unwrap_or_default())?;
        line = "ignore it".to_owned();
        tokio::time::sleep(millis).await;
    }
    // A note, what is ignored, and the text of a message that is sent on may have spaces.
    let parts = if line.starts_with("note ") || line.starts_with("ignore ") { 2 } else { 4 };
    let words: Vec<&str> = line.splitn(parts, ' ').collect();
    match words[..] {
        ["list"] | ["ignore", _] => {}
        ["note", text] => note(ctx, text)?,
        ["send", target, id, text] => ctx.send((target, id), text)?,
        ["after", millis, "-", text] => {
            let own = ctx.address().clone();
            ctx.send_after(duration(millis)?, own, format!("note {text}"))?;
        }
        ["alarms", count, from, over] => alarms(ctx, [count, from, over])?,
        ["after", millis, token, text] => {
            let own = ctx.address().clone();
            ctx.send_after_with_token(duration(millis)?, token, own, format!("note {text}"))?;
        }
        ["wake", prefix, count] => wake(ctx, prefix, count.parse()?)?,
        ["keep", size] => ctx.set(&NOTES, "x".repeat(size.parse()?))?,
        // Not a pause of its own: the thread is held up, as by a lock or a loop without an end.
        ["block", millis] => std::thread::sleep(duration(millis)?),
        ["cancel", token] => ctx.cancel(token)?,
        ["egress", egress, topic, text] => {
            let record = PlaygroundRecord { topic: topic.to_owned(), payload: text.to_owned() };
            ctx.send_egress(egress, record)?;
        }
        _ => return Err(FunctionError::new(format!("`{line}` is nothing to do"))),
    }
    if ctx.caller().is_some_and(|caller| caller.function_type != ctx.address().function_type) {
        let notes = ctx.get(&NOTES)?.unwrap_or_default();
        ctx.reply(notes)?;
    }
    Ok(())
}

fn note(ctx: &mut Context, text: &str) -> Result<(), FunctionError> {
    let mut notes = ctx.get(&NOTES)?.unwrap_or_default();
    notes.push_str(text);
    notes.push('\n');
    Ok(ctx.set(&NOTES, notes)?)
}

/// A note for each of so many others, a bounded number at a time.
fn wake(ctx: &mut Context, prefix: &str, left: usize) -> Result<(), FunctionError> {
    let own = ctx.address().clone();
    for number in left.saturating_sub(1_000)..left {
        ctx.send((own.function_type.as_str(), format!("{prefix}{number}")), "note woken")?;
    }
    match left.saturating_sub(1_000) {
        0 => Ok(()),
        left => ctx.send(own, format!("wake {prefix} {left}")),
    }
}

/// So many notes to itself, evenly spread from one moment on, every second one with a token.
fn alarms(ctx: &mut Context, words: [&str; 3]) -> Result<(), FunctionError> {
    let [count, from, over] = words.map(str::parse::<u64>);
    let (count, from, over) = (count?, from?, over?);
    for number in 0..count {
        let (delay, own) =
            (Duration::from_millis(from + number * over / count), ctx.address().clone());
        if number.is_multiple_of(2) {
            ctx.send_after(delay, own, "note x")?;
        } else {
            ctx.send_after_with_token(delay, format!("t{number}"), own, "note x")?;
        }
    }
    Ok(())
}

fn duration(millis: &str) -> Result<Duration, FunctionError> {
    Ok(Duration::from_millis(millis.parse::<u64>()?))
}
