//! StateFun's old format: one document with a `version`, which holds all endpoints, ingresses and egresses
//! of an application. Each of them becomes a component of today's format, at its own place in the file.

use dormouse_sdk::manifest::{Diagnostics, Fields, Node, NodeValue, values};
use dormouse_sdk::module::Component;

/// Kinds of the old format and what they are called today. Another type is taken for a kind as it stands.
const KINDS: [(&str, &str); 5] = [
    ("http", "io.statefun.endpoints.v1/http"),
    ("io.statefun.kafka/ingress", "io.statefun.kafka.v1/ingress"),
    ("io.statefun.kafka/egress", "io.statefun.kafka.v1/egress"),
    ("io.statefun.kinesis/ingress", "io.statefun.kinesis.v1/ingress"),
    ("io.statefun.kinesis/egress", "io.statefun.kinesis.v1/egress"),
];

/// One of the lists of a module: its name, that of an entry, and the field that names an entry's type.
struct Section {
    list: &'static str,
    entry: &'static str,
    kind: &'static str,
    has_id: bool,
}

const SECTIONS: [Section; 3] = [
    Section { list: "endpoints", entry: "endpoint", kind: "kind", has_id: false },
    Section { list: "ingresses", entry: "ingress", kind: "type", has_id: true },
    Section { list: "egresses", entry: "egress", kind: "type", has_id: true },
];

/// Whether a document is of the old format.
#[must_use]
pub fn is_old_format(document: &Node) -> bool {
    document.get("kind").is_none() && document.get("version").is_some()
}

/// The components of a document of the old format.
#[must_use]
pub fn components(document: &Node, diagnostics: &mut Diagnostics) -> Vec<Component> {
    read_document(document, diagnostics).unwrap_or_default()
}

fn read_document(document: &Node, diagnostics: &mut Diagnostics) -> Option<Vec<Component>> {
    let mut fields = Fields::of(document, "document", false, diagnostics)?;
    let version = fields.required("version", "`\"3.0\"`", diagnostics);
    let module = fields.required("module", "a map with `meta` and `spec`", diagnostics);
    fields.finish(diagnostics);
    read_version(version?, diagnostics)?;
    let mut fields = Fields::of(module?, "module", false, diagnostics)?;
    let meta = fields.required("meta", "a map with `type: remote`", diagnostics);
    let spec = fields.required("spec", "a map with `endpoints`", diagnostics);
    fields.finish(diagnostics);
    if let Some(meta) = meta {
        read_type(meta, diagnostics);
    }
    let mut fields = Fields::of(spec?, "module.spec", false, diagnostics)?;
    fields.misplaced("routers", "no release after 3.0 reads it: name `targets` in the ingress");
    let mut components = Vec::new();
    for section in &SECTIONS {
        let Some(list) = fields.optional(section.list) else { continue };
        for item in values::list(list, section.list, diagnostics).unwrap_or_default() {
            components.extend(read_item(item, section, diagnostics));
        }
    }
    fields.finish(diagnostics);
    Some(components)
}

fn read_version(node: &Node, diagnostics: &mut Diagnostics) -> Option<()> {
    const ADVICE: &str = "write each endpoint, ingress and egress as a document with `kind` and `spec`, separated by `---`";
    match (node.as_text(), &node.value) {
        (Some("3.0"), NodeValue::Scalar { plain, .. }) => {
            if *plain {
                let message = "`version`: StateFun wants this in quotes: `\"3.0\"`";
                diagnostics.warning(&node.span, message);
            }
            Some(())
        }
        (Some(version @ ("1.0" | "2.0")), _) => {
            let message = format!(
                "`version`: format {version} belongs to StateFun {version}, whose functions speak another \
                 protocol: only 3.0 is supported; {ADVICE}"
            );
            diagnostics.error(&node.span, message);
            None
        }
        _ => {
            let found = node.describe();
            let message = format!(
                "`version`: unrecognized format version: expected `\"3.0\"`, found {found}; {ADVICE}"
            );
            diagnostics.error(&node.span, message);
            None
        }
    }
}

fn read_type(meta: &Node, diagnostics: &mut Diagnostics) {
    let Some(mut fields) = Fields::of(meta, "module.meta", false, diagnostics) else { return };
    if let Some(node) = fields.required("type", "`remote`", diagnostics) {
        values::choice(node, "module.meta.type", &[("remote", ())], diagnostics);
    }
    fields.finish(diagnostics);
}

fn read_item(item: &Node, section: &Section, diagnostics: &mut Diagnostics) -> Option<Component> {
    let mut fields = Fields::of(item, section.list, false, diagnostics)?;
    if let Some(entry) = fields.optional(section.entry) {
        fields.finish(diagnostics);
        return read_entry(entry, section, diagnostics);
    }
    if item.get("meta").is_none() {
        fields.required(section.entry, "a map with `meta` and `spec`", diagnostics);
        return None;
    }
    // StateFun's documentation shows what belongs below `ingress:` beside it.
    let message = format!("`meta` and `spec` belong below `{}:`, and are taken so", section.entry);
    diagnostics.warning(&item.span, message);
    read_entry(item, section, diagnostics)
}

fn read_entry(entry: &Node, section: &Section, diagnostics: &mut Diagnostics) -> Option<Component> {
    let mut fields = Fields::of(entry, section.entry, false, diagnostics)?;
    let meta = fields.required("meta", "a map that says what this is", diagnostics);
    let spec = fields.required("spec", "a map with the settings of this component", diagnostics);
    // There, with nothing in it, when the others stand beside it.
    fields.optional(section.entry);
    fields.finish(diagnostics);
    let mut fields = Fields::of(meta?, "meta", false, diagnostics)?;
    let kind = fields
        .required(section.kind, "a type such as `http` or `io.statefun.kafka/ingress`", diagnostics)
        .filter(|node| values::text(node, section.kind, diagnostics).is_some());
    let id = match section.has_id {
        true => fields.required("id", "`<namespace>/<name>`", diagnostics),
        false => None,
    };
    fields.finish(diagnostics);
    let (kind, spec) = (kind?, spec?);
    if section.has_id && id.is_none() {
        return None;
    }
    let name = kind.as_text()?;
    let today = KINDS.iter().find(|(old, _)| *old == name).map_or(name, |(_, today)| today);
    if today == "statefun.kafka.io/protobuf-ingress" {
        diagnostics.error(
            &kind.span,
            "`statefun.kafka.io/protobuf-ingress` worked in StateFun 3.0 only; use \
             `io.statefun.kafka/ingress`, with `valueType` and `targets` for each of its `topics`",
        );
        return None;
    }
    Some(Component {
        kind: today.to_owned(),
        span: kind.span.clone(),
        spec: with_id(spec, id, diagnostics),
    })
}

/// The spec with the id of `meta` in it, as today's kinds have it.
fn with_id(spec: &Node, id: Option<&Node>, diagnostics: &mut Diagnostics) -> Node {
    let mut spec = spec.clone();
    let (Some(id), NodeValue::Map(entries)) = (id, &mut spec.value) else {
        return spec;
    };
    let is_id = |key: &Node| key.as_text() == Some("id");
    if let Some((key, _)) = entries.iter().find(|(key, _)| is_id(key)) {
        diagnostics.warning(&key.span, "`id` has no effect beside that of `meta`");
    }
    entries.retain(|(key, _)| !is_id(key));
    let text = NodeValue::Scalar { text: "id".to_owned(), plain: true };
    entries.push((Node { span: id.span.clone(), value: text }, id.clone()));
    spec
}
