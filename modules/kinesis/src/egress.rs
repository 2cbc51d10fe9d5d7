//! What a manifest says of a Kinesis egress.

use dormouse_protocol::TypeName;
use dormouse_sdk::manifest::properties::Properties;
use dormouse_sdk::manifest::{Diagnostics, Fields, values};
use dormouse_sdk::module::Component;

use crate::aws::{self, Credentials, Region};

/// A Kinesis egress, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressSpec {
    pub id: TypeName,
    pub region: Region,
    pub credentials: Credentials,
    /// Records that were sent and not confirmed, at most.
    pub outstanding_records_max: u32,
    /// For the client library.
    pub properties: Properties,
}

const OUTSTANDING_RECORDS_DEFAULT: u32 = 1_000;

impl EgressSpec {
    /// Reads a component; `None`, with errors reported, when something is wrong.
    pub fn read(component: &Component, diagnostics: &mut Diagnostics) -> Option<Self> {
        let strict = component.is_strict();
        let mut fields = Fields::of(&component.spec, "spec", strict, diagnostics)?;
        let id = fields.required_id(diagnostics);
        let aws = aws::read(&mut fields, strict, diagnostics);
        let outstanding = match fields.optional("maxOutstandingRecords") {
            None => Some(OUTSTANDING_RECORDS_DEFAULT),
            Some(node) => {
                let range = 1..=i64::from(i32::MAX);
                let max = values::integer(node, "maxOutstandingRecords", range, diagnostics);
                max.and_then(|max| u32::try_from(max).ok())
            }
        };
        let properties = aws::properties(&mut fields, diagnostics);
        fields.finish(diagnostics);
        let (region, credentials) = aws?;
        Some(Self {
            id: id?,
            region,
            credentials,
            outstanding_records_max: outstanding?,
            properties: properties?,
        })
    }
}
