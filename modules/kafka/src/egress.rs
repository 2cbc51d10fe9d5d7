//! What a manifest says of a Kafka egress: brokers, and how sure it is that a record arrives.

use std::time::Duration;

use dormouse_protocol::TypeName;
use dormouse_sdk::manifest::properties::Properties;
use dormouse_sdk::manifest::{Diagnostics, Fields, Node, values};
use dormouse_sdk::module::Component;

use crate::client;

/// A Kafka egress, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressSpec {
    pub id: TypeName,
    /// `host:port`, separated by commas.
    pub brokers: String,
    pub delivery: Delivery,
    /// For the client library; without what the fields above say.
    pub properties: Properties,
}

/// How sure it is that a record arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// It may be lost, and may arrive twice.
    None,
    /// It arrives, perhaps twice.
    #[default]
    AtLeastOnce,
    /// It arrives once, for readers that wait for transactions to be committed.
    ExactlyOnce {
        /// How long the brokers keep a transaction open whose writer is gone.
        transaction_timeout: Duration,
    },
}

/// Longest timeout: Kafka keeps milliseconds in 31 bits.
const TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

const TIMEOUT_EXPECTED: &str = "a duration such as `15min`, for `exactly-once`";

impl EgressSpec {
    /// Reads a component; `None`, with errors reported, when something is wrong.
    pub fn read(component: &Component, diagnostics: &mut Diagnostics) -> Option<Self> {
        let strict = component.is_strict();
        let mut fields = Fields::of(&component.spec, "spec", strict, diagnostics)?;
        let id = fields.required_id(diagnostics);
        let properties = client::properties(&mut fields, diagnostics);
        let is_listed = properties.is_some();
        let mut properties = properties.unwrap_or_default();
        let brokers = client::brokers(&mut fields, &mut properties, diagnostics);
        let delivery = match fields.optional("deliverySemantic") {
            None => Some(Delivery::default()),
            Some(node) => read_delivery(node, strict, diagnostics),
        };
        fields.finish(diagnostics);
        let delivery = delivery?;
        if let Delivery::ExactlyOnce { .. } = delivery
            && let Some(property) = properties.take("transaction.timeout.ms")
        {
            let message = "`transaction.timeout.ms` has no effect beside `transactionTimeout`";
            diagnostics.warning(&property.span, message);
        }
        Some(Self {
            id: id?,
            brokers: brokers?,
            delivery,
            properties: is_listed.then_some(properties)?,
        })
    }
}

const DELIVERIES: [(&str, DeliveryType); 3] = [
    ("at-least-once", DeliveryType::AtLeastOnce),
    ("exactly-once", DeliveryType::ExactlyOnce),
    ("none", DeliveryType::None),
];

#[derive(Clone, Copy)]
enum DeliveryType {
    None,
    AtLeastOnce,
    ExactlyOnce,
}

fn read_delivery(node: &Node, strict: bool, diagnostics: &mut Diagnostics) -> Option<Delivery> {
    const TYPE: &str = "deliverySemantic.type";
    let mut fields = Fields::of(node, "deliverySemantic", strict, diagnostics)?;
    let expected = "one of `at-least-once`, `exactly-once`, `none`";
    let kind = fields
        .required("type", expected, diagnostics)
        .and_then(|node| values::choice(node, TYPE, &DELIVERIES, diagnostics));
    let timeout = fields.optional("transactionTimeout");
    let millis = fields.optional("transactionTimeoutMillis");
    fields.finish(diagnostics);
    let delivery = match kind? {
        DeliveryType::ExactlyOnce => {
            let transaction_timeout = read_timeout(node, timeout, millis, diagnostics)?;
            return Some(Delivery::ExactlyOnce { transaction_timeout });
        }
        DeliveryType::None => Delivery::None,
        DeliveryType::AtLeastOnce => Delivery::AtLeastOnce,
    };
    for (name, node) in [("transactionTimeout", timeout), ("transactionTimeoutMillis", millis)] {
        if let Some(node) = node {
            let message = format!("`{name}` has an effect with `exactly-once` only");
            diagnostics.warning(&node.span, message);
        }
    }
    Some(delivery)
}

/// The older field wins, as in StateFun. A unit in it is read too: the documentation shows one.
fn read_timeout(
    semantic: &Node,
    timeout: Option<&Node>,
    millis: Option<&Node>,
    diagnostics: &mut Diagnostics,
) -> Option<Duration> {
    if let (Some(timeout), Some(_)) = (timeout, millis) {
        let message = "`transactionTimeout` has no effect beside `transactionTimeoutMillis`";
        diagnostics.warning(&timeout.span, message);
    }
    let (name, node) = match (millis, timeout) {
        (Some(node), _) => ("transactionTimeoutMillis", node),
        (None, Some(node)) => ("transactionTimeout", node),
        (None, None) => {
            let message =
                format!("missing field `transactionTimeout`: expected {TIMEOUT_EXPECTED}");
            diagnostics.error(&semantic.span, message);
            return None;
        }
    };
    let found = values::duration(node, name, diagnostics)?;
    if found < Duration::from_millis(1) || found > TIMEOUT_MAX {
        values::mismatch(node, name, "a duration from `1ms` to `24days`", diagnostics);
        return None;
    }
    Some(found)
}
