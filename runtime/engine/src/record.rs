//! The values of durable records: messages, states, entries, marks, heads, delayed messages, egress entries.
//! The first byte of each is its version or kind.

use bytes::Bytes;
use compact_str::CompactString;
use dormouse_protocol::{Address, FunctionType, Message, Metadata, TypedValue};

use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use crate::dead::DeadLetter;

const VERSION: u8 = 1;

const HAS_CALLER: u8 = 1;
const HAS_VALUE: u8 = 2;
const HAS_METADATA: u8 = 4;
const HAS_TARGET: u8 = 8;

/// Appends a message; without its target where the key names it.
pub(crate) fn put_message(out: &mut Vec<u8>, message: &Message, with_target: bool) {
    let mut flags = 0;
    flags |= if message.caller.is_some() { HAS_CALLER } else { 0 };
    flags |= if message.value.has_value { HAS_VALUE } else { 0 };
    flags |= if message.value.metadata.is_some() { HAS_METADATA } else { 0 };
    flags |= if with_target { HAS_TARGET } else { 0 };
    out.push(VERSION);
    out.push(flags);
    if with_target {
        put_address(out, &message.target);
    }
    if let Some(caller) = &message.caller {
        put_address(out, caller);
    }
    put_bytes(out, message.value.typename.as_bytes());
    if let Some(metadata) = &message.value.metadata {
        put_metadata(out, metadata);
    }
    put_bytes(out, &message.value.value);
}

fn put_address(out: &mut Vec<u8>, address: &Address) {
    put_bytes(out, address.function_type.namespace().as_bytes());
    put_bytes(out, address.function_type.name().as_bytes());
    put_bytes(out, address.id.as_bytes());
}

fn put_metadata(out: &mut Vec<u8>, metadata: &[Metadata]) {
    put_varint(out, metadata.len() as u64);
    for entry in metadata {
        put_bytes(out, entry.key.as_bytes());
        match &entry.value {
            Some(value) => {
                out.push(1);
                put_bytes(out, value);
            }
            None => out.push(0),
        }
    }
}

/// Reads a message; `target` is the one that the key names, if the record does not.
pub(crate) fn get_message(
    reader: &mut Reader<'_>,
    target: Option<&Address>,
) -> Result<Message, DecodeError> {
    version(reader)?;
    let flags = reader.u8("message flags")?;
    let target = if flags & HAS_TARGET == 0 {
        target.cloned().ok_or(DecodeError { expected: "a target" })?
    } else {
        get_address(reader)?
    };
    let caller = if flags & HAS_CALLER == 0 { None } else { Some(get_address(reader)?) };
    let typename = CompactString::new(reader.str("typename")?);
    let metadata =
        if flags & HAS_METADATA == 0 { None } else { Some(Box::new(get_metadata(reader)?)) };
    let value = Bytes::copy_from_slice(reader.bytes("value")?);
    let has_value = flags & HAS_VALUE != 0;
    Ok(Message { target, caller, value: TypedValue { typename, has_value, value, metadata } })
}

fn version(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match reader.u8("record version")? {
        VERSION => Ok(()),
        _ => Err(DecodeError { expected: "a record of version 1" }),
    }
}

fn get_address(reader: &mut Reader<'_>) -> Result<Address, DecodeError> {
    let function_type = FunctionType::new(reader.str("namespace")?, reader.str("function name")?);
    Ok(Address { function_type, id: CompactString::new(reader.str("id")?) })
}

fn get_metadata(reader: &mut Reader<'_>) -> Result<Vec<Metadata>, DecodeError> {
    let count = reader.varint("number of headers")?;
    let mut metadata = Vec::new();
    for _ in 0..count {
        let key = reader.str("header key")?.to_owned();
        let value = match reader.u8("header flag")? {
            0 => None,
            _ => Some(Bytes::copy_from_slice(reader.bytes("header value")?)),
        };
        metadata.push(Metadata { key, value });
    }
    Ok(metadata)
}

/// A stored state value.
#[derive(Debug)]
pub(crate) struct StoredState<'a> {
    /// Milliseconds since 1970; 0 = never.
    pub(crate) expires_at_ms: u64,
    pub(crate) typename: &'a str,
    pub(crate) value: &'a [u8],
}

/// What stands before a state's value, which is the rest of its row.
pub(crate) fn put_state_head(out: &mut Vec<u8>, expires_at_ms: u64, typename: &str) {
    out.push(VERSION);
    put_varint(out, expires_at_ms);
    put_bytes(out, typename.as_bytes());
}

pub(crate) fn get_state(bytes: &[u8]) -> Result<StoredState<'_>, DecodeError> {
    let mut reader = Reader::new(bytes);
    version(&mut reader)?;
    let expires_at_ms = reader.varint("expiry")?;
    let typename = reader.str("typename")?;
    Ok(StoredState { expires_at_ms, typename, value: reader.rest() })
}

/// An entry of a table or buffer; its type is that of the state.
pub(crate) fn put_entry(out: &mut Vec<u8>, expires_at_ms: u64, value: &[u8]) {
    out.push(VERSION);
    put_varint(out, expires_at_ms);
    out.extend_from_slice(value);
}

/// When an entry expires (0: never), and its value.
pub(crate) fn get_entry(bytes: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let mut reader = Reader::new(bytes);
    version(&mut reader)?;
    Ok((reader.varint("expiry")?, reader.rest()))
}

/// A row of two or three numbers: marks and heads.
pub(crate) fn get_numbers<const N: usize>(bytes: &[u8]) -> Result<[u64; N], DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut values = [0; N];
    for value in &mut values {
        *value = reader.varint("number")?;
    }
    Ok(values)
}

const DUE_MESSAGE: u8 = 1;
const DUE_TOKEN: u8 = 2;

/// What a row of delayed messages holds.
#[derive(Debug)]
pub(crate) enum Due {
    Message(Message),
    /// `bytes`: the weight of its message, which lies under the token.
    Token {
        id: CompactString,
        token: CompactString,
        bytes: usize,
    },
}

pub(crate) fn put_due_message(out: &mut Vec<u8>, message: &Message) {
    out.push(DUE_MESSAGE);
    put_message(out, message, true);
}

pub(crate) fn put_due_token(out: &mut Vec<u8>, id: &str, token: &str, bytes: usize) {
    out.push(DUE_TOKEN);
    put_bytes(out, id.as_bytes());
    put_bytes(out, token.as_bytes());
    put_varint(out, bytes as u64);
}

pub(crate) fn get_due(bytes: &[u8]) -> Result<Due, DecodeError> {
    let mut reader = Reader::new(bytes);
    match reader.u8("kind of delayed message")? {
        DUE_MESSAGE => Ok(Due::Message(get_message(&mut reader, None)?)),
        DUE_TOKEN => Ok(Due::Token {
            id: CompactString::new(reader.str("id")?),
            token: CompactString::new(reader.str("token")?),
            // Rows of earlier versions end here.
            bytes: match reader.is_empty() {
                true => 0,
                false => reader.varint("length of the message")? as usize,
            },
        }),
        _ => Err(DecodeError { expected: "a known kind of delayed message" }),
    }
}

pub(crate) fn put_token(out: &mut Vec<u8>, due_ms: u64, arrival: u64, message: &Message) {
    put_varint(out, due_ms);
    put_varint(out, arrival);
    put_message(out, message, true);
}

pub(crate) fn get_token(bytes: &[u8]) -> Result<(u64, u64, Message), DecodeError> {
    let mut reader = Reader::new(bytes);
    let due_ms = reader.varint("due time")?;
    let arrival = reader.varint("arrival")?;
    Ok((due_ms, arrival, get_message(&mut reader, None)?))
}

/// An egress entry: the sender is the record's caller, the target is not used.
pub(crate) fn put_egress(out: &mut Vec<u8>, sender: &Address, value: &TypedValue) {
    let message = Message { target: sender.clone(), caller: None, value: value.clone() };
    put_message(out, &message, true);
}

pub(crate) fn get_egress(bytes: &[u8]) -> Result<(Address, TypedValue), DecodeError> {
    let message = get_message(&mut Reader::new(bytes), None)?;
    Ok((message.target, message.value))
}

/// A dead letter; `made` is when its first and last call were made, and how many.
pub(crate) fn put_dead(out: &mut Vec<u8>, made: (u64, u64, u32), cause: &str, message: &Message) {
    out.push(VERSION);
    put_varint(out, made.0);
    put_varint(out, made.1);
    put_varint(out, u64::from(made.2));
    put_bytes(out, cause.as_bytes());
    put_message(out, message, true);
}

pub(crate) fn get_dead(reader: &mut Reader<'_>) -> Result<DeadLetter, DecodeError> {
    version(reader)?;
    let first_ms = reader.varint("time of the first call")?;
    let died_ms = reader.varint("time of the last call")?;
    let attempts = u32::try_from(reader.varint("number of calls")?)
        .map_err(|_| DecodeError { expected: "a number of calls" })?;
    let cause = reader.str("cause")?.to_owned();
    Ok(DeadLetter { first_ms, died_ms, attempts, cause, message: get_message(reader, None)? })
}

/// Reads bytes as a value of each kind of row, for the fuzzer: each answers or refuses.
#[doc(hidden)]
pub fn read_as_records(bytes: &[u8]) {
    drop(get_message(&mut Reader::new(bytes), None));
    drop((get_state(bytes), get_entry(bytes), get_due(bytes), get_token(bytes), get_egress(bytes)));
    drop(get_dead(&mut Reader::new(bytes)));
    drop((get_numbers::<2>(bytes), get_numbers::<3>(bytes)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        let metadata = vec![
            Metadata { key: "a".to_owned(), value: None },
            Metadata { key: "a".to_owned(), value: Some(Bytes::from_static(b"x")) },
        ];
        Message {
            target: Address::new(FunctionType::new("example", "person"), "Bob"),
            caller: Some(Address::new(FunctionType::new("example", "greeter"), "")),
            value: TypedValue {
                typename: "io.statefun.types/int".into(),
                has_value: true,
                value: Bytes::new(),
                metadata: Some(Box::new(metadata)),
            },
        }
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let full = message();
        let mut bytes = Vec::new();
        put_message(&mut bytes, &full, true);
        assert_eq!(get_message(&mut Reader::new(&bytes), None), Ok(full.clone()));
        let bare = Message { caller: None, value: TypedValue::default(), ..full };
        bytes.clear();
        put_message(&mut bytes, &bare, false);
        assert_eq!(get_message(&mut Reader::new(&bytes), Some(&bare.target)), Ok(bare));
    }

    #[test]
    fn a_cut_record_is_an_error_at_every_length() {
        let mut bytes = Vec::new();
        put_message(&mut bytes, &message(), true);
        for len in 0..bytes.len() {
            assert!(get_message(&mut Reader::new(&bytes[..len]), None).is_err(), "{len}");
        }
    }

    #[test]
    fn dead_letters_come_back_and_a_cut_one_is_an_error() {
        let mut bytes = Vec::new();
        put_dead(&mut bytes, (1_000, 2_000, 3), "why", &message());
        let (cause, message) = ("why".to_owned(), message());
        let letter = DeadLetter { first_ms: 1_000, died_ms: 2_000, attempts: 3, cause, message };
        assert_eq!(get_dead(&mut Reader::new(&bytes)), Ok(letter));
        for len in 0..bytes.len() {
            assert!(get_dead(&mut Reader::new(&bytes[..len])).is_err(), "{len}");
        }
    }

    #[test]
    fn delayed_messages_and_tokens_come_back() {
        let mut bytes = Vec::new();
        put_due_token(&mut bytes, "Bob", "token", 300);
        let Ok(Due::Token { id, token, bytes: 300 }) = get_due(&bytes) else {
            panic!("{:?}", get_due(&bytes));
        };
        assert_eq!((&*id, &*token), ("Bob", "token"));
        bytes.clear();
        put_token(&mut bytes, 5, 7, &message());
        assert_eq!(get_token(&bytes), Ok((5, 7, message())));
    }
}
