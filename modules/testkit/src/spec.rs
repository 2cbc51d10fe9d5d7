//! Specs of components, written by hand, and what the binder of their kind makes of them.

use std::path::Path;
use std::sync::Arc;

use dormouse_sdk::manifest::{Diagnostics, Node, NodeValue, Span};
use dormouse_sdk::module::private::inventory;
use dormouse_sdk::module::{Binder, Bindings, Component};

/// Where a node stands: `module.yaml`, this line, column 1.
#[must_use]
pub fn at(line: usize) -> Span {
    Span { file: Arc::from(Path::new("module.yaml")), line, column: 1 }
}

/// A plain scalar.
#[must_use]
pub fn text(line: usize, text: &str) -> Node {
    Node { span: at(line), value: NodeValue::Scalar { text: text.to_owned(), plain: true } }
}

/// A list of scalars, all on one line.
#[must_use]
pub fn list(line: usize, items: &[&str]) -> Node {
    let items = items.iter().map(|item| text(line, item));
    Node { span: at(line), value: NodeValue::List(items.collect()) }
}

/// A map; each key stands where its value stands.
#[must_use]
pub fn map(line: usize, entries: Vec<(&str, Node)>) -> Node {
    let entries = entries.into_iter();
    let keyed = entries.map(|(key, value)| (text(value.span.line, key), value));
    Node { span: at(line), value: NodeValue::Map(keyed.collect()) }
}

/// Binds a component; the findings as they are printed.
#[must_use]
pub fn bind(kind: &str, spec: Vec<(&str, Node)>) -> (Bindings, Vec<String>) {
    let mut binders = inventory::iter::<Binder>.into_iter();
    let binder = binders.find(|binder| binder.kind == kind).expect("a binder of this kind");
    let component = Component { kind: kind.to_owned(), span: at(1), spec: map(2, spec) };
    let (mut bindings, mut diagnostics) = (Bindings::default(), Diagnostics::default());
    (binder.bind)(&component, &mut bindings, &mut diagnostics);
    (bindings, diagnostics.found.iter().map(ToString::to_string).collect())
}
