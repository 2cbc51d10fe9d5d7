//! What an application serves: components bound by their kinds and functions linked into the
//! binary, put together and checked for names that occur twice. Made by `run` and `check` alike.

pub mod functions;
pub mod open;

use std::collections::BTreeMap;

use dormouse_protocol::TypeName;
use dormouse_sdk::manifest::routes::Target;
use dormouse_sdk::manifest::{self, Diagnostics, Severity, Span};
use dormouse_sdk::module::{
    Bindings, Component, EgressBinding, FailureBinding, FunctionBinding, FunctionTarget,
    IngressBinding, Side, Unavailable,
};

use crate::manifest::Manifest;
use crate::plan::functions::{Functions, Served};
use crate::registry::Linked;

/// Everything that an application serves, reads and writes.
#[derive(Debug, Default)]
pub struct Plan {
    pub functions: Functions,
    pub ingresses: Vec<IngressBinding>,
    pub egresses: Vec<EgressBinding>,
    /// What this version cannot run: a plan that has any is good for checking only.
    pub unavailable: Vec<Unavailable>,
}

/// Binds the components of `manifest` and adds the linked functions. What is wrong goes to
/// `diagnostics`; a plan with errors must not be run.
#[must_use]
pub fn resolve(manifest: &Manifest, linked: &Linked, diagnostics: &mut Diagnostics) -> Plan {
    let mut bindings = Bindings::default();
    for component in &manifest.components {
        bind(component, linked, &mut bindings, diagnostics);
    }
    let mut plan = Plan {
        functions: functions(bindings.functions, bindings.failures, linked, diagnostics),
        ingresses: bindings.ingresses,
        egresses: bindings.egresses,
        unavailable: bindings.unavailable,
    };
    let ingresses = plan.ingresses.iter().map(|i| (&i.id, &i.span));
    let ingresses = ingresses.chain(plan.unavailable(Side::Ingress));
    report_duplicates("ingress", ingresses, diagnostics);
    let egresses = plan.egresses.iter().map(|e| (&e.id, &e.span));
    let egresses = egresses.chain(plan.unavailable(Side::Egress));
    report_duplicates("egress", egresses, diagnostics);
    report_unserved(&bindings.targets, &plan.functions, diagnostics);
    if !diagnostics.has_errors() {
        report_absent(&plan, &manifest.start, diagnostics);
        report_idle_routers(&plan, linked, &manifest.start, diagnostics);
    }
    plan.ingresses.sort_by(|a, b| a.id.cmp(&b.id));
    plan.egresses.sort_by(|a, b| a.id.cmp(&b.id));
    plan
}

impl Plan {
    /// How many ingresses or egresses the manifests name, also such as this version cannot run.
    #[must_use]
    pub fn count(&self, side: Side) -> usize {
        let available = match side {
            Side::Ingress => self.ingresses.len(),
            Side::Egress => self.egresses.len(),
        };
        available + self.unavailable(side).count()
    }

    fn unavailable(&self, side: Side) -> impl Iterator<Item = (&TypeName, &Span)> {
        let of_side = self.unavailable.iter().filter(move |found| found.side == side);
        of_side.map(|found| (&found.id, &found.span))
    }

    /// Reports what this version cannot run: an error for whoever wants to run it.
    pub fn report_unavailable(&self, severity: Severity, diagnostics: &mut Diagnostics) {
        for Unavailable { span, kind, id, .. } in &self.unavailable {
            let message = format!(
                "`{kind}` is not available yet: `{id}` is written correctly, but this version of \
                 Dormouse cannot run it; remove this document, or put a kind in its place that runs"
            );
            match severity {
                Severity::Error => diagnostics.error(span, message),
                Severity::Warning => diagnostics.warning(span, message),
            }
        }
    }
}

fn bind(
    component: &Component,
    linked: &Linked,
    bindings: &mut Bindings,
    diagnostics: &mut Diagnostics,
) {
    if let Some(binder) = linked.binder(&component.kind) {
        (binder.bind)(component, bindings, diagnostics);
        return;
    }
    let kinds = linked.kinds();
    let kind = &component.kind;
    let hint = match manifest::nearest(kind, &kinds) {
        Some(near) => format!("did you mean `{near}`? Kinds are {}", manifest::list(&kinds)),
        None => format!("kinds are {}", manifest::list(&kinds)),
    };
    diagnostics.error(&component.span, format!("unknown kind `{kind}`; {hint}"));
}

fn functions(
    bound: Vec<FunctionBinding>,
    mut failures: Vec<FailureBinding>,
    linked: &Linked,
    diagnostics: &mut Diagnostics,
) -> Functions {
    let mut functions = Functions::default();
    for function in &linked.functions {
        functions.add_linked(function);
    }
    for binding in bound {
        let target = name_of(&binding.target);
        let served = Served {
            target: target.clone(),
            served_at: binding.served_at,
            span: Some(binding.span.clone()),
            failure: binding.failure,
        };
        if let Err(refused) = functions.add(&binding.target, binding.provider, served) {
            diagnostics.error(&binding.span, format!("function `{target}` {refused}"));
        }
    }
    // Those of single functions come last, and win.
    failures.sort_by_key(|failure| matches!(failure.target, FunctionTarget::Exact(_)));
    for (index, binding) in failures.iter().enumerate() {
        let target = &binding.target;
        if let Some(earlier) = failures[..index].iter().find(|other| other.target == *target) {
            let (name, at) = (name_of(target), &earlier.span);
            let message =
                format!("`{name}` has a `failure` already at {at}; remove one of the two");
            diagnostics.error(&binding.span, message);
        }
        functions.set_failure(target, binding.failure);
    }
    functions
}

/// As it stands in a manifest.
fn name_of(target: &FunctionTarget) -> String {
    match target {
        FunctionTarget::Exact(name) => name.to_string(),
        FunctionTarget::Namespace(namespace) => format!("{namespace}/*"),
    }
}

/// Routers of ingresses that are not there: the binary may be started with several manifests, but
/// a wrong id would be hard to find.
fn report_idle_routers(plan: &Plan, linked: &Linked, start: &Span, diagnostics: &mut Diagnostics) {
    let bound = plan.ingresses.iter().map(|ingress| &ingress.id);
    let bound = bound.chain(plan.unavailable(Side::Ingress).map(|(id, _)| id));
    let bound: Vec<String> = bound.map(ToString::to_string).collect();
    let names: Vec<&str> = bound.iter().map(String::as_str).collect();
    for router in &linked.routers {
        if !names.contains(&router.ingress) {
            let known = manifest::list(&names);
            diagnostics.warning(
                start,
                format!(
                    "router `{}` is for the ingress `{}`, which no manifest binds: it has nothing to \
                     do; bound are {known}",
                    router.name, router.ingress
                ),
            );
        }
    }
}

fn report_duplicates<'p>(
    what: &str,
    named: impl Iterator<Item = (&'p TypeName, &'p Span)>,
    diagnostics: &mut Diagnostics,
) {
    let mut first: BTreeMap<&TypeName, &Span> = BTreeMap::new();
    for (id, span) in named {
        if let Some(earlier) = first.get(id) {
            let message = format!(
                "{what} id `{id}` is already taken at {earlier}; give one of the two another id"
            );
            diagnostics.error(span, message);
        } else {
            first.insert(id, span);
        }
    }
}

/// Targets are not checked by StateFun, which stops when the first record for one of them arrives.
fn report_unserved(targets: &[Target], functions: &Functions, diagnostics: &mut Diagnostics) {
    for Target { span, function } in targets {
        if !functions.serves(&function.namespace, &function.name) {
            let message = format!(
                "nobody serves `{function}`: no endpoint has it in its `functions`, and no function of \
                 that type is linked; correct the name, or add an endpoint"
            );
            diagnostics.warning(span, message);
        }
    }
}

/// StateFun refuses to start in these cases too; its words come first so that they can be found.
fn report_absent(plan: &Plan, start: &Span, diagnostics: &mut Diagnostics) {
    if plan.count(Side::Ingress) == 0 {
        diagnostics.error(
            start,
            "there are no ingress defined: nothing could send a message; add a document such as \
             `kind: dormouse.http.v1/ingress` with `spec: {listen: 127.0.0.1:8080}`",
        );
    }
    if plan.functions.served().is_empty() {
        diagnostics.error(
            start,
            "there are no function providers defined: nothing could receive a message; add a \
             document of kind `io.statefun.endpoints.v2/http`, or link Rust functions into the binary",
        );
    }
}
