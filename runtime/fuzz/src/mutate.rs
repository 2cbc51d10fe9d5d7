//! Makes an input that nobody wrote from one of the corpus: a few changes of bits, bytes, numbers and
//! spans, or a piece of another input. The same randomness makes the same input.

use fastrand::Rng;

/// Longest input, in bytes.
pub const INPUT_BYTES_MAX: usize = 64 << 10;
/// Changes of one input at most.
const CHANGES_MAX: usize = 8;
/// Bytes that parsers look for.
const TELLING: &[u8] = b"\0\x01\x7f\x80\xff \t\r\n:;,/%?&={}[]'\"-*&!|>#~@.0123456789aA";

/// A mutation of `input`; `other` lends pieces.
#[must_use]
pub fn mutate(input: &[u8], other: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.usize(1..=CHANGES_MAX) {
        change(&mut bytes, other, random);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    let at = random.usize(..=bytes.len());
    let span = |random: &mut Rng, length: usize| {
        let from = random.usize(..=length);
        from..(from + random.usize(..=32)).min(length)
    };
    match random.u8(..9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        1 if at < bytes.len() => bytes[at] = random.u8(..),
        2 if at < bytes.len() => bytes[at] = TELLING[random.usize(..TELLING.len())],
        3 => bytes.insert(at, TELLING[random.usize(..TELLING.len())]),
        4 => drop(bytes.drain(span(random, bytes.len()))),
        5 => {
            let copied = bytes[span(random, bytes.len())].to_vec();
            bytes.splice(at..at, copied);
        }
        6 => {
            let lent = other[span(random, other.len())].to_vec();
            bytes.splice(at..at, lent);
        }
        7 if at + 8 <= bytes.len() => {
            let numbers = [0, 1, u64::MAX, u64::MAX >> 1, 1 << 31, 1 << 32, 65_535];
            let number = numbers[random.usize(..numbers.len())];
            bytes[at..at + 8].copy_from_slice(&number.to_be_bytes());
        }
        8 if bytes.len() < INPUT_BYTES_MAX / 2 && random.u8(..16) == 0 => {
            bytes.extend_from_within(..);
        }
        _ => bytes.truncate(at),
    }
}
