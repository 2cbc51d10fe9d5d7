//! Records for the egresses that StateFun knows, as values that a function can send with
//! [`crate::Context::send_egress`].

use bytes::Bytes;
use dormouse_protocol::egress_records::{
    Header, KAFKA_PRODUCER_RECORD, KINESIS_EGRESS_RECORD, KafkaProducerRecord, KinesisEgressRecord,
    PLAYGROUND_EGRESS_RECORD,
};
use prost::Message as _;

use crate::error::BoxError;
use crate::value::ValueType;

/// A record for a Kafka egress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaRecord {
    /// The topic.
    pub topic: String,
    /// The key; empty = none.
    pub key: String,
    /// The value, written verbatim.
    pub value: Bytes,
    /// Headers in order; `None` is a null header.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// A record for a Kinesis egress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KinesisRecord {
    /// The stream.
    pub stream: String,
    /// Places the record in a shard.
    pub partition_key: String,
    /// The data, written verbatim.
    pub value: Bytes,
    /// Overrides the hash of the partition key; empty = none.
    pub explicit_hash_key: String,
}

/// A record for the playground egress.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaygroundRecord {
    /// The topic: the path under which it is fetched.
    pub topic: String,
    /// What is fetched.
    pub payload: String,
}

crate::json_type!(PlaygroundRecord, PLAYGROUND_EGRESS_RECORD);

impl ValueType for KafkaRecord {
    const TYPENAME: &'static str = KAFKA_PRODUCER_RECORD;

    fn encode(&self) -> Result<Bytes, BoxError> {
        let header = |(key, value): &(String, Option<Bytes>)| Header {
            key: key.clone(),
            has_value: value.is_some(),
            value: value.clone().unwrap_or_default(),
        };
        let record = KafkaProducerRecord {
            key: self.key.clone(),
            value_bytes: self.value.clone(),
            topic: self.topic.clone(),
            headers: self.headers.iter().map(header).collect(),
        };
        Ok(record.encode_to_vec().into())
    }

    fn decode(bytes: &Bytes) -> Result<Self, BoxError> {
        let record = KafkaProducerRecord::decode(bytes.clone())?;
        let header = |header: Header| (header.key, header.has_value.then_some(header.value));
        Ok(Self {
            topic: record.topic,
            key: record.key,
            value: record.value_bytes,
            headers: record.headers.into_iter().map(header).collect(),
        })
    }
}

impl ValueType for KinesisRecord {
    const TYPENAME: &'static str = KINESIS_EGRESS_RECORD;

    fn encode(&self) -> Result<Bytes, BoxError> {
        let record = KinesisEgressRecord {
            partition_key: self.partition_key.clone(),
            value_bytes: self.value.clone(),
            stream: self.stream.clone(),
            explicit_hash_key: self.explicit_hash_key.clone(),
        };
        Ok(record.encode_to_vec().into())
    }

    fn decode(bytes: &Bytes) -> Result<Self, BoxError> {
        let record = KinesisEgressRecord::decode(bytes.clone())?;
        Ok(Self {
            stream: record.stream,
            partition_key: record.partition_key,
            value: record.value_bytes,
            explicit_hash_key: record.explicit_hash_key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_those_of_statefun() {
        let kafka = KafkaRecord {
            topic: "t".to_owned(),
            key: "k".to_owned(),
            value: Bytes::from_static(b"v"),
            headers: vec![("h".to_owned(), Some(Bytes::new())), ("n".to_owned(), None)],
        };
        let bytes = kafka.encode().unwrap();
        assert_eq!(
            bytes[..],
            *b"\x0a\x01k\x12\x01v\x1a\x01t\x22\x05\x0a\x01h\x18\x01\x22\x03\x0a\x01n"
        );
        assert_eq!(KafkaRecord::decode(&bytes).unwrap(), kafka);

        let kinesis = KinesisRecord {
            stream: "s".to_owned(),
            partition_key: "k".to_owned(),
            value: Bytes::from_static(b"v"),
            explicit_hash_key: "h".to_owned(),
        };
        let bytes = kinesis.encode().unwrap();
        assert_eq!(bytes[..], *b"\x0a\x01k\x12\x01v\x1a\x01s\x22\x01h");
        assert_eq!(KinesisRecord::decode(&bytes).unwrap(), kinesis);

        let playground =
            PlaygroundRecord { topic: "greetings".to_owned(), payload: "Hello".to_owned() };
        let bytes = playground.encode().unwrap();
        assert_eq!(bytes[..], *br#"{"topic":"greetings","payload":"Hello"}"#);
        assert_eq!(PlaygroundRecord::decode(&bytes).unwrap(), playground);
    }
}
