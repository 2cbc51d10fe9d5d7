//! Reads the two playground components.

use std::sync::Arc;

use dormouse_protocol::TypeName;
use dormouse_sdk::manifest::{Diagnostics, Fields, Node, values};
use dormouse_sdk::module::{Binder, Bindings, Component, EgressBinding, IngressBinding};

use crate::egress::{PlaygroundEgress, TOPIC_BYTES_MAX};
use crate::ingress::PlaygroundIngress;

pub const INGRESS_KIND: &str = "io.statefun.playground.v1/ingress";
pub const EGRESS_KIND: &str = "io.statefun.playground.v1/egress";

dormouse_sdk::register_binder!(Binder {
    kind: INGRESS_KIND,
    summary: "messages by HTTP, as in the StateFun playground",
    bind: bind_ingress,
});

dormouse_sdk::register_binder!(Binder {
    kind: EGRESS_KIND,
    summary: "records fetched by HTTP, as in the StateFun playground",
    bind: bind_egress,
});

fn bind_ingress(component: &Component, bindings: &mut Bindings, diagnostics: &mut Diagnostics) {
    let strict = component.is_strict();
    let Some(mut fields) = Fields::of(&component.spec, "spec", strict, diagnostics) else {
        return;
    };
    let port = read_port(&mut fields, diagnostics);
    fields.finish(diagnostics);
    if let Some(port) = port {
        bindings.ingresses.push(IngressBinding {
            span: component.span.clone(),
            id: fixed_id("ingress"),
            ingress: Arc::new(PlaygroundIngress::new(port)),
        });
    }
}

fn bind_egress(component: &Component, bindings: &mut Bindings, diagnostics: &mut Diagnostics) {
    let strict = component.is_strict();
    let Some(mut fields) = Fields::of(&component.spec, "spec", strict, diagnostics) else {
        return;
    };
    let port = read_port(&mut fields, diagnostics);
    let topics = fields
        .required("topics", "a list of topic names", diagnostics)
        .and_then(|node| read_topics(node, diagnostics));
    fields.finish(diagnostics);
    if let (Some(port), Some(topics)) = (port, topics) {
        bindings.egresses.push(EgressBinding {
            span: component.span.clone(),
            id: fixed_id("egress"),
            egress: Arc::new(PlaygroundEgress::new(port, topics)),
        });
    }
}

/// There is at most one of each.
fn fixed_id(name: &str) -> TypeName {
    TypeName { namespace: "io.statefun.playground".to_owned(), name: name.to_owned() }
}

fn read_port(fields: &mut Fields<'_>, diagnostics: &mut Diagnostics) -> Option<u16> {
    let node = fields.required("port", "a port such as 8090", diagnostics)?;
    let port = values::integer(node, "port", 0..=i64::from(u16::MAX), diagnostics)?;
    u16::try_from(port).ok()
}

fn read_topics(node: &Node, diagnostics: &mut Diagnostics) -> Option<Vec<String>> {
    let items = values::list(node, "topics", diagnostics)?;
    let topics: Vec<Option<String>> =
        items.iter().map(|item| read_topic(item, diagnostics)).collect();
    if topics.is_empty() {
        values::mismatch(node, "topics", "at least one topic", diagnostics);
        return None;
    }
    topics.into_iter().collect()
}

fn read_topic(node: &Node, diagnostics: &mut Diagnostics) -> Option<String> {
    let topic = values::text(node, "topics", diagnostics)?;
    let is_edged = topic.starts_with('/') || topic.ends_with('/');
    if topic.len() > TOPIC_BYTES_MAX || is_edged {
        let expected = format!(
            "a name of at most {TOPIC_BYTES_MAX} bytes that neither begins nor ends with `/`"
        );
        values::mismatch(node, "topics", expected, diagnostics);
        return None;
    }
    Some(topic.to_owned())
}
