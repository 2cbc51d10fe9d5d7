//! Manifest files: text → documents → components. Every file is read to its end before anything is
//! reported, so that one run shows everything that is wrong.

pub mod old_format;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dormouse_protocol::TypeName;
use dormouse_sdk::manifest::{Diagnostics, Node, NodeValue, Span, list, nearest};
use dormouse_sdk::module::Component;

use crate::yaml;

/// Longest manifest or configuration file, in bytes.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The components of all files, in the order written.
#[derive(Debug)]
pub struct Manifest {
    pub components: Vec<Component>,
    /// Where a finding goes that concerns the whole application: the first file's beginning.
    pub start: Span,
}

/// The keys of a document.
const KEYS: [&str; 2] = ["kind", "spec"];

/// Reads all files. What is wrong goes to `diagnostics`.
#[must_use]
pub fn read(files: &[PathBuf], diagnostics: &mut Diagnostics) -> Manifest {
    let mut components = Vec::new();
    for file in files {
        for document in parsed(file, diagnostics) {
            let is_tolerant = is_of_statefun(&document.root);
            let document = document.checked(is_tolerant, diagnostics);
            report_placeholders(&document, diagnostics);
            if old_format::is_old_format(&document) {
                components.extend(old_format::components(&document, diagnostics));
            } else {
                components.extend(component(&document, diagnostics));
            }
        }
    }
    let first = files.first().map_or(Path::new("module.yaml"), |f| f);
    Manifest { components, start: beginning(&Arc::from(first)) }
}

/// The documents of one YAML file that could be read, read strictly.
#[must_use]
pub fn documents(path: &Path, diagnostics: &mut Diagnostics) -> Vec<Node> {
    let parsed = parsed(path, diagnostics);
    parsed.into_iter().map(|document| document.checked(false, diagnostics)).collect()
}

fn parsed(path: &Path, diagnostics: &mut Diagnostics) -> Vec<yaml::Document> {
    let file: Arc<Path> = Arc::from(path);
    match text(path) {
        Ok(text) => yaml::parse(&file, &text, diagnostics),
        Err(Unreadable { line, problem }) => {
            let span = Span { line, ..beginning(&file) };
            diagnostics.error(&span, problem);
            Vec::new()
        }
    }
}

struct Unreadable {
    line: usize,
    problem: String,
}

fn text(path: &Path) -> Result<String, Unreadable> {
    let whole = |problem: String| Unreadable { line: 1, problem };
    let bytes = bytes(path).map_err(|error| whole(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let problem = format!("is longer than {FILE_BYTES_MAX} bytes; split it into several files");
        return Err(whole(problem));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        Unreadable {
            line: 1 + good.iter().filter(|byte| **byte == b'\n').count(),
            problem: "is not UTF-8 text here; save the file as UTF-8".to_owned(),
        }
    })
}

/// At most one byte more than a file may have.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn beginning(file: &Arc<Path>) -> Span {
    Span { file: Arc::clone(file), line: 1, column: 1 }
}

/// Whether StateFun knows documents of this kind. It passes over much in silence, and applications have it.
fn is_of_statefun(document: &Node) -> bool {
    let kind = document.get("kind").and_then(Node::as_text);
    kind.is_some_and(|kind| kind.starts_with("io.statefun.")) || old_format::is_old_format(document)
}

/// Says of values such as `${PORT}` that nothing takes their place, since other tools have placeholders.
/// Recursion is bounded by [`yaml::DEPTH_MAX`].
fn report_placeholders(node: &Node, diagnostics: &mut Diagnostics) {
    match &node.value {
        NodeValue::Scalar { text, .. } if text.contains("${") => {
            // The value may be a secret.
            let message = "`${...}` is taken as it is written: there are no placeholders";
            diagnostics.warning(&node.span, message);
        }
        NodeValue::Scalar { .. } => {}
        NodeValue::List(items) => {
            items.iter().for_each(|item| report_placeholders(item, diagnostics));
        }
        NodeValue::Map(entries) => {
            entries.iter().for_each(|(_, value)| report_placeholders(value, diagnostics));
        }
    }
}

/// The component of a document; `None` for an empty one, and for one without a kind (reported).
fn component(document: &Node, diagnostics: &mut Diagnostics) -> Option<Component> {
    if document.is_null() {
        return None;
    }
    let NodeValue::Map(entries) = &document.value else {
        let found = document.describe();
        let message = format!("expected a map with `kind` and `spec`, found {found}");
        diagnostics.error(&document.span, message);
        return None;
    };
    let kind = kind_of(document, diagnostics);
    for (key, _) in entries {
        report_stray(key, is_of_statefun(document), diagnostics);
    }
    let spec = document.get("spec").filter(|spec| !spec.is_null());
    if spec.is_none() {
        let message = "missing field `spec`: expected a map with the settings of this component";
        diagnostics.error(&document.span, message);
    }
    let (span, kind) = kind?;
    // Names of kinds are read like all type names, so that a `/` at the end means nothing.
    let kind = TypeName::parse(kind).map_or_else(|_| kind.to_owned(), |name| name.to_string());
    Some(Component { kind, span: span.clone(), spec: spec?.clone() })
}

fn kind_of<'d>(document: &'d Node, diagnostics: &mut Diagnostics) -> Option<(&'d Span, &'d str)> {
    let Some(kind) = document.get("kind").filter(|kind| !kind.is_null()) else {
        let message =
            "missing field `kind`: expected a kind such as `io.statefun.endpoints.v2/http`";
        diagnostics.error(&document.span, message);
        return None;
    };
    let Some(text) = kind.as_text() else {
        let found = kind.describe();
        let message = format!("kind: expected text such as `namespace/name`, found {found}");
        diagnostics.error(&kind.span, message);
        return None;
    };
    Some((&kind.span, text))
}

fn report_stray(key: &Node, tolerant: bool, diagnostics: &mut Diagnostics) {
    let Some(name) = key.as_text() else {
        let message = format!("expected a field name, found {}", key.describe());
        diagnostics.error(&key.span, message);
        return;
    };
    if KEYS.contains(&name) {
        return;
    }
    let hint = match nearest(name, &KEYS) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("a document has {}", list(&KEYS)),
    };
    let message = format!("unknown field `{name}`; {hint}");
    if tolerant {
        diagnostics.warning(&key.span, format!("{message} (it has no effect)"));
    } else {
        diagnostics.error(&key.span, message);
    }
}
