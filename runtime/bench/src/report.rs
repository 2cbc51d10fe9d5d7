//! What a run found: rows, printed one by one and as a table at the end, kept as JSON, and compared
//! with those of an earlier run.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::histogram::Latency;

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) facts: Facts,
    pub(crate) rows: Vec<Row>,
}

/// One line of the table. What a row does not measure is `None`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// What was done, in one line.
    pub(crate) title: String,
    /// Messages, requests or hops a second.
    pub(crate) per_second: Option<f64>,
    pub(crate) latency: Option<Latency>,
    pub(crate) peak_bytes: Option<u64>,
    /// Processor time of the server per message, in microseconds.
    pub(crate) cpu_micros: Option<f64>,
    /// What it is held against, measured in the same run.
    pub(crate) limits: Vec<Limit>,
    /// Further figures.
    pub(crate) figures: Vec<Figure>,
    pub(crate) aims: Vec<Aim>,
}

/// What the machine allows, and how much of it the row reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Limit {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    /// The row's own value by this one.
    pub(crate) ratio: f64,
}

/// A number with its name and unit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

/// What the row should reach, and whether it did. A missed one is shown, and is no error: machines and
/// their neighbours differ.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Aim {
    pub(crate) text: String,
    pub(crate) is_met: bool,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, title: impl Into<String>) -> Self {
        Self { name: name.into(), title: title.into(), ..Self::default() }
    }

    /// Holds the row's throughput against a limit.
    pub(crate) fn of_limit(&mut self, what: impl Into<String>, per_second: f64) {
        self.of_limit_in("/s", what, self.per_second.unwrap_or(0.0), per_second);
    }

    /// Holds a duration of the row, in microseconds, against a limit.
    pub(crate) fn of_limit_micros(&mut self, what: impl Into<String>, own: f64, micros: f64) {
        self.of_limit_in("us", what, own, micros);
    }

    /// Holds a figure of the row against a limit, both in this unit.
    pub(crate) fn of_limit_in(
        &mut self,
        unit: &str,
        what: impl Into<String>,
        own: f64,
        value: f64,
    ) {
        let (what, unit) = (what.into(), unit.to_owned());
        self.limits.push(Limit { what, value, unit, ratio: own / value });
    }

    pub(crate) fn figure(&mut self, what: impl Into<String>, value: f64, unit: &str) {
        self.figures.push(Figure { what: what.into(), value, unit: unit.to_owned() });
    }

    pub(crate) fn figure_of(&self, what: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.what == what).map(|figure| figure.value)
    }

    pub(crate) fn aim(&mut self, text: impl Into<String>, is_met: bool) {
        self.aims.push(Aim { text: text.into(), is_met });
    }

    /// Everything that is known of the row.
    pub(crate) fn print(&self) {
        println!("\n{}: {}", self.name, self.title);
        if let Some(per_second) = self.per_second {
            println!("  throughput       {:>12} /s", whole(per_second));
        }
        if let Some(Latency { p50, p99, p999 }) = self.latency {
            let [p50, p99, p999] = [p50, p99, p999].map(nanos);
            println!("  p50/p99/p99.9    {p50} / {p99} / {p999}");
        }
        if let Some(bytes) = self.peak_bytes {
            println!("  peak memory      {:>12.1} MB", megabytes(bytes));
        }
        if let Some(micros) = self.cpu_micros {
            println!("  processor time   {micros:>12.2} us each");
        }
        for Limit { what, value, unit, ratio } in &self.limits {
            println!("  {what:<16} {:>12} {unit:<4} {ratio:.2} of it", whole(*value));
        }
        for Figure { what, value, unit } in &self.figures {
            println!("  {what:<40} {value:.2} {unit}");
        }
        for Aim { text, is_met } in &self.aims {
            println!("  aim: {text}: {}", if *is_met { "met" } else { "missed" });
        }
    }
}

impl Report {
    pub(crate) fn table(&self) -> String {
        let mut table = vec![
            ["row", "per second", "p50", "p99", "p99.9", "peak MB", "CPU us", "limit", "of limit"]
                .map(ToOwned::to_owned),
        ];
        table.extend(self.rows.iter().filter(|row| row.per_second.is_some()).map(Row::cells));
        let mut text = aligned(&table);
        for row in self.rows.iter().filter(|row| !row.figures.is_empty()) {
            for Figure { what, value, unit } in &row.figures {
                // Writing to a `String` cannot fail.
                let _ = writeln!(text, "{}: {what}: {value:.2} {unit}", row.name);
            }
        }
        for row in &self.rows {
            for aim in row.aims.iter().filter(|aim| !aim.is_met) {
                let _ = writeln!(text, "{}: missed: {}", row.name, aim.text);
            }
        }
        text
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        serde_json::from_str(&text).with_context(|| format!("{shown}: no report of this program"))
    }

    /// Each row as a multiple of the same row of an earlier run.
    pub(crate) fn compared_with(&self, earlier: &Self) -> String {
        let mut table = vec![
            ["row", "per second", "p50", "p99", "peak", "CPU", "of limit"].map(ToOwned::to_owned),
        ];
        for row in &self.rows {
            let Some(old) = earlier.rows.iter().find(|old| old.name == row.name) else { continue };
            let p50 = |row: &Row| row.latency.map(|latency| latency.p50 as f64);
            let p99 = |row: &Row| row.latency.map(|latency| latency.p99 as f64);
            let peak = |row: &Row| row.peak_bytes.map(|bytes| bytes as f64);
            let share = |row: &Row| row.limits.first().map(|limit| limit.ratio);
            table.push([
                row.name.clone(),
                times(row.per_second, old.per_second),
                times(p50(row), p50(old)),
                times(p99(row), p99(old)),
                times(peak(row), peak(old)),
                times(row.cpu_micros, old.cpu_micros),
                times(share(row), share(old)),
            ]);
        }
        format!("times the run at {}:\n{}", earlier.facts.commit, aligned(&table))
    }
}

impl Row {
    fn cells(&self) -> [String; 9] {
        let time = |pick: fn(&Latency) -> u64| self.latency.as_ref().map(|l| nanos(pick(l)));
        let limit = self.limits.first();
        [
            Some(self.name.clone()),
            self.per_second.map(whole),
            time(|l| l.p50),
            time(|l| l.p99),
            time(|l| l.p999),
            self.peak_bytes.map(|bytes| format!("{:.1}", megabytes(bytes))),
            self.cpu_micros.map(|micros| format!("{micros:.2}")),
            limit.map(|limit| format!("{} {}", whole(limit.value), limit.unit)),
            limit.map(|limit| format!("{:.2}", limit.ratio)),
        ]
        .map(|cell| cell.unwrap_or_else(|| "-".to_owned()))
    }
}

/// Columns as wide as their widest cell; the first to the left, the others to the right.
fn aligned<const N: usize>(table: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for line in table {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in table {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let _ = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}

fn times(new: Option<f64>, old: Option<f64>) -> String {
    match (new, old) {
        (Some(new), Some(old)) if old > 0.0 => format!("{:.2}", new / old),
        _ => "-".to_owned(),
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn nanos(nanos: u64) -> String {
    match nanos as f64 / 1e3 {
        micros if micros < 1_000.0 => format!("{micros:.0} us"),
        micros if micros < 1e6 => format!("{:.2} ms", micros / 1e3),
        micros => format!("{:.2} s", micros / 1e6),
    }
}

/// With a comma between thousands.
pub(crate) fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(per_second: f64) -> Report {
        let mut row = Row::new("http/64", "requests");
        row.per_second = Some(per_second);
        row.latency = Some(Latency { p50: 120_000, p99: 2_500_000, p999: 3_000_000_000 });
        row.peak_bytes = Some(30_000_000);
        row.cpu_micros = Some(9.5);
        row.of_limit("bare echo", 100_000.0);
        row.aim("at least 90,000", per_second >= 90_000.0);
        Report { facts: Facts::gather(), rows: vec![row] }
    }

    #[test]
    fn a_table_has_one_line_per_row() {
        let table = report(45_678.0).table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].len(), lines[1].len());
        for cell in ["http/64", "45,678", "120 us", "2.50 ms", "3.00 s", "30.0", "9.50", "0.46"] {
            assert!(lines[1].contains(cell), "{cell}: {table}");
        }
        assert_eq!(lines[2], "http/64: missed: at least 90,000");
        assert_eq!(report(95_000.0).table().lines().count(), 2);
    }

    #[test]
    fn a_report_reads_as_it_was_written_and_is_compared() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.json");
        report(50_000.0).write(&path).unwrap();
        let compared = report(75_000.0).compared_with(&Report::read(&path).unwrap());
        let line = compared.lines().last().unwrap();
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(cells, ["http/64", "1.50", "1.00", "1.00", "1.00", "1.00", "1.50"]);
        std::fs::write(&path, "{}").unwrap();
        assert!(Report::read(&path).is_err());
    }

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!(whole(1_234_567.4), "1,234,567");
        assert_eq!(whole(123.0), "123");
    }
}
