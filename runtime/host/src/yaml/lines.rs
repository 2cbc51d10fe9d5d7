//! Lines inside of `[ ]` and `{ }` may begin anywhere for StateFun's parser, such as a `]` below the key
//! of its list. Ours wants them further to the right than that key, so it is given them there: a line that
//! it stumbles over is moved, and the text is parsed again.

use saphyr_parser::{Marker, ScanError};

/// Lines that are moved in one file: each takes one more run of the parser.
pub(super) const MOVED_LINES_MAX: usize = 200;

/// By how many columns: to the right of everything that a line may stand in.
const COLUMNS: usize = 256;

/// What the parser says of such lines, and of no others.
const SHALLOW: [&str; 2] = ["invalid indentation", "invalid indentation in flow construct"];

/// The lines that were moved.
#[derive(Clone, Debug, Default)]
pub(super) struct MovedLines(Vec<usize>);

impl MovedLines {
    /// The text with one more line moved; `None` when something else is wrong, or too many were.
    pub(super) fn mend(&mut self, text: &str, error: &ScanError) -> Option<String> {
        let at = error.marker();
        let is_new = !self.0.contains(&at.line()) && self.0.len() < MOVED_LINES_MAX;
        if !is_new || !SHALLOW.contains(&error.info()) {
            return None;
        }
        let begin = at.index().checked_sub(at.col())?;
        let (place, _) = text.char_indices().nth(begin)?;
        self.0.push(at.line());
        let (before, line) = text.split_at(place);
        Some(format!("{before}{}{line}", " ".repeat(COLUMNS)))
    }

    /// The column in the text as it was written, from 1.
    pub(super) fn column(&self, at: Marker) -> usize {
        let moved = if self.0.contains(&at.line()) { COLUMNS } else { 0 };
        at.col().saturating_sub(moved) + 1
    }
}
