//! Reads the ingress component.

use std::sync::Arc;
use std::time::Duration;

use dormouse_protocol::TypeName;
use dormouse_sdk::manifest::{Diagnostics, Fields, Node, values};
use dormouse_sdk::module::{Binder, Bindings, Component, IngressBinding};

use crate::ingress::{HttpIngress, Settings};

pub const KIND: &str = "dormouse.http.v1/ingress";

/// Longest `maxBody` that a manifest may set.
const BODY_BYTES_LIMIT: u64 = 32 << 20;
/// Longest `maxWait` that a manifest may set.
const WAIT_LIMIT: Duration = Duration::from_secs(3_600);

dormouse_sdk::register_binder!(Binder {
    kind: KIND,
    summary: "messages and requests over HTTP: POST /<namespace>/<type>/<id>",
    bind,
});

fn bind(component: &Component, bindings: &mut Bindings, diagnostics: &mut Diagnostics) {
    let strict = component.is_strict();
    let Some(mut fields) = Fields::of(&component.spec, "spec", strict, diagnostics) else {
        return;
    };
    let before = diagnostics.found.len();
    let mut settings = Settings::default();
    let listen = fields
        .required("listen", "an address such as `127.0.0.1:8080`", diagnostics)
        .and_then(|node| read_listen(node, diagnostics));
    let mut id = TypeName { namespace: "dormouse.http".to_owned(), name: "ingress".to_owned() };
    if let Some(node) = fields.optional("id") {
        id = values::type_name(node, "id", diagnostics).unwrap_or(id);
    }
    if let Some(node) = fields.optional("valueType") {
        let value_type = values::type_name(node, "valueType", diagnostics);
        settings.value_type = value_type.map(|name| name.to_string().into());
    }
    if let Some(node) = fields.optional("maxBody") {
        let max = values::size(node, "maxBody", diagnostics).unwrap_or(1);
        if !(1..=BODY_BYTES_LIMIT).contains(&max) {
            values::mismatch(node, "maxBody", "a size from 1 byte to `32MiB`", diagnostics);
        }
        settings.body_bytes_max = usize::try_from(max).unwrap_or(usize::MAX);
    }
    if let Some(node) = fields.optional("maxWait") {
        let max = values::duration(node, "maxWait", diagnostics).unwrap_or(WAIT_LIMIT);
        if max.is_zero() || max > WAIT_LIMIT {
            values::mismatch(node, "maxWait", "a duration from `1ms` to `1h`", diagnostics);
        }
        settings.wait_max = max;
    }
    fields.finish(diagnostics);
    if let (Some(listen), true) = (listen, diagnostics.found.len() == before) {
        bindings.ingresses.push(IngressBinding {
            span: component.span.clone(),
            id,
            ingress: Arc::new(HttpIngress::new(listen, settings)),
        });
    }
}

fn read_listen(node: &Node, diagnostics: &mut Diagnostics) -> Option<String> {
    let text = values::text(node, "listen", diagnostics)?.trim();
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Some(text.to_owned())
        }
        _ => {
            let expected = "`host:port`, such as `127.0.0.1:8080` or `0.0.0.0:8080`";
            values::mismatch(node, "listen", expected, diagnostics);
            None
        }
    }
}
