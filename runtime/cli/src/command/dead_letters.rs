//! `dormouse dead-letters`: messages that were given up, in a running process: shown, sent to their
//! addresses again, or thrown away. Goes from page to page until all that were there are done.

use std::fmt::Write as _;
use std::net::SocketAddr;

use dormouse_host::dead_letters::{Letter, Page, Request};

use crate::admin_client::post;
use crate::args::{DeadLettersArguments, DeadLettersCommand, Selection};
use crate::failure::Failure;
use crate::report::{self, counted};

/// Letters asked for at once.
const PAGE_LETTERS: usize = 500;

/// Longest cause on a line of the list, in characters.
const CAUSE_SHOWN_MAX: usize = 100;

pub(crate) fn dead_letters(arguments: &DeadLettersArguments) -> Result<(), Failure> {
    match &arguments.command {
        DeadLettersCommand::List { selection, limit, json } => {
            list(&request(selection)?, selection.admin, *limit, *json)
        }
        DeadLettersCommand::Show { letters, admin, json } => show(letters, *admin, *json),
        DeadLettersCommand::Replay { letters, all, selection } => {
            change("replay", letters, *all, selection)
        }
        DeadLettersCommand::Discard { letters, all, selection } => {
            change("discard", letters, *all, selection)
        }
    }
}

fn list(request: &Request, admin: SocketAddr, limit: usize, json: bool) -> Result<(), Failure> {
    let mut left = limit;
    let mut after = None;
    let mut shown = Vec::new();
    while left > 0 {
        let limit = Some(left.min(PAGE_LETTERS));
        let page = ask(admin, "list", &Request { after, limit, ..request.clone() })?;
        left -= page.letters.len().min(left);
        if json {
            page.letters.iter().try_for_each(answer_json)?;
        } else {
            shown.extend(page.letters);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if !json {
        report::answer(table(&shown));
    }
    if after.is_some() {
        report::tell(format_args!("there may be more; these are the first {limit} (--limit)"));
    }
    Ok(())
}

fn show(letters: &[String], admin: SocketAddr, json: bool) -> Result<(), Failure> {
    let mut missing = Vec::new();
    for (index, name) in letters.iter().enumerate() {
        // One at a time: a value may be long.
        let letters = Some(vec![name.clone()]);
        let page = ask(admin, "list", &Request { letters, values: true, ..Request::default() })?;
        match page.letters.first() {
            Some(letter) if json => answer_json(letter)?,
            Some(letter) => {
                let space = if index > 0 { "\n" } else { "" };
                report::answer(format_args!("{space}{}", described(letter).trim_end()));
            }
            None => missing.push(format!("there is no dead letter {name}")),
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Failure::Failed(missing.join("\n"))) }
}

fn change(what: &str, letters: &[String], all: bool, selection: &Selection) -> Result<(), Failure> {
    let mut request = request(selection)?;
    let is_chosen = request.function_type.is_some() || request.id.is_some();
    if letters.is_empty() && !is_chosen && request.cause.is_none() && !all {
        return Err(Failure::Input(format!(
            "which ones? Name letters, choose by --type, --id, --address or --cause, or {what} --all"
        )));
    }
    let mut count = 0;
    if letters.is_empty() {
        request.limit = Some(PAGE_LETTERS);
        loop {
            let page = ask(selection.admin, what, &request)?;
            count += page.letters.len();
            request.after = page.next;
            if request.after.is_none() {
                break;
            }
        }
    } else {
        for letters in letters.chunks(PAGE_LETTERS) {
            let request = Request { letters: Some(letters.to_vec()), ..request.clone() };
            count += ask(selection.admin, what, &request)?.letters.len();
        }
    }
    let done = if what == "replay" { "replayed" } else { "discarded" };
    report::answer(format_args!("{done} {}", counted(count, "dead letter")));
    let absent = letters.len().saturating_sub(count);
    if absent > 0 {
        let letters = counted(absent, "dead letter");
        return Err(Failure::Failed(format!("{letters} of those named: not there")));
    }
    Ok(())
}

fn request(selection: &Selection) -> Result<Request, Failure> {
    let mut request = Request {
        function_type: selection.function_type.clone(),
        id: selection.id.clone(),
        cause: selection.cause.clone(),
        ..Request::default()
    };
    if let Some(address) = &selection.address {
        let mut parts = address.splitn(3, '/');
        let (Some(namespace), Some(name), Some(id)) = (parts.next(), parts.next(), parts.next())
        else {
            let expected = "expected <namespace>/<name>/<id>";
            return Err(Failure::Input(format!("--address: {expected}, found `{address}`")));
        };
        request.function_type = Some(format!("{namespace}/{name}"));
        request.id = Some(id.to_owned());
    }
    Ok(request)
}

fn ask(admin: SocketAddr, what: &str, request: &Request) -> Result<Page, Failure> {
    let body = serde_json::to_string(request).map_err(failed)?;
    let answer = post(admin, &format!("/dead-letters/{what}"), &body)?;
    serde_json::from_str(&answer).map_err(failed)
}

fn answer_json(letter: &Letter) -> Result<(), Failure> {
    report::answer(serde_json::to_string(letter).map_err(failed)?);
    Ok(())
}

fn table(letters: &[Letter]) -> String {
    if letters.is_empty() {
        return "no dead letters".to_owned();
    }
    let mut rows = vec![["LETTER", "DIED", "ATTEMPTS", "ADDRESS", "CAUSE"].map(str::to_owned)];
    rows.extend(letters.iter().map(|letter| {
        let cause = on_terminal(&letter.cause).replace('\n', " ");
        let cause = cause.chars().take(CAUSE_SHOWN_MAX).collect();
        let attempts = letter.attempts.to_string();
        [letter.letter.clone(), time(letter.died_ms), attempts, address(letter), cause]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..4).map(|column| width(column).unwrap_or(0)).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  "));
        format!("{}{}", cells.collect::<String>(), row[4])
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn described(letter: &Letter) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // A string takes every line: there is no failure to handle.
        let _ = writeln!(text, "{name:<12}{value}");
    };
    line("letter", &letter.letter);
    line("address", &address(letter));
    line("origin", &letter.origin);
    line("caller", letter.caller.as_deref().unwrap_or("none"));
    line("first call", &time(letter.first_call_ms));
    line("died", &time(letter.died_ms));
    line("attempts", &letter.attempts.to_string());
    line("cause", &on_terminal(&letter.cause));
    line("type", &letter.value_type);
    let bytes = counted(letter.value_bytes, "byte");
    match (&letter.text, &letter.hex) {
        (Some(text), _) => line("value", &format!("{bytes}: {}", on_terminal(text))),
        (None, Some(hex)) => line("value", &format!("{bytes}: 0x{hex}")),
        (None, None) => line("value", &bytes),
    }
    text
}

/// Without what could steer a terminal: both come from outside.
fn on_terminal(text: &str) -> String {
    let kept = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    text.chars().map(kept).collect()
}

fn address(letter: &Letter) -> String {
    on_terminal(&format!("{}/{}", letter.function_type, letter.id))
}

/// Milliseconds since 1970 as a date: `2026-11-21T15:40:01Z`.
fn time(millis: u64) -> String {
    let seconds = millis / 1_000;
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    // Days are counted from a March 1, so that the day that some years have more is the last one.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leaps = day_of_era / 1_460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn failed(error: impl std::error::Error) -> Failure {
    Failure::Failed(format!("the admin listener's answer: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(time(seconds * 1_000 + 999), expected);
        }
    }
}
