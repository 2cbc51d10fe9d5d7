//! What a manifest says of a Kafka ingress: topics, where each record goes, and where to begin.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use dormouse_protocol::TypeName;
use dormouse_sdk::manifest::date::date;
use dormouse_sdk::manifest::properties::{Properties, Property};
use dormouse_sdk::manifest::routes::{Names, Route, routes};
use dormouse_sdk::manifest::{Diagnostics, Fields, Node, values};
use dormouse_sdk::module::Component;

use crate::client::{self, TOPIC_EXPECTED};

/// A Kafka ingress, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressSpec {
    pub id: TypeName,
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// Whose committed offsets are used.
    pub group: String,
    /// One for each topic; at least one.
    pub routes: Vec<Route>,
    /// Where to begin when the place that was meant does not exist.
    pub reset: Reset,
    /// Where to begin when the application has no position of its own.
    pub start: Start,
    /// For the client library; without what the fields above say.
    pub properties: Properties,
}

/// Where to begin when a position does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reset {
    Earliest,
    #[default]
    Latest,
}

/// Where to begin at the first start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// What the group has committed.
    GroupOffsets,
    Earliest,
    #[default]
    Latest,
    /// Offsets of (topic, partition); others begin at what the group has committed.
    Offsets(BTreeMap<(String, i32), i64>),
    /// At the first record that is not older, in milliseconds since 1970; without one, at the end.
    Date(i64),
}

const TOPICS: Names =
    Names { list: "topics", source: "topic", expected: TOPIC_EXPECTED, is_name: client::is_topic };

const OFFSETS_EXPECTED: &str = "a list of `- <topic>/<partition>: <offset>`, at least one";

impl IngressSpec {
    /// Reads a component; `None`, with errors reported, when something is wrong.
    pub fn read(component: &Component, diagnostics: &mut Diagnostics) -> Option<Self> {
        let strict = component.is_strict();
        let mut fields = Fields::of(&component.spec, "spec", strict, diagnostics)?;
        let id = fields.required_id(diagnostics);
        let properties = client::properties(&mut fields, diagnostics);
        let is_listed = properties.is_some();
        let mut properties = properties.unwrap_or_default();
        let brokers = client::brokers(&mut fields, &mut properties, diagnostics);
        let group = read_group(&mut fields, &mut properties, diagnostics);
        let routes = fields
            .required("topics", "a list of topics, at least one", diagnostics)
            .and_then(|node| routes(node, &TOPICS, strict, diagnostics));
        let reset = read_reset(&mut fields, &mut properties, diagnostics);
        let start = match fields.optional("startupPosition") {
            None => Some(Start::default()),
            Some(node) => read_start(node, strict, diagnostics),
        };
        fields.finish(diagnostics);
        let (routes, start) = (routes?, start?);
        report_stray_offsets(&component.spec, &start, &routes, diagnostics);
        Some(Self {
            id: id?,
            brokers: brokers?,
            group: group?,
            routes,
            reset: reset?,
            start,
            properties: is_listed.then_some(properties)?,
        })
    }
}

fn read_group(
    fields: &mut Fields<'_>,
    properties: &mut Properties,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    let field = fields.optional("consumerGroupId");
    let before = diagnostics.found.len();
    let group = client::named(field, ("consumerGroupId", "group.id"), properties, diagnostics);
    if group.is_none() && diagnostics.found.len() == before {
        diagnostics.error(
            fields.span(),
            "missing field `consumerGroupId`: expected the name of a consumer group (or `group.id` in \
             `properties`)",
        );
    }
    group
}

/// The field's default wins over the property, as in StateFun.
fn read_reset(
    fields: &mut Fields<'_>,
    properties: &mut Properties,
    diagnostics: &mut Diagnostics,
) -> Option<Reset> {
    if let Some(property) = properties.take("auto.offset.reset") {
        diagnostics.warning(
            &property.span,
            "`auto.offset.reset` has no effect: `autoOffsetResetPosition`, or its default `latest`, wins",
        );
    }
    let Some(node) = fields.optional("autoOffsetResetPosition") else {
        return Some(Reset::default());
    };
    let known = [("earliest", Reset::Earliest), ("latest", Reset::Latest)];
    values::choice(node, "autoOffsetResetPosition", &known, diagnostics)
}

/// The types of a startup position, before what belongs to them is read.
#[derive(Clone, Copy)]
enum StartType {
    GroupOffsets,
    Earliest,
    Latest,
    Offsets,
    Date,
}

const START_TYPES: [(&str, StartType); 5] = [
    ("group-offsets", StartType::GroupOffsets),
    ("earliest", StartType::Earliest),
    ("latest", StartType::Latest),
    ("specific-offsets", StartType::Offsets),
    ("date", StartType::Date),
];

fn read_start(node: &Node, strict: bool, diagnostics: &mut Diagnostics) -> Option<Start> {
    let mut fields = Fields::of(node, "startupPosition", strict, diagnostics)?;
    let kind = fields
        .required("type", "where to begin, such as `earliest`", diagnostics)
        .and_then(|node| values::choice(node, "startupPosition.type", &START_TYPES, diagnostics))?;
    let start = match kind {
        StartType::GroupOffsets => Some(Start::GroupOffsets),
        StartType::Earliest => Some(Start::Earliest),
        StartType::Latest => Some(Start::Latest),
        StartType::Offsets => fields
            .required("offsets", OFFSETS_EXPECTED, diagnostics)
            .and_then(|node| read_offsets(node, diagnostics)),
        StartType::Date => fields
            .required("date", "a date such as `2020-02-01 04:15:00.000 +0000`", diagnostics)
            .and_then(|node| read_date(node, diagnostics)),
    };
    fields.finish(diagnostics);
    start
}

fn read_date(node: &Node, diagnostics: &mut Diagnostics) -> Option<Start> {
    let millis = date(node, "startupPosition.date", diagnostics)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    if !(0..=now).contains(&millis) {
        let expected = "a date between 1970 and now: there are no records of another time";
        values::mismatch(node, "startupPosition.date", expected, diagnostics);
        return None;
    }
    Some(Start::Date(millis))
}

fn read_offsets(node: &Node, diagnostics: &mut Diagnostics) -> Option<Start> {
    const FIELD: &str = "startupPosition.offsets";
    let offsets = Properties::read(node, FIELD, diagnostics)?;
    let mut found = BTreeMap::new();
    let mut is_right = true;
    for (name, Property { span, value }) in offsets.iter() {
        if let Some((partition, offset)) = read_offset(name, value) {
            found.insert(partition, offset);
        } else {
            is_right = false;
            let message = format!(
                "`{FIELD}`: expected `<topic>/<partition>: <offset>`, found `{name}: {value}`"
            );
            diagnostics.error(span, message);
        }
    }
    if is_right && found.is_empty() {
        values::mismatch(node, FIELD, OFFSETS_EXPECTED, diagnostics);
    }
    (is_right && !found.is_empty()).then_some(Start::Offsets(found))
}

/// The topic is what comes before the last `/`.
fn read_offset(name: &str, offset: &str) -> Option<((String, i32), i64)> {
    let (topic, partition) = name.rsplit_once('/')?;
    let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
    let offset = offset.trim().parse().ok().filter(|offset| *offset >= 0)?;
    client::is_topic(topic).then(|| ((topic.to_owned(), partition), offset))
}

/// Offsets of topics that nobody reads.
fn report_stray_offsets(
    spec: &Node,
    start: &Start,
    routes: &[Route],
    diagnostics: &mut Diagnostics,
) {
    let Start::Offsets(offsets) = start else { return };
    let span = spec.get("startupPosition").map_or(&spec.span, |node| &node.span);
    for (topic, partition) in offsets.keys() {
        if !routes.iter().any(|route| route.source == *topic) {
            let message = format!(
                "`startupPosition.offsets`: `{topic}/{partition}` has no effect, since `{topic}` is not \
                 in `topics`"
            );
            diagnostics.warning(span, message);
        }
    }
}
