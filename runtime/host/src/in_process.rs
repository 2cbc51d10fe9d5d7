//! The kind `dormouse.functions.v1/in-process`: names functions that are linked into the binary.
//! They are served with or without it; with it, a manifest that expects a function says so, and a
//! binary that lacks it does not start; and it says what becomes of messages that they fail on.

use std::time::Duration;

use dormouse_protocol::TypeName;
use dormouse_protocol::partition::RESERVED_NAMESPACE_PREFIX;
use dormouse_sdk::manifest::values::{mismatch, text};
use dormouse_sdk::manifest::{Diagnostics, Fields, Node, failure, list, nearest};
use dormouse_sdk::module::{Binder, Bindings, Component, FailureBinding, FunctionTarget};
use dormouse_sdk::{register_binder, registered_functions};

/// The kind's name.
pub const KIND: &str = "dormouse.functions.v1/in-process";

const EXPECTED: &str = "`<namespace>/<name>` or `<namespace>/*`";

register_binder!(Binder {
    kind: KIND,
    summary: "functions in Rust that are linked into the binary",
    bind,
});

/// How long a message is tried when `failure` does not say: as a remote function is called by default.
const RETRY_TOTAL: Duration = Duration::from_secs(120);

fn bind(component: &Component, bindings: &mut Bindings, diagnostics: &mut Diagnostics) {
    let strict = component.is_strict();
    let Some(mut fields) = Fields::of(&component.spec, "spec", strict, diagnostics) else {
        return;
    };
    let functions = fields.required("functions", EXPECTED, diagnostics);
    let policy = fields
        .optional("failure")
        .and_then(|node| failure::failure(node, RETRY_TOTAL, diagnostics));
    fields.finish(diagnostics);
    let is_shown = |name: &&str| !name.starts_with(RESERVED_NAMESPACE_PREFIX);
    let linked: Vec<&str> =
        registered_functions().iter().map(|function| function.name).filter(is_shown).collect();
    let target = functions.and_then(|functions| check(functions, &linked, diagnostics));
    if let (Some(target), Some(failure)) = (target, policy) {
        bindings.failures.push(FailureBinding { span: component.span.clone(), target, failure });
    }
}

/// The target; reports one that no linked function fits.
fn check(
    functions: &Node,
    linked: &[&str],
    diagnostics: &mut Diagnostics,
) -> Option<FunctionTarget> {
    let target = text(functions, "functions", diagnostics)?;
    let parts = target.rsplit_once('/').filter(|(namespace, name)| {
        !(namespace.contains('*') || name.is_empty() || (name.contains('*') && *name != "*"))
    });
    let Some((namespace, name)) = parts else {
        mismatch(functions, "functions", EXPECTED, diagnostics);
        return None;
    };
    let fits = |linked: &&str| {
        let (own, linked_name) = linked.rsplit_once('/').unwrap_or_default();
        let is_served = own == namespace && linked_name == "*";
        if name == "*" { own == namespace } else { *linked == target || is_served }
    };
    if linked.iter().any(fits) {
        let namespace = namespace.to_owned();
        return Some(match name {
            "*" => FunctionTarget::Namespace(namespace),
            name => FunctionTarget::Exact(TypeName { namespace, name: name.to_owned() }),
        });
    }
    let hint = match nearest(target, linked) {
        Some(near) if name != "*" => format!("did you mean `{near}`?"),
        _ if linked.is_empty() => "none are; start the application's own binary".to_owned(),
        _ => format!("linked are {}", list(linked)),
    };
    let message = format!("function `{target}` is not linked into this binary; {hint}");
    diagnostics.error(&functions.span, message);
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use dormouse_sdk::manifest::{NodeValue, Span};

    use super::*;

    #[test]
    fn names_that_a_linked_namespace_serves_are_linked() {
        let span = Span { file: Arc::from(Path::new("test")), line: 1, column: 1 };
        let found = |text: &str| {
            let value = NodeValue::Scalar { text: text.to_owned(), plain: true };
            let mut diagnostics = Diagnostics::default();
            let node = Node { span: span.clone(), value };
            let target = check(&node, &["rules/*", "shop/till"], &mut diagnostics);
            assert_eq!(target.is_none(), diagnostics.has_errors());
            target.is_some()
        };
        assert!(found("rules/fraud") && found("rules/*") && found("shop/*") && found("shop/till"));
        assert!(!found("shop/other") && !found("other/*"));
    }
}
