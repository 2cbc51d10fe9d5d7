//! What the documents say about settings and metrics is what the binary knows.

use std::fmt::Write as _;
use std::path::Path;

use dormouse_host::metrics::Metrics;
use dormouse_host::metrics::process::ProcessUsage;
use dormouse_host::metrics::render::render;
use dormouse_host::settings::keys::KEYS;

#[test]
fn every_setting_is_in_the_documentation() {
    let mut table =
        String::from("| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
    for key in KEYS {
        let default = match key.default.strip_prefix('(').and_then(|d| d.strip_suffix(')')) {
            Some(words) => words.to_owned(),
            None => format!("`{}`", key.default),
        };
        let (name, form, summary) = (key.name, key.form, key.summary);
        writeln!(table, "| `{name}` | {form} | {default} | {summary} |").unwrap();
    }
    let text = document("configuration.md");
    assert!(text.contains(&table), "docs/configuration.md must have this table:\n\n{table}");
}

#[test]
fn every_metric_is_in_the_documentation() {
    let text = document("operations.md");
    let page = render(&Metrics::new(1), Some(ProcessUsage::default()));
    let metrics: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    for metric in &metrics {
        let (name, kind) = metric.split_once(' ').unwrap();
        let row = format!("| `{name}` | {kind} | ");
        assert!(text.contains(&row), "docs/operations.md must have a row that begins with {row}");
    }
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| `dormouse_") || line.starts_with("| `process_"));
    assert_eq!(rows.count(), metrics.len(), "docs/operations.md has metrics that do not exist");
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    std::fs::read_to_string(path).unwrap()
}
