//! Instances by number, with a state of a known size: values of 4 KB, and small records of which there
//! are many. A generator draws their numbers evenly, one after the other, or by Zipf's law. A state
//! holds its count and bytes that follow from a seed, so that one that is damaged is seen when it is
//! read back.

use std::sync::{Mutex, PoisonError};

use compact_str::{CompactString, format_compact};
use dormouse_sdk::protocol::TypedValue;
use dormouse_sdk::{
    BoxError, Bytes, Context, FunctionError, FunctionName, Message, State, ValueType, function,
};
use serde::{Deserialize, Serialize};

use crate::functions::generator::mix;
use crate::functions::{Read, payload};
use crate::load::traffic::PAYLOAD_BYTES;

/// Keeps values of [`VALUE_BYTES`].
pub(crate) const VALUE: &str = "bench/value";
pub(crate) const VALUE_BYTES: usize = 4_096;

/// Keeps records of [`RECORD_BYTES`].
pub(crate) const RECORD: &str = "bench/record";
pub(crate) const RECORD_BYTES: usize = 100;

/// The exponent of [`Draw::Zipf`].
pub(crate) const ZIPF: f64 = 0.99;

/// Count and seed at the front of a state.
const HEAD_BYTES: usize = 16;

static TO_VALUE: FunctionName = FunctionName::new(VALUE);
static TO_RECORD: FunctionName = FunctionName::new(RECORD);
static TO_SLEEPER: FunctionName = FunctionName::new(super::SLEEPER);

const STORED: State<Stored> = State::new("stored");

/// What instances are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Value,
    Record,
    Sleeper,
}

/// In which order their numbers come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Draw {
    /// Each from `from` to `to` once: generator `number` of `of` draws every `of`-th.
    Each { of: u64, from: u64, to: u64 },
    /// Any below `count`.
    Uniform { count: u64 },
    /// Below `count`, few of them very often.
    Zipf { count: u64 },
}

/// Draws numbers; message `n` of a generator always gets the same one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampler {
    draw: Draw,
    zipf: Option<&'static Zipf>,
}

/// What is known of a Zipf distribution beforehand (Gray et al., "Quickly generating billion-record
/// synthetic databases").
#[derive(Debug)]
struct Zipf {
    count: u64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

/// A state: count, seed, and bytes that follow from the seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored(Bytes);

/// What a message carries: the seed of the state that it leaves behind.
#[derive(Debug)]
struct Seed(Bytes);

impl Kind {
    pub(crate) fn function(self) -> &'static FunctionName {
        match self {
            Self::Value => &TO_VALUE,
            Self::Record => &TO_RECORD,
            Self::Sleeper => &TO_SLEEPER,
        }
    }

    /// Of an instance.
    pub(crate) fn id(self, number: u64) -> CompactString {
        format_compact!("s{number:08}")
    }

    /// A message: for a value no longer than it must be, since the value is what is measured.
    pub(crate) fn message(self, seed: u64) -> TypedValue {
        let length = match self {
            Self::Value => 8,
            Self::Record => PAYLOAD_BYTES,
            Self::Sleeper => return payload(),
        };
        let mut bytes = vec![0; length];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        TypedValue::new(Seed::TYPENAME, Bytes::from(bytes))
    }
}

impl Sampler {
    pub(crate) fn new(draw: Draw) -> Self {
        let zipf = match draw {
            Draw::Zipf { count } => Some(Zipf::of(count)),
            _ => None,
        };
        Self { draw, zipf }
    }

    /// The instance that message `n` of generator `number` goes to; `None` behind the last.
    pub(crate) fn draw(&self, number: u64, n: u64) -> Option<u64> {
        let random = || mix((number << 40).wrapping_add(n));
        match (self.draw, self.zipf) {
            (Draw::Each { of, from, to }, _) => {
                let instance = from + n * of + number;
                (instance < to).then_some(instance)
            }
            (Draw::Uniform { count }, _) => Some(random() % count),
            // Spread out, so that often drawn ones are not neighbours.
            (Draw::Zipf { count }, Some(zipf)) => Some(mix(zipf.rank(random())) % count),
            (Draw::Zipf { .. }, None) => None,
        }
    }
}

impl Zipf {
    /// Made once per number: it is a sum of as many terms.
    fn of(count: u64) -> &'static Self {
        static MADE: Mutex<Vec<&'static Zipf>> = Mutex::new(Vec::new());
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(zipf) = made.iter().find(|zipf| zipf.count == count) {
            return zipf;
        }
        let zeta_of = |count: u64| (1..=count).map(|i| (i as f64).powf(-ZIPF)).sum::<f64>();
        let (zeta, zeta_of_two) = (zeta_of(count), zeta_of(2));
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - ZIPF)) / (1.0 - zeta_of_two / zeta);
        let zipf = Box::leak(Box::new(Self { count, alpha: 1.0 / (1.0 - ZIPF), zeta, eta }));
        made.push(zipf);
        zipf
    }

    /// From 0, the most frequent one.
    fn rank(&self, random: u64) -> u64 {
        let u = (random >> 11) as f64 / (1_u64 << 53) as f64;
        let uz = u * self.zeta;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + 0.5_f64.powf(ZIPF) {
            return 1;
        }
        let rank = self.count as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count - 1)
    }
}

impl Stored {
    /// A state of `length` bytes.
    pub(crate) fn new(count: u64, seed: u64, length: usize) -> Self {
        let mut bytes = Vec::with_capacity(length + 8);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&seed.to_le_bytes());
        let mut word = 0;
        while bytes.len() < length {
            bytes.extend_from_slice(&mix(seed.wrapping_add(word)).to_le_bytes());
            word += 1;
        }
        bytes.truncate(length);
        Self(Bytes::from(bytes))
    }

    /// The count; `None` when the bytes are not what they must be.
    pub(crate) fn count(&self) -> Option<u64> {
        let (count, seed) = self.head()?;
        (*self == Self::new(count, seed, self.0.len())).then_some(count)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Count and seed, whatever follows them.
    pub(crate) fn head(&self) -> Option<(u64, u64)> {
        let head: &[u8; HEAD_BYTES] = self.0.first_chunk()?;
        let (count, seed) = head.split_first_chunk()?;
        Some((u64::from_le_bytes(*count), u64::from_le_bytes(seed.try_into().ok()?)))
    }
}

macro_rules! bytes_type {
    ($type:ident, $typename:literal) => {
        impl ValueType for $type {
            const TYPENAME: &'static str = $typename;

            fn encode(&self) -> Result<Bytes, BoxError> {
                Ok(self.0.clone())
            }

            fn decode(bytes: &Bytes) -> Result<Self, BoxError> {
                Ok(Self(bytes.clone()))
            }
        }
    };
}

bytes_type!(Stored, "bench/stored");
bytes_type!(Seed, "bench/seed");

async fn value(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    store(ctx, &message, VALUE_BYTES)
}

async fn record(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    store(ctx, &message, RECORD_BYTES)
}

function! { VALUE, states: [STORED], value }
function! { RECORD, states: [STORED], record }

fn store(ctx: &mut Context, message: &Message, length: usize) -> Result<(), FunctionError> {
    let stored = ctx.get_ref(&STORED)?;
    if message.is::<Read>() {
        let found = stored.map_or(Some(0), Stored::count);
        return ctx.reply(found.map_or("damaged".to_owned(), |count| count.to_string()));
    }
    let count = stored.and_then(Stored::head).map_or(0, |(count, _)| count);
    let seed: Seed = message.decode()?;
    let seed =
        seed.0.first_chunk().ok_or_else(|| FunctionError::new("a message without a seed"))?;
    let stored = Stored::new(count + 1, u64::from_le_bytes(*seed), length);
    ctx.set(&STORED, stored)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn each_instance_is_drawn_once() {
        let sampler = Sampler::new(Draw::Each { of: 3, from: 4, to: 14 });
        let drawn = |number| (0..).map_while(move |n| sampler.draw(number, n));
        let mut all: Vec<u64> = (0..3).flat_map(drawn).collect();
        all.sort_unstable();
        assert_eq!(all, (4..14).collect::<Vec<_>>());
        assert_eq!(Kind::Sleeper.id(7), "s00000007");
    }

    #[test]
    fn zipf_draws_as_its_law_says() {
        let sampler = Sampler::new(Draw::Zipf { count: 1_000 });
        let mut counts: HashMap<u64, u64> = HashMap::new();
        for n in 0..100_000 {
            *counts.entry(sampler.draw(1, n).unwrap()).or_default() += 1;
        }
        let mut counts: Vec<u64> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        // The sum of n^-0.99 up to 1,000 is 7.73: the first has 12.9 %, and 1.99 times the second.
        assert!((12_000..14_500).contains(&counts[0]), "{}", counts[0]);
        assert!((5_900..8_000).contains(&counts[1]), "{}", counts[1]);
        assert!(counts.len() > 550, "{}", counts.len());
    }

    #[test]
    fn a_changed_byte_of_a_state_is_seen() {
        for length in [RECORD_BYTES, VALUE_BYTES] {
            let stored = Stored::new(3, 77, length);
            assert_eq!(stored.0.len(), length);
            assert_eq!(stored.count(), Some(3));
            let mut bytes = stored.0.to_vec();
            bytes[length - 1] ^= 1;
            assert_eq!(Stored(Bytes::from(bytes)).count(), None);
        }
    }
}
