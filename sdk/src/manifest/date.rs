//! Dates with a time and an offset, as startup positions have them. StateFun's code and its documentation
//! disagree about the form; both are read.

use super::values::mismatch;
use super::{Diagnostics, Node};

const EXPECTED: &str =
    "a date such as `2020-02-01 04:15:00.000 +0000` (an offset, or `Z`, stands at the end)";

/// Milliseconds since 1970-01-01 00:00 UTC.
pub fn date(node: &Node, field: &str, diagnostics: &mut Diagnostics) -> Option<i64> {
    let found = node.as_text().and_then(parse_date);
    if found.is_none() {
        mismatch(node, field, EXPECTED, diagnostics);
    }
    found
}

/// `yyyy-MM-dd HH:mm:ss`, up to nine digits of a fraction if wanted, and `Z`, `+hhmm` or `+hh:mm`. Answers
/// milliseconds since 1970-01-01 00:00 UTC; what is finer is cut off.
#[must_use]
pub fn parse_date(text: &str) -> Option<i64> {
    let mut rest = Rest(text.trim());
    let year = rest.number(4)?;
    let month = rest.after("-")?.number(2)?;
    let day = rest.after("-")?.number(2)?;
    if !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let is_separated = rest.after("T").is_some() || rest.blanks();
    let hour = rest.number(2).filter(|hour| is_separated && *hour < 24)?;
    let minute = rest.after(":")?.number(2).filter(|minute| *minute < 60)?;
    let second = rest.after(":")?.number(2).filter(|second| *second < 60)?;
    let millis = if rest.after(".").is_some() { rest.fraction()? } else { 0 };
    rest.blanks();
    let minutes = days_before(year, month, day) * 1_440 + hour * 60 + minute - rest.offset()?;
    Some((minutes * 60 + second) * 1_000 + millis)
}

/// What is not read yet.
struct Rest<'t>(&'t str);

impl Rest<'_> {
    fn after(&mut self, separator: &str) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(separator)?;
        Some(self)
    }

    fn blanks(&mut self) -> bool {
        let trimmed = self.0.trim_start_matches(' ');
        let is_any = trimmed.len() < self.0.len();
        self.0 = trimmed;
        is_any
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        let number = self.0.get(..digits)?;
        self.0 = &self.0[digits..];
        number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok()).flatten()
    }

    /// Milliseconds.
    fn fraction(&mut self) -> Option<i64> {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        self.0 = rest;
        let nanos = format!("{digits:0<9}");
        if digits.is_empty() || nanos.len() > 9 {
            return None;
        }
        nanos[..3].parse().ok()
    }

    /// Minutes east of Greenwich, at the end of the text.
    fn offset(&mut self) -> Option<i64> {
        if self.0 == "Z" {
            return Some(0);
        }
        let sign = if self.after("+").is_some() { 1 } else { self.after("-").map(|_| -1)? };
        let hours = self.number(2).filter(|hours| *hours <= 18)?;
        self.after(":");
        let minutes = self.number(2).filter(|minutes| *minutes < 60)?;
        self.0.is_empty().then_some(sign * (hours * 60 + minutes))
    }
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let of_months: i64 = (1..month).map(|earlier| days_of(year, earlier)).sum();
    let past = year - 1;
    let leaps = past / 4 - past / 100 + past / 400;
    // 719,162 days lie between the first day of the first year and 1970.
    past * 365 + leaps - 719_162 + of_months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_the_code_and_that_of_the_documentation_are_read() {
        let february = Some(1_580_530_500_000);
        for text in [
            "2020-02-01 04:15:00.000 +0000",
            "2020-02-01 04:15:00.00 Z",
            "2020-02-01T04:15:00Z",
            " 2020-02-01 04:15:00.000999 +00:00 ",
            "2020-02-01 05:45:00.000 +0130",
            "2020-01-31 20:15:00.000 -0800",
        ] {
            assert_eq!(parse_date(text), february, "{text}");
        }
    }

    #[test]
    fn days_are_counted_over_leap_years_and_before_1970() {
        assert_eq!(parse_date("1970-01-01 00:00:00.000 +0000"), Some(0));
        assert_eq!(parse_date("1969-12-31 23:59:59.999 +0000"), Some(-1));
        assert_eq!(parse_date("2024-02-29 12:00:00.500 Z"), Some(1_709_208_000_500));
        assert_eq!(parse_date("9999-12-31 23:59:59.999 Z"), Some(253_402_300_799_999));
        assert_eq!(parse_date("0001-01-01 00:00:00 Z"), Some(-62_135_596_800_000));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "2020-02-01",
            "2020-02-01 04:15:00.000",
            "2020-02-30 04:15:00.000 +0000",
            "2023-02-29 04:15:00.000 +0000",
            "2020-13-01 04:15:00.000 +0000",
            "2020-02-01 24:15:00.000 +0000",
            "2020-02-01 04:60:00.000 +0000",
            "2020-02-0104:15:00.000 +0000",
            "2020-02-01 04:15:00. +0000",
            "2020-02-01 04:15:00.0000000001 +0000",
            "2020-02-01 04:15:00.000 UTC",
            "2020-02-01 04:15:00.000 +0000x",
            "2020-02-01 04:15:00.000 +1900",
            "+020-02-01 04:15:00.000 +0000",
            "２０20-02-01 04:15:00.000 +0000",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
