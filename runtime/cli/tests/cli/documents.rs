//! What the documents say about settings and metrics is what the binary knows, and claims name tests.

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

/// Each line of a table whose last column is `test` links to tests, `[name](../path/to/file.rs#name)`: that
/// they exist is checked with all links.
#[test]
fn every_claim_about_statefun_names_a_test() {
    let text = document("migrate-from-statefun.md");
    let (mut is_claim, mut count) = (false, 0);
    for line in text.lines() {
        is_claim = line.ends_with("| test |") || (is_claim && line.starts_with('|'));
        if !is_claim || line.ends_with("| test |") || line.starts_with("| ---") {
            continue;
        }
        let (_, tests) = line.rsplit_once(" | ").unwrap();
        for test in tests.trim_end_matches(" |").split(", ") {
            let (name, link) = test.split_once("](../").expect(line);
            assert!(link.ends_with(&format!(".rs#{})", &name[1..])), "{line}");
            count += 1;
        }
    }
    assert!(count > 80, "the tables of docs/migrate-from-statefun.md were not found");
}

#[test]
fn settings_and_metrics_that_take_the_place_of_others_exist() {
    let text = document("migrate-from-statefun.md");
    let page = render(&Metrics::new(1), Some(ProcessUsage::default()));
    let section = |title: &str| {
        let (_, from) = text.split_once(title).expect(title);
        from.split("\n## ").next().unwrap().to_owned()
    };
    let quoted = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut count = 0;
    for line in section("\n## Settings\n").lines().filter(|line| line.starts_with("| `")) {
        for name in quoted(line.split(" | ").last().unwrap()) {
            let is_known = KEYS.iter().any(|key| key.name == name);
            assert!(is_known || matches!(&*name, "failure" | "dormouse run"), "{name}: {line}");
            count += usize::from(is_known);
        }
    }
    for line in section("\n## Metrics\n").lines().filter(|line| line.starts_with("| `")) {
        for name in quoted(line.split(" | ").last().unwrap()) {
            if name.starts_with("dormouse_") {
                assert!(page.contains(&format!("# TYPE {name} ")), "{name}: {line}");
                count += 1;
            }
        }
    }
    assert!(count > 15, "the tables of docs/migrate-from-statefun.md were not found");
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    std::fs::read_to_string(path).unwrap()
}
