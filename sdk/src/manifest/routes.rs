//! Where the records of a source go: `topics` of a Kafka ingress, `streams` of a Kinesis ingress. A
//! record becomes a message to each target; its key is the id, its bytes are the value.

use std::collections::BTreeMap;

use dormouse_protocol::TypeName;
use dormouse_protocol::partition::RESERVED_NAMESPACE_PREFIX;

use super::values::{list, mismatch, text, type_name};
use super::{Diagnostics, Fields, Node, Span};

/// What becomes of the records of one topic or stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The topic or stream.
    pub source: String,
    /// The type that the values are said to have. Opaque: never looked into.
    pub value_type: String,
    /// Who gets each record, in this order; nobody, when empty.
    pub targets: Vec<Target>,
}

/// A function type that messages are sent to, and where the manifest says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it stands.
    pub span: Span,
    /// The function type.
    pub function: TypeName,
}

/// How a kind calls its routes.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The field that holds the list: `topics`.
    pub list: &'static str,
    /// The field of an entry that names its source: `topic`.
    pub source: &'static str,
    /// What a source may be called, for people.
    pub expected: &'static str,
    /// Whether a source may be called so.
    pub is_name: fn(&str) -> bool,
}

/// Reads a list of routes, at least one. A source that occurs twice is a warning, and the last one counts.
pub fn routes(
    node: &Node,
    names: &Names,
    strict: bool,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Route>> {
    let items = list(node, names.list, diagnostics)?;
    if items.is_empty() {
        mismatch(node, names.list, format!("at least one `{}`", names.source), diagnostics);
        return None;
    }
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    let mut found: Vec<Route> = Vec::with_capacity(items.len());
    let mut is_right = true;
    for item in items {
        let Some(route) = read_route(item, names, strict, diagnostics) else {
            is_right = false;
            continue;
        };
        if let Some(line) = lines.insert(route.source.clone(), item.span.line) {
            let (what, source) = (names.source, &route.source);
            let message = format!("{what} `{source}` stands in line {line} too; this one counts");
            diagnostics.warning(&item.span, message);
            found.retain(|earlier| earlier.source != *source);
        }
        found.push(route);
    }
    is_right.then_some(found)
}

fn read_route(
    node: &Node,
    names: &Names,
    strict: bool,
    diagnostics: &mut Diagnostics,
) -> Option<Route> {
    let mut fields = Fields::of(node, names.list, strict, diagnostics)?;
    let source = fields
        .required(names.source, names.expected, diagnostics)
        .and_then(|node| read_source(node, names, diagnostics));
    let value_type = fields
        .required("valueType", "the type of the values, `<namespace>/<name>`", diagnostics)
        .and_then(|node| text(node, "valueType", diagnostics))
        .map(str::to_owned);
    let targets = fields
        .required("targets", "a list of function types, `<namespace>/<name>`", diagnostics)
        .and_then(|node| read_targets(node, diagnostics));
    fields.finish(diagnostics);
    Some(Route { source: source?, value_type: value_type?, targets: targets? })
}

fn read_source(node: &Node, names: &Names, diagnostics: &mut Diagnostics) -> Option<String> {
    let source = text(node, names.source, diagnostics)?;
    if (names.is_name)(source) {
        return Some(source.to_owned());
    }
    mismatch(node, names.source, names.expected, diagnostics);
    None
}

fn read_targets(node: &Node, diagnostics: &mut Diagnostics) -> Option<Vec<Target>> {
    let items = list(node, "targets", diagnostics)?;
    if items.is_empty() {
        diagnostics.warning(&node.span, "`targets` is empty: these records are dropped");
    }
    let targets: Vec<Option<Target>> =
        items.iter().map(|item| read_target(item, diagnostics)).collect();
    targets.into_iter().collect()
}

fn read_target(node: &Node, diagnostics: &mut Diagnostics) -> Option<Target> {
    let function = type_name(node, "targets", diagnostics)?;
    if function.namespace.contains('*') || function.name.contains('*') {
        mismatch(node, "targets", "one function type, without `*`", diagnostics);
        return None;
    }
    if function.namespace.starts_with(RESERVED_NAMESPACE_PREFIX) {
        let expected = "a function of the application: the namespace `dormouse.*` is reserved";
        mismatch(node, "targets", expected, diagnostics);
        return None;
    }
    Some(Target { span: node.span.clone(), function })
}
