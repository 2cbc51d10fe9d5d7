//! Settings from their layers: defaults, `--config`, the environment, `--set`, flags; a later one
//! wins.

use std::env;
use std::path::{Path, PathBuf};

use dormouse_host::manifest::documents;
use dormouse_host::settings::Settings;
use dormouse_host::settings::keys::Given;
use dormouse_sdk::manifest::{Diagnostics, Node, NodeValue};

use crate::args::RunArguments;
use crate::failure::Failure;
use crate::report;

/// Directives for log lines, between the configuration file and `--set`.
const LOG_VARIABLE: &str = "DORMOUSE_LOG";

/// The data directory's name, beside the first manifest.
const DATA: &str = ".dormouse";

/// The settings of this process.
pub(crate) fn settings(arguments: &RunArguments, first: &Path) -> Result<Settings, Failure> {
    let mut given = Given::default();
    if let Some(file) = &arguments.config {
        from_file(file, &mut given)?;
    }
    let mut wrong = Vec::new();
    if let Some(filter) = env::var_os(LOG_VARIABLE) {
        let filter = filter.to_string_lossy();
        wrong.extend(given.put("log.filter", &filter, LOG_VARIABLE).err());
    }
    for pair in &arguments.set {
        wrong.extend(set(pair, &mut given).err());
    }
    for (name, value) in flags(arguments) {
        wrong.extend(given.put(name, &value, &format!("--{name}")).err());
    }
    let mut settings = Settings::default();
    settings.store.data = beside(first);
    wrong.extend(given.apply(&mut settings).err().into_iter().flatten());
    if wrong.is_empty() { Ok(settings) } else { Err(Failure::Input(wrong.join("\n"))) }
}

fn beside(manifest: &Path) -> PathBuf {
    manifest.parent().unwrap_or(Path::new("")).join(DATA)
}

fn set(pair: &str, given: &mut Given) -> Result<(), String> {
    let (name, value) =
        pair.split_once('=').ok_or_else(|| format!("--set {pair}: expected KEY=VALUE"))?;
    let origin = format!("--set {name}");
    given.put(name, value, &origin).map_err(|unknown| format!("--set: {unknown}"))
}

fn flags(arguments: &RunArguments) -> Vec<(&'static str, String)> {
    let flag = |name, value: &Option<String>| value.clone().map(|value| (name, value));
    let flags = [
        flag("data", &arguments.data),
        flag("store", &arguments.store),
        flag("shards", &arguments.shards),
        flag("partitions", &arguments.partitions),
        flag("memory", &arguments.memory),
        flag("admin", &arguments.admin),
        arguments.allow_orphans.then(|| ("allow-orphans", "true".to_owned())),
    ];
    flags.into_iter().flatten().collect()
}

fn from_file(file: &Path, given: &mut Given) -> Result<(), Failure> {
    let mut diagnostics = Diagnostics::default();
    let found = documents(file, &mut diagnostics);
    if let [_, second, ..] = &found[..] {
        let message = "a configuration file has one document; remove this one";
        diagnostics.error(&second.span, message);
    }
    if let Some(document) = found.first().filter(|document| !document.is_null()) {
        flatten(document, "", given, &mut diagnostics);
    }
    report::findings(&mut diagnostics, false)
}

/// `{limits: {batch: 1MB}}` and `{limits.batch: 1MB}` mean the same.
fn flatten(node: &Node, prefix: &str, given: &mut Given, diagnostics: &mut Diagnostics) {
    let NodeValue::Map(entries) = &node.value else {
        let message = format!("expected a map of settings, found {}", node.describe());
        diagnostics.error(&node.span, message);
        return;
    };
    for (key, value) in entries {
        let Some(name) = key.as_text() else {
            let message = format!("expected the name of a setting, found {}", key.describe());
            diagnostics.error(&key.span, message);
            continue;
        };
        let name = format!("{prefix}{name}");
        if let NodeValue::Map(_) = value.value {
            flatten(value, &format!("{name}."), given, diagnostics);
        } else if let Some(text) = value.as_text() {
            let origin = format!("{}: `{name}`", value.span);
            if let Err(unknown) = given.put(&name, text, &origin) {
                diagnostics.error(&key.span, unknown);
            }
        } else {
            let message = format!("`{name}`: expected a value, found {}", value.describe());
            diagnostics.error(&value.span, message);
        }
    }
}
