//! The durable layout: how each record's key is written. Every key begins with its space (one byte)
//! and its partition (u16, big endian); numbers in keys are big endian, so byte order is their order.
//!
//! ```text
//! m p 'i' sender u16                     mark: (epoch, highest number taken)         varints
//! m p 'o' receiver u16                   outbox head: (epoch, next, trimmed)         varints
//! m p 'e' outbox name                    egress head: next, first unconfirmed        varints
//! m p 'x' source partition               source position                            opaque
//! m p 'd'                                delayed messages before this are gone: (due, arrival)  varints
//! m p 'l'                                dead letters: how many, and bytes of their keys and values  varints
//! s p id type name                       state: expiry, typename, value
//! c p id type state name, entry key      entry of a table or buffer: expiry, value
//! g p id type state name, prefix         entries with this prefix are given up    nothing
//! p p id type arrival u64                pending message
//! d p due u64 arrival u64                delayed message, or the (id, token) that holds it
//! t p id token                           (due, arrival, delayed message)
//! o p receiver u16 number u64            outbox entry: message
//! e p outbox name number u64             egress entry: sender, record
//! x p arrival u64                        dead letter, by the arrival of its message
//! ```
//! `type` is `namespace/name`; where that could be split in another place as well, as in a name with a slash, it
//! is a NUL, the length of the namespace in digits, a slash, and then the same.
//! `id`, `type` and `state name` are a u16 length and the bytes, `outbox name` a u8 length and the bytes;
//! a trailing `name`, `token`, `entry key` or `prefix` is the rest of the key.

use dormouse_protocol::{Address, FunctionType, Partition};

use crate::codec::{DecodeError, Reader};

pub const SPACE_META: u8 = b'm';
pub const SPACE_STATE: u8 = b's';
pub const SPACE_ENTRY: u8 = b'c';
pub const SPACE_CLEARED: u8 = b'g';
pub const SPACE_PENDING: u8 = b'p';
pub const SPACE_DUE: u8 = b'd';
pub const SPACE_TOKEN: u8 = b't';
pub const SPACE_OUTBOX: u8 = b'o';
pub const SPACE_EGRESS: u8 = b'e';
pub const SPACE_DEAD: u8 = b'x';

/// Begins a type that says how long its namespace is.
const TOLD_APART: char = '\0';

/// All spaces, in byte order.
pub const SPACES: [u8; 10] = [
    SPACE_ENTRY,
    SPACE_DUE,
    SPACE_EGRESS,
    SPACE_CLEARED,
    SPACE_META,
    SPACE_OUTBOX,
    SPACE_PENDING,
    SPACE_STATE,
    SPACE_TOKEN,
    SPACE_DEAD,
];

/// Whether rows of this space are scanned in order (queues, timers, entries) rather than only read by
/// key.
#[must_use]
#[inline]
pub fn is_ordered(space: u8) -> bool {
    is_never_reused(space) || matches!(space, SPACE_ENTRY | SPACE_CLEARED)
}

/// Whether a key of this space is never used a second time after its delete.
#[must_use]
#[inline]
pub fn is_never_reused(space: u8) -> bool {
    matches!(space, SPACE_PENDING | SPACE_DUE | SPACE_OUTBOX | SPACE_EGRESS | SPACE_DEAD)
}

/// The first bytes of every key of a space of a partition.
#[must_use]
pub fn space_prefix(space: u8, partition: Partition) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    push_prefix(&mut key, space, partition);
    key
}

/// The smallest key above all keys that begin with `prefix`; `None` when there is none.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[inline]
pub(crate) fn push_prefix(key: &mut Vec<u8>, space: u8, partition: Partition) {
    key.push(space);
    key.extend_from_slice(&partition.0.to_be_bytes());
}

#[inline]
fn push_id(key: &mut Vec<u8>, id: &str) {
    key.extend_from_slice(&(id.len() as u16).to_be_bytes());
    key.extend_from_slice(id.as_bytes());
}

#[inline]
fn push_type(key: &mut Vec<u8>, function_type: FunctionType) {
    let (namespace, name) = (function_type.namespace(), function_type.name());
    if name.contains('/') || namespace.starts_with(TOLD_APART) {
        let text = format!("{TOLD_APART}{}/{namespace}/{name}", namespace.len());
        return push_id(key, &text);
    }
    push_id(key, function_type.as_str());
}

/// A type as it stands in a key: the inverse of how it is written there.
#[must_use]
pub fn function_type(text: &str) -> Option<FunctionType> {
    let Some(told_apart) = text.strip_prefix(TOLD_APART) else {
        let (namespace, name) = text.rsplit_once('/')?;
        return Some(FunctionType::new(namespace, name));
    };
    let (length, text) = told_apart.split_once('/')?;
    let (namespace, rest) = text.split_at_checked(length.parse().ok()?)?;
    Some(FunctionType::new(namespace, rest.strip_prefix('/')?))
}

/// Overwrites `key` with the prefix of all states of `address`.
pub fn state_prefix(key: &mut Vec<u8>, partition: Partition, address: &Address) {
    key.clear();
    push_prefix(key, SPACE_STATE, partition);
    push_id(key, &address.id);
    push_type(key, address.function_type);
}

/// Overwrites `key` with the prefix of all entries of a table or buffer of `address`.
pub fn entry_prefix(key: &mut Vec<u8>, partition: Partition, address: &Address, name: &str) {
    push_entries(key, SPACE_ENTRY, (partition, address), name);
}

/// Overwrites `key` with that of the note that entries with this prefix are given up.
pub fn cleared(
    key: &mut Vec<u8>,
    partition: Partition,
    address: &Address,
    name: &str,
    prefix: &[u8],
) {
    push_entries(key, SPACE_CLEARED, (partition, address), name);
    key.extend_from_slice(prefix);
}

fn push_entries(key: &mut Vec<u8>, space: u8, of: (Partition, &Address), name: &str) {
    key.clear();
    push_prefix(key, space, of.0);
    push_id(key, &of.1.id);
    push_type(key, of.1.function_type);
    push_id(key, name);
}

/// Overwrites `key` with the prefix of all pending messages of `address`.
pub fn pending_prefix(key: &mut Vec<u8>, partition: Partition, address: &Address) {
    key.clear();
    push_prefix(key, SPACE_PENDING, partition);
    push_id(key, &address.id);
    push_type(key, address.function_type);
}

pub fn pending(key: &mut Vec<u8>, partition: Partition, address: &Address, arrival: u64) {
    pending_prefix(key, partition, address);
    key.extend_from_slice(&arrival.to_be_bytes());
}

pub fn due(key: &mut Vec<u8>, partition: Partition, due_ms: u64, arrival: u64) {
    key.clear();
    push_prefix(key, SPACE_DUE, partition);
    key.extend_from_slice(&due_ms.to_be_bytes());
    key.extend_from_slice(&arrival.to_be_bytes());
}

pub fn token(key: &mut Vec<u8>, partition: Partition, id: &str, token: &str) {
    key.clear();
    push_prefix(key, SPACE_TOKEN, partition);
    push_id(key, id);
    key.extend_from_slice(token.as_bytes());
}

pub fn outbox(key: &mut Vec<u8>, partition: Partition, receiver: Partition, number: u64) {
    key.clear();
    push_prefix(key, SPACE_OUTBOX, partition);
    key.extend_from_slice(&receiver.0.to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes());
}

pub fn egress(key: &mut Vec<u8>, partition: Partition, outbox: &str, number: u64) {
    key.clear();
    push_prefix(key, SPACE_EGRESS, partition);
    key.push(outbox.len() as u8);
    key.extend_from_slice(outbox.as_bytes());
    key.extend_from_slice(&number.to_be_bytes());
}

pub fn mark(key: &mut Vec<u8>, partition: Partition, sender: Partition) {
    key.clear();
    push_prefix(key, SPACE_META, partition);
    key.push(b'i');
    key.extend_from_slice(&sender.0.to_be_bytes());
}

pub fn outbox_head(key: &mut Vec<u8>, partition: Partition, receiver: Partition) {
    key.clear();
    push_prefix(key, SPACE_META, partition);
    key.push(b'o');
    key.extend_from_slice(&receiver.0.to_be_bytes());
}

pub fn egress_head(key: &mut Vec<u8>, partition: Partition, outbox: &str) {
    key.clear();
    push_prefix(key, SPACE_META, partition);
    key.push(b'e');
    key.extend_from_slice(outbox.as_bytes());
}

pub fn fired(key: &mut Vec<u8>, partition: Partition) {
    key.clear();
    push_prefix(key, SPACE_META, partition);
    key.push(b'd');
}

pub fn dead_tally(key: &mut Vec<u8>, partition: Partition) {
    key.clear();
    push_prefix(key, SPACE_META, partition);
    key.push(b'l');
}

/// Overwrites `key` with that of the dead letter that was the message with this arrival number.
pub fn dead(key: &mut Vec<u8>, partition: Partition, arrival: u64) {
    key.clear();
    push_prefix(key, SPACE_DEAD, partition);
    key.extend_from_slice(&arrival.to_be_bytes());
}

/// A key taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    Mark { sender: Partition },
    OutboxHead { receiver: Partition },
    EgressHead { outbox: &'a str },
    Source { source: &'a [u8] },
    Fired,
    DeadTally,
    State { id: &'a str, function_type: &'a str, name: &'a str },
    Entry { id: &'a str, function_type: &'a str, name: &'a str, entry: &'a [u8] },
    Cleared { id: &'a str, function_type: &'a str, name: &'a str, prefix: &'a [u8] },
    Pending { id: &'a str, function_type: &'a str, arrival: u64 },
    Due { due_ms: u64, arrival: u64 },
    Token { id: &'a str, token: &'a str },
    Outbox { receiver: Partition, number: u64 },
    Egress { outbox: &'a str, number: u64 },
    Dead { arrival: u64 },
}

/// Takes a key apart; the inverse of the functions above.
pub fn parse(key: &[u8]) -> Result<(Partition, Key<'_>), DecodeError> {
    let mut reader = Reader::new(key);
    let space = reader.u8("space")?;
    let partition = Partition(reader.u16_be("partition")?);
    let parsed = match space {
        SPACE_META => parse_meta(&mut reader)?,
        SPACE_STATE => {
            let (id, function_type) = (u16_str(&mut reader)?, u16_str(&mut reader)?);
            Key::State { id, function_type, name: utf8(reader.rest())? }
        }
        SPACE_ENTRY => {
            let (id, function_type) = (u16_str(&mut reader)?, u16_str(&mut reader)?);
            Key::Entry { id, function_type, name: u16_str(&mut reader)?, entry: reader.rest() }
        }
        SPACE_CLEARED => {
            let (id, function_type) = (u16_str(&mut reader)?, u16_str(&mut reader)?);
            Key::Cleared { id, function_type, name: u16_str(&mut reader)?, prefix: reader.rest() }
        }
        SPACE_PENDING => {
            let (id, function_type) = (u16_str(&mut reader)?, u16_str(&mut reader)?);
            Key::Pending { id, function_type, arrival: reader.u64_be("arrival")? }
        }
        SPACE_DUE => {
            Key::Due { due_ms: reader.u64_be("due time")?, arrival: reader.u64_be("arrival")? }
        }
        SPACE_TOKEN => {
            let id = u16_str(&mut reader)?;
            Key::Token { id, token: utf8(reader.rest())? }
        }
        SPACE_OUTBOX => Key::Outbox {
            receiver: Partition(reader.u16_be("receiver")?),
            number: reader.u64_be("number")?,
        },
        SPACE_EGRESS => {
            let len = reader.u8("outbox name")?;
            let outbox = utf8(reader.take(usize::from(len), "outbox name")?)?;
            Key::Egress { outbox, number: reader.u64_be("number")? }
        }
        SPACE_DEAD => Key::Dead { arrival: reader.u64_be("arrival")? },
        _ => {
            return Err(DecodeError { expected: "a known space" });
        }
    };
    Ok((partition, parsed))
}

fn parse_meta<'a>(reader: &mut Reader<'a>) -> Result<Key<'a>, DecodeError> {
    match reader.u8("kind of meta row")? {
        b'i' => Ok(Key::Mark { sender: Partition(reader.u16_be("sender")?) }),
        b'o' => Ok(Key::OutboxHead { receiver: Partition(reader.u16_be("receiver")?) }),
        b'e' => Ok(Key::EgressHead { outbox: utf8(reader.rest())? }),
        b'x' => Ok(Key::Source { source: reader.rest() }),
        b'd' => Ok(Key::Fired),
        b'l' => Ok(Key::DeadTally),
        _ => Err(DecodeError { expected: "a known kind of meta row" }),
    }
}

fn u16_str<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let len = reader.u16_be("length")?;
    utf8(reader.take(usize::from(len), "text")?)
}

fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError { expected: "UTF-8" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_keys_of_its_own_and_comes_back_from_them() {
        let types = [
            ("a", "b"),
            ("a/b", "c"),
            ("a", "b/c"),
            ("a", "/"),
            ("a/", "b"),
            ("a", "b/"),
            ("", "b"),
            ("a", ""),
            ("\0", "b"),
            ("\u{0}1/a", "b"),
            ("\u{e9}/", "/\u{0}/"),
        ];
        let mut seen = Vec::new();
        for (namespace, name) in types {
            let address = Address::new(FunctionType::new(namespace, name), "id");
            let mut key = Vec::new();
            pending(&mut key, Partition(7), &address, 9);
            let (_, Key::Pending { id: "id", function_type: text, arrival: 9 }) =
                parse(&key).unwrap()
            else {
                panic!("{namespace:?} {name:?}: {key:?}");
            };
            assert_eq!(function_type(text), Some(address.function_type), "{text:?}");
            assert!(!seen.contains(&key), "{namespace:?} {name:?} has the key of another type");
            seen.push(key);
        }
        for damaged in ["", "a", "\0", "\u{0}a/b", "\u{0}1/ab", "\u{0}9/a/b", "\u{0}1/\u{e9}/b"] {
            assert_eq!(function_type(damaged), None, "{damaged:?}");
        }
    }
}
