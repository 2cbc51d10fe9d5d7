//! Records that functions hand to egresses, as StateFun's SDKs make them. An egress decodes them; the
//! runtime passes them through. The field numbers are the contract.

use bytes::Bytes;

/// Typename of a [`KafkaProducerRecord`].
pub const KAFKA_PRODUCER_RECORD: &str =
    "type.googleapis.com/io.statefun.sdk.egress.KafkaProducerRecord";

/// Typename of a [`KinesisEgressRecord`].
pub const KINESIS_EGRESS_RECORD: &str =
    "type.googleapis.com/io.statefun.sdk.egress.KinesisEgressRecord";

/// Typename of the playground's record: JSON, exactly `{"topic": "...", "payload": "..."}`.
pub const PLAYGROUND_EGRESS_RECORD: &str = "io.statefun.playground/EgressRecord";

/// `io.statefun.sdk.egress.KafkaProducerRecord`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct KafkaProducerRecord {
    /// The record's key; empty = none.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The record's value, written verbatim.
    #[prost(bytes = "bytes", tag = "2")]
    pub value_bytes: Bytes,
    /// The topic.
    #[prost(string, tag = "3")]
    pub topic: String,
    /// Headers, in order; duplicates are kept.
    #[prost(message, repeated, tag = "4")]
    pub headers: Vec<Header>,
}

/// `io.statefun.sdk.egress.Header`: one header of a [`KafkaProducerRecord`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Header {
    /// The header's name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The header's value.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// `false` for a null header.
    #[prost(bool, tag = "3")]
    pub has_value: bool,
}

/// `io.statefun.sdk.egress.KinesisEgressRecord`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct KinesisEgressRecord {
    /// Places the record in a shard of the stream.
    #[prost(string, tag = "1")]
    pub partition_key: String,
    /// The record's data, written verbatim.
    #[prost(bytes = "bytes", tag = "2")]
    pub value_bytes: Bytes,
    /// The stream.
    #[prost(string, tag = "3")]
    pub stream: String,
    /// Overrides the hash of the partition key; empty = none.
    #[prost(string, tag = "4")]
    pub explicit_hash_key: String,
}
