//! The protocol's messages as bytes, made and read by hand: the tests hold the SDKs and `dormouse`
//! against the same bytes without sharing code with either. [`request`] is what functions get,
//! [`answer`] what they answer.

pub mod answer;
pub mod request;

use anyhow::{Context as _, Result, bail};

/// `ToFunction` for example/person/Bob with the string "Bob", no caller and no state; made with
/// `protoc --encode` from StateFun's files.
pub const PERSON_WITHOUT_STATE: &str = "a2063f0a160a076578616d706c651206706572736f6e1a03426f621a2512230a18696f2e737461746566756e2e7479\
     7065732f737472696e6710011a050a03426f62";

/// The same with a registered state `visits` that has no value.
pub const PERSON_WITH_UNSET_STATE: &str = "a206490a160a076578616d706c651206706572736f6e1a03426f6212080a067669736974731a2512230a18696f2e73\
     7461746566756e2e74797065732f737472696e6710011a050a03426f62";

/// The same with `visits` = int 0, present and empty, and the caller example/x/1.
pub const PERSON_WITH_EMPTY_STATE_AND_CALLER: &str = "a206750a160a076578616d706c651206706572736f6e1a03426f6212230a0676697369747312190a15696f2e737461\
     746566756e2e74797065732f696e7410011a360a0f0a076578616d706c651201781a013112230a18696f2e73746174\
     6566756e2e74797065732f737472696e6710011a050a03426f62";

/// `FromFunction`: `visits`, an int, is missing; with an empty expiration, as Python and Go send it.
pub const VISITS_MISSING: &str =
    "aa06230a210a0676697369747312001a15696f2e737461746566756e2e74797065732f696e74";

/// The same without an expiration, as Java and JavaScript send it.
pub const VISITS_MISSING_SHORT: &str =
    "aa06210a1f0a067669736974731a15696f2e737461746566756e2e74797065732f696e74";

/// `FromFunction`: a result without effects.
pub const NO_EFFECTS: &str = "a20600";

pub const STRING: &str = "io.statefun.types/string";
pub const INT: &str = "io.statefun.types/int";

/// Bytes of a text of hexadecimal digits; white space is skipped.
#[must_use]
pub fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    let pairs = digits.chunks_exact(2);
    pairs.map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap_or_default()).collect()
}

/// A field with a length: text, bytes or a message.
#[must_use]
pub fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut encoded = varint(u64::from(number) << 3 | 2);
    encoded.extend(varint(content.len() as u64));
    encoded.extend_from_slice(content);
    encoded
}

/// A field that is a number.
#[must_use]
pub fn number(number: u32, value: u64) -> Vec<u8> {
    [varint(u64::from(number) << 3), varint(value)].concat()
}

/// `Address`.
#[must_use]
pub fn address(namespace: &str, name: &str, id: &str) -> Vec<u8> {
    [field(1, namespace.as_bytes()), field(2, name.as_bytes()), field(3, id.as_bytes())].concat()
}

/// `TypedValue` that is present.
#[must_use]
pub fn typed_value(typename: &str, value: &[u8]) -> Vec<u8> {
    [field(1, typename.as_bytes()), vec![0x10, 1], field(3, value)].concat()
}

/// `StringWrapper`; an empty text is no bytes at all.
#[must_use]
pub fn string(text: &str) -> Vec<u8> {
    if text.is_empty() { Vec::new() } else { field(1, text.as_bytes()) }
}

/// `IntWrapper`; zero is no bytes at all.
#[must_use]
pub fn int(value: i32) -> Vec<u8> {
    if value == 0 {
        return Vec::new();
    }
    [&[0x0d][..], &value.to_le_bytes()].concat()
}

/// An invocation of example/person/Bob with a greet request; `visits` is registered, and holds what
/// is given.
#[must_use]
pub fn greet_request(visits: Option<i32>) -> Vec<u8> {
    let target = field(1, &address("example", "person", "Bob"));
    let value = visits.map(|count| field(2, &typed_value(INT, &int(count))));
    let state = field(2, &[field(1, b"visits"), value.unwrap_or_default()].concat());
    let argument = field(2, &typed_value("example/GreetRequest", br#"{"name": "Bob"}"#));
    field(100, &[target, state, field(3, &argument)].concat())
}

/// The change of `visits` that a visit asks for.
#[must_use]
pub fn visits_modified(visits: i32) -> Vec<u8> {
    let value = field(3, &typed_value(INT, &int(visits)));
    field(1, &[vec![0x08, 1], field(2, b"visits"), value].concat())
}

/// The content of the only field of this number.
pub fn only(message: &[u8], number: u64) -> Result<&[u8]> {
    fields(message, number)?.first().copied().with_context(|| format!("no field {number}"))
}

/// The contents of all fields of this number that have a length.
pub fn fields(mut message: &[u8], number: u64) -> Result<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        match key & 7 {
            0 => drop(take_varint(&mut message)?),
            2 => {
                let length = usize::try_from(take_varint(&mut message)?)?;
                let (content, rest) = message.split_at_checked(length).context("cut off")?;
                message = rest;
                if key >> 3 == number {
                    found.push(content);
                }
            }
            other => bail!("wire type {other}"),
        }
    }
    Ok(found)
}

/// The text of a `TypedValue` that holds a string.
pub fn text(value: &[u8]) -> Result<String> {
    let inner = fields(value, 3)?;
    let text = inner.first().map(|inner| fields(inner, 1)).transpose()?;
    let bytes = text.and_then(|found| found.first().copied()).unwrap_or_default();
    Ok(std::str::from_utf8(bytes)?.to_owned())
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut encoded = Vec::new();
    while value >= 0x80 {
        encoded.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    encoded.push(value as u8);
    encoded
}

fn take_varint(message: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = message.split_first().context("cut off")?;
        *message = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number without an end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hand_made_encoding_gives_the_bytes_of_protoc() {
        let argument = field(2, &typed_value(STRING, &string("Bob")));
        let target = field(1, &address("example", "person", "Bob"));
        let request = field(100, &[target, field(3, &argument)].concat());
        assert_eq!(request, bytes(PERSON_WITHOUT_STATE));
    }
}
