//! What people read: findings with their places, and the one line that says why a command ended.
//! That nobody reads any more (a closed pipe) is never a failure.

use std::fmt::Display;
use std::io::{Write as _, stderr, stdout};

use dormouse_sdk::manifest::{Diagnostics, Severity};

use crate::failure::Failure;

/// Prints findings, sorted by file and line; `strict` takes warnings for errors. An error when there
/// are errors.
pub(crate) fn findings(diagnostics: &mut Diagnostics, strict: bool) -> Result<(), Failure> {
    let found = &mut diagnostics.found;
    if strict {
        for finding in found.iter_mut() {
            finding.severity = Severity::Error;
        }
    }
    found.sort_by(|a, b| {
        let place = |span: &dormouse_sdk::manifest::Span| (span.line, span.column);
        let by_file = a.span.file.cmp(&b.span.file);
        by_file.then_with(|| place(&a.span).cmp(&place(&b.span)))
    });
    for finding in found.iter() {
        tell(finding);
    }
    let is_error = |severity| severity == Severity::Error;
    let errors = found.iter().filter(|f| is_error(f.severity)).count();
    if errors == 0 {
        return Ok(());
    }
    let warnings = found.len() - errors;
    tell(summary(errors, warnings));
    Err(Failure::Reported)
}

fn summary(errors: usize, warnings: usize) -> String {
    let errors = counted(errors, "error");
    match warnings {
        0 => errors,
        _ => format!("{errors}, {}", counted(warnings, "warning")),
    }
}

/// `1 error`, `2 errors`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    match (count, noun) {
        (1, _) => format!("1 {noun}"),
        (_, noun) if noun.ends_with("ss") => format!("{count} {noun}es"),
        _ => format!("{count} {noun}s"),
    }
}

/// Writes to standard output: what was asked for.
pub(crate) fn answer(text: impl Display) {
    let mut out = stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Writes a line to standard error: what happens meanwhile.
pub(crate) fn tell(line: impl Display) {
    drop(writeln!(stderr(), "{line}"));
}

/// Prints why a command ended, a line for each thing that is wrong.
pub(crate) fn failure(failure: &Failure) {
    if *failure == Failure::Reported {
        return;
    }
    for line in failure.to_string().lines() {
        tell(format_args!("error: {line}"));
    }
}
