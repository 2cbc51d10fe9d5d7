//! What a manifest says of a Kinesis ingress: streams, where each record goes, and where to begin.

use dormouse_protocol::TypeName;
use dormouse_sdk::manifest::date::date;
use dormouse_sdk::manifest::properties::Properties;
use dormouse_sdk::manifest::routes::{Names, Route, routes};
use dormouse_sdk::manifest::{Diagnostics, Fields, Node, values};
use dormouse_sdk::module::Component;

use crate::aws::{self, Credentials, Region};

/// A Kinesis ingress, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressSpec {
    pub id: TypeName,
    pub region: Region,
    pub credentials: Credentials,
    /// One for each stream; at least one.
    pub routes: Vec<Route>,
    /// Where to begin when the application has no position of its own.
    pub start: Start,
    /// For the client library.
    pub properties: Properties,
}

/// Where to begin at the first start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    Earliest,
    #[default]
    Latest,
    /// At the first record that is not older, in milliseconds since 1970.
    Date(i64),
}

const STREAM_EXPECTED: &str = "the name of a stream: 1 to 128 letters, digits, `.`, `_` and `-`";

const STREAMS: Names =
    Names { list: "streams", source: "stream", expected: STREAM_EXPECTED, is_name: is_stream };

/// Longest name of a stream.
const STREAM_BYTES_MAX: usize = 128;

fn is_stream(name: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=STREAM_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_usual)
}

impl IngressSpec {
    /// Reads a component; `None`, with errors reported, when something is wrong.
    pub fn read(component: &Component, diagnostics: &mut Diagnostics) -> Option<Self> {
        let strict = component.is_strict();
        let mut fields = Fields::of(&component.spec, "spec", strict, diagnostics)?;
        let id = fields.required_id(diagnostics);
        let aws = aws::read(&mut fields, strict, diagnostics);
        let routes = fields
            .required("streams", "a list of streams, at least one", diagnostics)
            .and_then(|node| routes(node, &STREAMS, strict, diagnostics));
        let start = match fields.optional("startupPosition") {
            None => Some(Start::default()),
            Some(node) => read_start(node, strict, diagnostics),
        };
        let properties = aws::properties(&mut fields, diagnostics);
        fields.finish(diagnostics);
        let (region, credentials) = aws?;
        Some(Self {
            id: id?,
            region,
            credentials,
            routes: routes?,
            start: start?,
            properties: properties?,
        })
    }
}

/// The types of a startup position, before what belongs to them is read.
#[derive(Clone, Copy)]
enum StartType {
    Earliest,
    Latest,
    Date,
}

const START_TYPES: [(&str, StartType); 3] =
    [("earliest", StartType::Earliest), ("latest", StartType::Latest), ("date", StartType::Date)];

fn read_start(node: &Node, strict: bool, diagnostics: &mut Diagnostics) -> Option<Start> {
    let mut fields = Fields::of(node, "startupPosition", strict, diagnostics)?;
    let kind = fields
        .required("type", "where to begin, such as `earliest`", diagnostics)
        .and_then(|node| values::choice(node, "startupPosition.type", &START_TYPES, diagnostics))?;
    let start = match kind {
        StartType::Earliest => Some(Start::Earliest),
        StartType::Latest => Some(Start::Latest),
        StartType::Date => fields
            .required("date", "a date such as `2020-02-01 04:15:00.000 +0000`", diagnostics)
            .and_then(|node| read_date(node, diagnostics)),
    };
    fields.finish(diagnostics);
    start
}

fn read_date(node: &Node, diagnostics: &mut Diagnostics) -> Option<Start> {
    let millis = date(node, "startupPosition.date", diagnostics)?;
    if millis < 0 {
        values::mismatch(node, "startupPosition.date", "a date after 1970", diagnostics);
        return None;
    }
    Some(Start::Date(millis))
}
