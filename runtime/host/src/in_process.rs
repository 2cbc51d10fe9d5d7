//! The kind `dormouse.functions.v1/in-process`: names functions that are linked into the binary.
//! They are served with or without it; with it, a manifest that expects a function says so, and a
//! binary that lacks it does not start.

use dormouse_protocol::partition::RESERVED_NAMESPACE_PREFIX;
use dormouse_sdk::manifest::values::{mismatch, text};
use dormouse_sdk::manifest::{Diagnostics, Fields, Node, list, nearest};
use dormouse_sdk::module::{Binder, Bindings, Component};
use dormouse_sdk::{register_binder, registered_functions};

/// The kind's name.
pub const KIND: &str = "dormouse.functions.v1/in-process";

const EXPECTED: &str = "`<namespace>/<name>` or `<namespace>/*`";

register_binder!(Binder {
    kind: KIND,
    summary: "functions in Rust that are linked into the binary",
    bind,
});

fn bind(component: &Component, _: &mut Bindings, diagnostics: &mut Diagnostics) {
    let strict = component.is_strict();
    let Some(mut fields) = Fields::of(&component.spec, "spec", strict, diagnostics) else {
        return;
    };
    let functions = fields.required("functions", EXPECTED, diagnostics);
    fields.finish(diagnostics);
    let is_shown = |name: &&str| !name.starts_with(RESERVED_NAMESPACE_PREFIX);
    let linked: Vec<&str> =
        registered_functions().iter().map(|function| function.name).filter(is_shown).collect();
    if let Some(functions) = functions {
        check(functions, &linked, diagnostics);
    }
}

/// Reports a target that no linked function fits.
fn check(functions: &Node, linked: &[&str], diagnostics: &mut Diagnostics) {
    let Some(target) = text(functions, "functions", diagnostics) else {
        return;
    };
    let Some((namespace, name)) = target.rsplit_once('/') else {
        return mismatch(functions, "functions", EXPECTED, diagnostics);
    };
    if namespace.contains('*') || name.is_empty() || (name.contains('*') && name != "*") {
        return mismatch(functions, "functions", EXPECTED, diagnostics);
    }
    let fits = |linked: &&str| {
        let in_namespace = linked.rsplit_once('/').is_some_and(|(own, _)| own == namespace);
        if name == "*" { in_namespace } else { *linked == target }
    };
    if linked.iter().any(fits) {
        return;
    }
    let hint = match nearest(target, linked) {
        Some(near) if name != "*" => format!("did you mean `{near}`?"),
        _ if linked.is_empty() => "none are; start the application's own binary".to_owned(),
        _ => format!("linked are {}", list(linked)),
    };
    let message = format!("function `{target}` is not linked into this binary; {hint}");
    diagnostics.error(&functions.span, message);
}
