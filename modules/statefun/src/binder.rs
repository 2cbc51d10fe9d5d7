//! Reads endpoint components: which functions, where, how. Nothing is connected to here.

use std::sync::Arc;

use dormouse_protocol::{FailurePolicy, TypeName};
use dormouse_sdk::manifest::{Diagnostics, Fields, Node, failure, values};
use dormouse_sdk::module::{Binder, Bindings, Component, FunctionBinding, FunctionTarget};

use crate::function::EndpointProvider;
use crate::transport::{Retries, Transport, read_okhttp};
use crate::url::{self, UrlTemplate};

pub const KIND_V1: &str = "io.statefun.endpoints.v1/http";
pub const KIND_V2: &str = "io.statefun.endpoints.v2/http";

dormouse_sdk::register_binder!(Binder {
    kind: KIND_V2,
    summary: "remote functions behind an HTTP endpoint",
    bind: bind_v2,
});

dormouse_sdk::register_binder!(Binder {
    kind: KIND_V1,
    summary: "remote functions behind an HTTP endpoint (okhttp transport, timeouts in the spec)",
    bind: bind_v1,
});

/// Messages of one address that may wait before StateFun pauses its input.
const BATCH_REQUESTS_DEFAULT: i64 = 1_000;

fn bind_v2(component: &Component, bindings: &mut Bindings, diagnostics: &mut Diagnostics) {
    bind(component, bindings, diagnostics, |fields, strict, diagnostics| {
        for name in ["timeouts", "call", "connect"] {
            fields.misplaced(name, "it belongs into `transport`");
        }
        match fields.optional("transport") {
            Some(node) => Transport::read(node, strict, diagnostics),
            None => Some(Transport::default()),
        }
    });
}

fn bind_v1(component: &Component, bindings: &mut Bindings, diagnostics: &mut Diagnostics) {
    bind(component, bindings, diagnostics, |fields, strict, diagnostics| {
        fields.misplaced("transport", "kind `io.statefun.endpoints.v2/http` has it");
        let mut transport = read_okhttp(fields.optional("timeouts"), strict, diagnostics);
        transport.read_payload_max(fields, diagnostics);
        Some(transport)
    });
}

fn bind(
    component: &Component,
    bindings: &mut Bindings,
    diagnostics: &mut Diagnostics,
    read_transport: impl FnOnce(&mut Fields<'_>, bool, &mut Diagnostics) -> Option<Transport>,
) {
    let strict = component.is_strict();
    let Some(mut fields) = Fields::of(&component.spec, "spec", strict, diagnostics) else {
        return;
    };
    let target = fields
        .required("functions", "`<namespace>/<name>` or `<namespace>/*`", diagnostics)
        .and_then(|node| read_target(node, diagnostics));
    let template = fields
        .required("urlPathTemplate", "a URL such as `http://host:8000/statefun`", diagnostics)
        .and_then(|node| read_template(node, target.as_ref(), diagnostics));
    // StateFun stops all input of a worker at this many waiting messages of one address. Here they
    // spill to the store and nobody else waits, so the number is only checked.
    let batch =
        fields.optional("maxNumBatchRequests").map_or(Some(BATCH_REQUESTS_DEFAULT), |node| {
            let range = i64::from(i32::MIN)..=i64::from(i32::MAX);
            values::integer(node, "maxNumBatchRequests", range, diagnostics)
        });
    let transport = read_transport(&mut fields, strict, diagnostics);
    if let (Some(template), Some(transport)) = (&template, &transport) {
        say_without_effect(template, transport, component, diagnostics);
    }
    let call = transport.as_ref().map_or(Transport::default().call, |transport| transport.call);
    let failure = match fields.optional("failure") {
        None => Some(FailurePolicy::default()),
        Some(node) => failure::failure(node, call, diagnostics),
    };
    fields.finish(diagnostics);
    let (Some(target), Some(template), Some(_), Some(transport), Some(failure)) =
        (target, template, batch, transport, failure)
    else {
        return;
    };
    bindings.functions.push(FunctionBinding {
        span: component.span.clone(),
        target,
        served_at: template.to_string(),
        provider: Arc::new(EndpointProvider::new(template, transport)),
        failure,
    });
}

/// Settings of TLS are of no use to an endpoint that does not speak it, and easily mean that it should.
fn say_without_effect(
    template: &UrlTemplate,
    transport: &Transport,
    component: &Component,
    diagnostics: &mut Diagnostics,
) {
    if template.is_tls() || transport.retries == Retries::OkHttp {
        return;
    }
    let Some(node) = component.spec.get("transport").and_then(|node| node.get("trust_cacerts"))
    else {
        return;
    };
    diagnostics.warning(
        &node.span,
        "`trust_cacerts` has no effect: `urlPathTemplate` does not begin with `https://`",
    );
}

fn read_target(node: &Node, diagnostics: &mut Diagnostics) -> Option<FunctionTarget> {
    let parsed = values::type_name(node, "functions", diagnostics)?;
    if parsed.name == "*" && !parsed.namespace.contains('*') {
        return Some(FunctionTarget::Namespace(parsed.namespace));
    }
    if parsed.name.contains('*') || parsed.namespace.contains('*') {
        diagnostics.error(
            &node.span,
            format!(
                "Invalid syntax for target functions. Only <namespace>/<name> or <namespace>/* are \
                 supported, found `{parsed}`"
            ),
        );
        return None;
    }
    Some(FunctionTarget::Exact(parsed))
}

fn read_template(
    node: &Node,
    target: Option<&FunctionTarget>,
    diagnostics: &mut Diagnostics,
) -> Option<UrlTemplate> {
    let text = values::text(node, "urlPathTemplate", diagnostics)?.trim();
    let anonymous = url::without_user(text);
    if anonymous.is_some() {
        diagnostics.warning(
            &node.span,
            "`urlPathTemplate`: what stands before `@` has no effect: user names and passwords are not \
             sent to functions",
        );
    }
    let template = UrlTemplate::parse(anonymous.as_deref().unwrap_or(text)).and_then(|template| {
        if let Some(FunctionTarget::Exact(TypeName { name, .. })) = target {
            template.resolve(name)?;
        }
        Ok(template)
    });
    match template {
        Ok(template) => Some(template),
        Err(why) => {
            diagnostics.error(&node.span, format!("`urlPathTemplate`: {why}"));
            None
        }
    }
}
