//! Readers of single values: text, numbers, durations, sizes, type names, one of several words. Binders
//! call them with the field's name; each reports at the value's own position what was expected and what
//! stands there.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use dormouse_protocol::TypeName;

use super::{Diagnostics, Node};

const DURATION_EXPECTED: &str =
    "a duration such as `500 ms`, `10s`, `2min`, `1h`, `1day` (without a unit: milliseconds)";
const SIZE_EXPECTED: &str =
    "a size such as `512KiB`, `32MiB`, `1GB` (base 1024; without a unit: bytes)";

/// Any scalar as text.
pub fn text<'n>(node: &'n Node, field: &str, diagnostics: &mut Diagnostics) -> Option<&'n str> {
    let found = node.as_text();
    if found.is_none() {
        mismatch(node, field, "text", diagnostics);
    }
    found
}

/// A whole number within `range`, quoted or not; its digits may be grouped, as in `1_000`.
pub fn integer(
    node: &Node,
    field: &str,
    range: RangeInclusive<i64>,
    diagnostics: &mut Diagnostics,
) -> Option<i64> {
    let parsed: Option<i64> = node.as_text().and_then(|text| ungrouped(text)?.parse().ok());
    if let Some(number) = parsed.filter(|number| range.contains(number)) {
        return Some(number);
    }
    let (low, high) = (*range.start(), *range.end());
    let no_low = low <= i64::from(i32::MIN);
    let no_high = high >= i64::from(i32::MAX);
    let expected = match (no_low, no_high) {
        (true, true) => "a whole number".to_owned(),
        (false, true) => format!("a whole number of at least {low}"),
        (true, false) => format!("a whole number of at most {high}"),
        (false, false) => format!("a whole number from {low} to {high}"),
    };
    mismatch(node, field, expected, diagnostics);
    None
}

/// `true` or `false`.
pub fn boolean(node: &Node, field: &str, diagnostics: &mut Diagnostics) -> Option<bool> {
    match node.as_text() {
        Some("true" | "True" | "TRUE") => Some(true),
        Some("false" | "False" | "FALSE") => Some(false),
        _ => {
            mismatch(node, field, "`true` or `false`", diagnostics);
            None
        }
    }
}

/// A duration in the forms that StateFun reads, a bare number meaning milliseconds.
pub fn duration(node: &Node, field: &str, diagnostics: &mut Diagnostics) -> Option<Duration> {
    let found = node.as_text().and_then(parse_duration);
    if found.is_none() {
        mismatch(node, field, DURATION_EXPECTED, diagnostics);
    }
    found
}

/// A number of bytes with an optional unit of base 1024; its digits may be grouped, as in `1_048_576`.
pub fn size(node: &Node, field: &str, diagnostics: &mut Diagnostics) -> Option<u64> {
    let found = node.as_text().and_then(ungrouped).and_then(|text| parse_size(&text));
    if found.is_none() {
        mismatch(node, field, SIZE_EXPECTED, diagnostics);
    }
    found
}

/// `<namespace>/<name>`.
pub fn type_name(node: &Node, field: &str, diagnostics: &mut Diagnostics) -> Option<TypeName> {
    let found = node.as_text().and_then(|text| TypeName::parse(text.trim()).ok());
    if found.is_none() {
        mismatch(node, field, "`<namespace>/<name>`", diagnostics);
    }
    found
}

/// One of several words, in any case, each with what it means.
pub fn choice<T: Clone>(
    node: &Node,
    field: &str,
    known: &[(&str, T)],
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let text = node.as_text().map(str::trim);
    let found = known.iter().find(|(word, _)| text.is_some_and(|t| t.eq_ignore_ascii_case(word)));
    if found.is_none() {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let one_of = if words.len() == 1 { "" } else { "one of " };
        mismatch(node, field, format!("{one_of}{}", super::list(&words)), diagnostics);
    }
    found.map(|(_, meaning)| meaning.clone())
}

/// A list.
pub fn list<'n>(node: &'n Node, field: &str, diagnostics: &mut Diagnostics) -> Option<&'n [Node]> {
    let found = node.as_list();
    if found.is_none() {
        mismatch(node, field, "a list", diagnostics);
    }
    found
}

/// Reports that `node` is not what the field wants.
pub fn mismatch(node: &Node, field: &str, expected: impl Display, diagnostics: &mut Diagnostics) {
    let found = node.describe();
    diagnostics.error(&node.span, format!("`{field}`: expected {expected}, found {found}"));
}

/// Digits and a unit, with blanks around and between, in any case: days to nanoseconds; no unit means
/// milliseconds. No sign, no fraction, no combination.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    match unit.as_str() {
        "d" | "day" | "days" => seconds(86_400),
        "h" | "hour" | "hours" => seconds(3_600),
        "m" | "min" | "minute" | "minutes" => seconds(60),
        "s" | "sec" | "secs" | "second" | "seconds" => seconds(1),
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => {
            Some(Duration::from_millis(number))
        }
        "µs" | "μs" | "micro" | "micros" | "microsecond" | "microseconds" => {
            Some(Duration::from_micros(number))
        }
        "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => {
            Some(Duration::from_nanos(number))
        }
        _ => None,
    }
}

/// Digits and a unit of base 1024, with blanks around and between, in any case; no unit means bytes.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let shift = match unit.as_str() {
        "" | "b" | "byte" | "bytes" => 0,
        "k" | "kb" | "kib" | "kibibytes" => 10,
        "m" | "mb" | "mib" | "mebibytes" => 20,
        "g" | "gb" | "gib" | "gibibytes" => 30,
        "t" | "tb" | "tib" | "tebibytes" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// Without the `_` that YAML lets stand between digits; `None` for one that stands elsewhere.
fn ungrouped(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim();
    if !text.contains('_') {
        return Some(Cow::Borrowed(text));
    }
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    let mut places = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'_');
    let is_between = |(at, _): (usize, &u8)| {
        is_digit(at.checked_sub(1).and_then(|before| bytes.get(before)))
            && is_digit(bytes.get(at + 1))
    };
    places.all(is_between).then(|| Cow::Owned(text.replace('_', "")))
}

fn number_and_unit(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim().to_lowercase()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::super::{NodeValue, Span};
    use super::*;

    fn scalar(text: &str) -> Node {
        Node {
            span: Span { file: Arc::from(Path::new("module.yaml")), line: 7, column: 9 },
            value: NodeValue::Scalar { text: text.to_owned(), plain: true },
        }
    }

    fn complaint<T>(read: impl FnOnce(&mut Diagnostics) -> Option<T>) -> String {
        let mut diagnostics = Diagnostics::default();
        assert!(read(&mut diagnostics).is_none());
        assert_eq!(diagnostics.found.len(), 1);
        diagnostics.found[0].to_string()
    }

    #[test]
    fn durations_read_as_in_statefun() {
        let millis = |text: &str| parse_duration(text).map(|d| d.as_millis());
        for (text, expected) in [
            ("1minute", 60_000),
            ("1 min", 60_000),
            ("2m", 120_000),
            ("15min", 900_000),
            ("1day", 86_400_000),
            ("10second", 10_000),
            ("  10  SEC ", 10_000),
            ("250", 250),
            ("250 milliseconds", 250),
            ("3000 µs", 3),
            ("5000000ns", 5),
            ("0", 0),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for text in ["", "s", "1.5s", "-1s", "1m30s", "1 fortnight", "99999999999999999999"] {
            assert_eq!(millis(text), None, "{text}");
        }
        assert_eq!(parse_duration("18446744073709551615 d"), None);
    }

    #[test]
    fn sizes_have_base_1024() {
        assert_eq!(parse_size("32MiB"), Some(32 << 20));
        assert_eq!(parse_size("32 mb"), Some(32 << 20));
        assert_eq!(parse_size("1k"), Some(1024));
        assert_eq!(parse_size("7"), Some(7));
        assert_eq!(parse_size("1.5GB"), None);
        assert_eq!(parse_size("17179869184 g"), None);
        assert_eq!(parse_size("5 stone"), None);
    }

    #[test]
    fn a_wrong_value_is_reported_where_it_stands() {
        assert_eq!(
            complaint(|d| integer(&scalar("80a"), "port", 0..=65_535, d)),
            "module.yaml:7:9: error: `port`: expected a whole number from 0 to 65535, found `80a`"
        );
        assert_eq!(
            complaint(|d| integer(&scalar("0"), "pool_size", 1..=i64::MAX, d)),
            "module.yaml:7:9: error: `pool_size`: expected a whole number of at least 1, found `0`"
        );
        assert_eq!(
            complaint(|d| duration(&scalar("soon"), "call", d)),
            "module.yaml:7:9: error: `call`: expected a duration such as `500 ms`, `10s`, `2min`, \
             `1h`, `1day` (without a unit: milliseconds), found `soon`"
        );
        assert!(complaint(|d| size(&scalar("big"), "maxBody", d)).contains("expected a size"));
        assert!(complaint(|d| boolean(&scalar("yes"), "on", d)).contains("`true` or `false`"));
        assert!(complaint(|d| type_name(&scalar("x"), "id", d)).contains("`<namespace>/<name>`"));
        assert!(complaint(|d| text(&scalar(""), "url", d).map(drop)).contains("found nothing"));
        assert!(
            complaint(|d| list(&scalar("a"), "topics", d).map(drop)).contains("a list, found `a`")
        );
        assert_eq!(
            complaint(|d| choice(&scalar("late"), "type", &[("latest", 1), ("date", 2)], d)),
            "module.yaml:7:9: error: `type`: expected one of `latest`, `date`, found `late`"
        );
    }

    #[test]
    fn digits_may_be_grouped() {
        let mut d = Diagnostics::default();
        assert_eq!(integer(&scalar("8_090"), "port", 0..=65_535, &mut d), Some(8_090));
        assert_eq!(integer(&scalar("-1_0"), "n", -10..=10, &mut d), Some(-10));
        assert_eq!(size(&scalar("33_554_432"), "max", &mut d), Some(32 << 20));
        assert_eq!(size(&scalar("1_024 KiB"), "max", &mut d), Some(1 << 20));
        assert!(d.found.is_empty());
        for text in ["_1", "1_", "1__0", "_", "1_k"] {
            assert!(complaint(|d| integer(&scalar(text), "n", 0..=99, d)).contains(text));
            assert!(complaint(|d| size(&scalar(text), "max", d)).contains(text));
        }
    }

    #[test]
    fn good_values_pass_without_a_word() {
        let mut d = Diagnostics::default();
        assert_eq!(integer(&scalar("-1"), "n", i64::MIN..=10, &mut d), Some(-1));
        assert_eq!(boolean(&scalar("true"), "on", &mut d), Some(true));
        assert_eq!(choice(&scalar("LATEST"), "type", &[("latest", 1)], &mut d), Some(1));
        assert_eq!(
            type_name(&scalar("a/b"), "id", &mut d).map(|t| t.to_string()),
            Some("a/b".to_owned())
        );
        assert!(d.found.is_empty());
    }
}
