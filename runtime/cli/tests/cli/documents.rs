//! What the documents say about settings is what the binary knows.

use std::fmt::Write as _;
use std::path::Path;

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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(&table), "docs/configuration.md must have this table:\n\n{table}");
}
