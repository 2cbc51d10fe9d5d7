//! Requests to functions as bytes, made by hand: the tests hold the SDKs and `dormouse` against the
//! same bytes without sharing code with either.

/// `ToFunction` for example/person/Bob with the string "Bob", no caller and no state; made with
/// `protoc --encode` from StateFun's files.
pub const PERSON_WITHOUT_STATE: &str = "a2063f0a160a076578616d706c651206706572736f6e1a03426f621a2512230a18696f2e737461746566756e2e7479\
     7065732f737472696e6710011a050a03426f62";

/// The answer to it: `visits`, an int, is missing; with an empty expiration, as Python and Go send it.
pub const VISITS_MISSING: &str =
    "aa06230a210a0676697369747312001a15696f2e737461746566756e2e74797065732f696e74";

/// The same without an expiration, as Java and JavaScript send it.
pub const VISITS_MISSING_SHORT: &str =
    "aa06210a1f0a067669736974731a15696f2e737461746566756e2e74797065732f696e74";

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

/// An invocation of example/person/Bob with a greet request; `visits` is registered, and holds what
/// is given.
#[must_use]
pub fn greet_request(visits: Option<i32>) -> Vec<u8> {
    let target = field(1, &address("example", "person", "Bob"));
    let value = visits.map(|count| field(2, &typed_value("io.statefun.types/int", &int(count))));
    let state = field(2, &[field(1, b"visits"), value.unwrap_or_default()].concat());
    let argument = field(2, &typed_value("example/GreetRequest", br#"{"name": "Bob"}"#));
    field(100, &[target, state, field(3, &argument)].concat())
}

/// The change of `visits` that a visit asks for.
#[must_use]
pub fn visits_modified(visits: i32) -> Vec<u8> {
    let value = field(3, &typed_value("io.statefun.types/int", &int(visits)));
    field(1, &[vec![0x08, 1], field(2, b"visits"), value].concat())
}

/// `IntWrapper`; zero is no bytes at all.
fn int(value: i32) -> Vec<u8> {
    if value == 0 {
        return Vec::new();
    }
    [&[0x0d][..], &value.to_le_bytes()].concat()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hand_made_encoding_gives_the_bytes_of_protoc() {
        let argument = field(2, &typed_value("io.statefun.types/string", &field(1, b"Bob")));
        let target = field(1, &address("example", "person", "Bob"));
        let request = field(100, &[target, field(3, &argument)].concat());
        assert_eq!(request, bytes(PERSON_WITHOUT_STATE));
    }
}
