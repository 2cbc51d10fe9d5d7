//! What ingress and egress say in the same way: brokers, and settings for the client library that fields
//! of the manifest win over.

use dormouse_sdk::manifest::properties::Properties;
use dormouse_sdk::manifest::{Diagnostics, Fields, Node, values};

/// Longest name of a topic.
const TOPIC_BYTES_MAX: usize = 249;

/// What a topic may be called, for people.
pub const TOPIC_EXPECTED: &str = "the name of a topic: 1 to 249 letters, digits, `.`, `_` and `-`";

const BROKERS_EXPECTED: &str = "brokers, `host:port`, separated by commas";

/// Whether Kafka lets a topic have this name.
#[must_use]
pub fn is_topic(name: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_short = (1..=TOPIC_BYTES_MAX).contains(&name.len());
    is_short && name.bytes().all(is_usual) && !matches!(name, "." | "..")
}

/// The `properties` of a component; empty when it has none.
pub fn properties(fields: &mut Fields<'_>, diagnostics: &mut Diagnostics) -> Option<Properties> {
    match fields.optional("properties") {
        Some(node) => Properties::read(node, "properties", diagnostics),
        None => Some(Properties::default()),
    }
}

/// A setting that has a field of its own, which wins over the property of the client library. Takes the
/// property out.
pub fn named(
    field: Option<&Node>,
    (name, property): (&'static str, &'static str),
    properties: &mut Properties,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    let of_library = properties.take(property);
    let Some(node) = field else {
        return of_library.map(|property| property.value);
    };
    if let Some(property_found) = of_library {
        let message = format!("`{property}` has no effect beside `{name}`");
        diagnostics.warning(&property_found.span, message);
    }
    values::text(node, name, diagnostics).map(str::to_owned)
}

/// The brokers to begin with, as the client library wants them: `host:port,host:port`.
pub fn brokers(
    fields: &mut Fields<'_>,
    properties: &mut Properties,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    let span = fields.span();
    let field = fields.optional("address");
    let before = diagnostics.found.len();
    let Some(text) = named(field, ("address", "bootstrap.servers"), properties, diagnostics) else {
        if diagnostics.found.len() == before {
            diagnostics.error(
                span,
                format!(
                    "missing field `address`: expected {BROKERS_EXPECTED} (or `bootstrap.servers` in \
                     `properties`)"
                ),
            );
        }
        return None;
    };
    // Kafka's own client passes over a comma too many.
    let listed = text.split(',').map(str::trim).filter(|broker| !broker.is_empty());
    let listed: Vec<&str> = listed.collect();
    if listed.is_empty() || !listed.iter().all(|broker| is_broker(broker)) {
        let found = field.map_or_else(|| format!("`{text}`"), Node::describe);
        let span = field.map_or(span, |node| &node.span);
        diagnostics.error(span, format!("`address`: expected {BROKERS_EXPECTED}, found {found}"));
        return None;
    }
    Some(listed.join(","))
}

/// `host:port`; a name of a protocol before it (`PLAINTEXT://`) is allowed, as Kafka's own client does.
fn is_broker(text: &str) -> bool {
    let address = text.split_once("://").map_or(text, |(_, address)| address);
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:%[]".contains(c);
    !host.is_empty() && host.chars().all(is_host) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_have_a_host_and_a_port() {
        for broker in ["kafka:9092", "10.0.0.1:1", "[::1]:9092", "PLAINTEXT://kafka.svc:9092"] {
            assert!(is_broker(broker), "{broker}");
        }
        for other in ["", "kafka", ":9092", "kafka:", "kafka:0", "kafka:65536", "${K}:1", "a b:1"] {
            assert!(!is_broker(other), "{other}");
        }
    }

    #[test]
    fn topics_have_the_names_that_kafka_allows() {
        assert!(is_topic("names") && is_topic("a.b_c-1") && is_topic(&"t".repeat(249)));
        for other in ["", ".", "..", "a/b", "a b", "größe", "a,b", &"t".repeat(250)] {
            assert!(!is_topic(other), "{other}");
        }
    }
}
