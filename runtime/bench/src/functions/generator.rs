//! Load from inside: a generator sends a batch of messages, then goes on by a message that comes back
//! to it. It remembers how many it has sent, and what it sends follows from that number alone, so
//! that afterwards every counter can be held to the count that it must have.

use std::sync::OnceLock;

use compact_str::{CompactString, format_compact};
use dormouse_sdk::protocol::partition::partition_of;
use dormouse_sdk::protocol::{Address, FunctionType, TypedValue};
use dormouse_sdk::{
    BoxError, Bytes, Context, FunctionError, FunctionName, Message, State, ValueType, function,
};
use serde::{Deserialize, Serialize};

use crate::functions::instances::{Draw, Kind, Sampler};
use crate::functions::payload;
use crate::rows::counter::KEYS;
use crate::rows::{PARTITIONS, SHARDS};

pub(crate) const GENERATOR: &str = "bench/generator";

/// The id that all messages of [`Pattern::Hot`] go to.
pub(crate) const HOT: &str = "hot";

/// Messages that a generator sends before it goes on.
pub(crate) const BATCH: u64 = 128;

static COUNTER: FunctionName = FunctionName::new(super::COUNTER);
static LEAF: FunctionName = FunctionName::new(super::LEAF);
static PACER: FunctionName = FunctionName::new("bench/pacer");

const SENT: State<i64> = State::new("sent");
const HALTED: State<bool> = State::new("halted");

/// What a generator does; it carries its order along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) pattern: Pattern,
    /// Makes generators differ.
    pub(crate) number: u64,
    /// Address ids that its own message visits on the way back, if any. A message that goes through
    /// another shard waits there behind the batch, so that no shard runs away from the others.
    pub(crate) via: Option<String>,
}

/// Who gets the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Pattern {
    /// Counters with any key.
    Uniform,
    /// Counters with keys of one shard.
    OwnShard(usize),
    /// One counter.
    Hot,
    /// Functions without a state, with keys of one shard.
    Leaves(usize),
    /// Instances by number.
    Instances { kind: Kind, draw: Draw },
}

/// Who gets the messages of a generator, prepared.
#[derive(Debug)]
pub(crate) struct Targets<'o> {
    order: &'o Order,
    sampler: Option<Sampler>,
}

dormouse_sdk::json_type!(Order, "bench/order");

/// Ends a generator; it replies with the number of messages that it has sent.
#[derive(Debug)]
pub(crate) struct Halt;

impl ValueType for Halt {
    const TYPENAME: &'static str = "bench/halt";

    fn encode(&self) -> Result<Bytes, BoxError> {
        Ok(Bytes::new())
    }

    fn decode(_: &Bytes) -> Result<Self, BoxError> {
        Ok(Self)
    }
}

async fn generator(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    let sent = ctx.get(&SENT)?.unwrap_or(0);
    if message.is::<Halt>() {
        ctx.set(&HALTED, true)?;
        return ctx.reply(sent.to_string());
    }
    if ctx.get(&HALTED)?.unwrap_or(false) {
        return Ok(());
    }
    let order: Order = message.decode()?;
    let first = sent as u64;
    let mut next = first;
    let targets = Targets::of(&order);
    while next < first + BATCH {
        let Some(id) = targets.id(next) else { break };
        ctx.send((order.pattern.function(), id), order.message(next))?;
        next += 1;
    }
    ctx.set(&SENT, next as i64)?;
    if next < first + BATCH {
        return Ok(());
    }
    match &order.via {
        None => ctx.send(ctx.address().clone(), message),
        Some(id) => ctx.send((&PACER, id.as_str()), message),
    }
}

/// Sends what it gets back to where it came from.
async fn pacer(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    ctx.reply(message)
}

function! { GENERATOR, states: [SENT, HALTED], generator }
function! { "bench/pacer", pacer }

impl Pattern {
    /// Whom the messages go to.
    pub(crate) fn function(self) -> &'static FunctionName {
        match self {
            Self::Uniform | Self::OwnShard(_) | Self::Hot => &COUNTER,
            Self::Leaves(_) => &LEAF,
            Self::Instances { kind, .. } => kind.function(),
        }
    }
}

impl Order {
    fn message(&self, n: u64) -> TypedValue {
        match self.pattern {
            Pattern::Instances { kind, .. } => kind.message((self.number << 40).wrapping_add(n)),
            _ => payload(),
        }
    }
}

impl<'o> Targets<'o> {
    pub(crate) fn of(order: &'o Order) -> Self {
        let sampler = match order.pattern {
            Pattern::Instances { draw, .. } => Some(Sampler::new(draw)),
            _ => None,
        };
        Self { order, sampler }
    }

    /// Where message `n` goes; `None` behind the last one.
    pub(crate) fn id(&self, n: u64) -> Option<CompactString> {
        let Order { pattern, number, .. } = *self.order;
        let ids = match pattern {
            Pattern::Hot => return Some(CompactString::const_new(HOT)),
            Pattern::Instances { kind, .. } => {
                let instance = self.sampler?.draw(number, n)?;
                return Some(kind.id(instance));
            }
            Pattern::OwnShard(shard) | Pattern::Leaves(shard) => &keys().by_shard[shard],
            Pattern::Uniform => &keys().all,
        };
        let random = mix((number << 40).wrapping_add(n));
        Some(ids[(random % ids.len() as u64) as usize].clone())
    }
}

/// A number that looks drawn by chance (the finisher of splitmix64).
pub(crate) fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

struct Keys {
    all: Vec<CompactString>,
    by_shard: Vec<Vec<CompactString>>,
}

fn keys() -> &'static Keys {
    static KEYS_MADE: OnceLock<Keys> = OnceLock::new();
    KEYS_MADE.get_or_init(|| {
        let all: Vec<CompactString> = (0..KEYS).map(|key| format_compact!("k{key:06}")).collect();
        let mut by_shard = vec![Vec::new(); SHARDS];
        for id in &all {
            by_shard[shard_of(id)].push(id.clone());
        }
        Keys { all, by_shard }
    })
}

/// The shard that an id lives on, as servers of these benchmarks are started.
pub(crate) fn shard_of(id: &str) -> usize {
    let address = Address::new(FunctionType::new("bench", "counter"), id);
    usize::from(partition_of(&address, PARTITIONS).0) % SHARDS
}

/// The `n`-th id with this prefix that lives on `shard`.
pub(crate) fn id_on(shard: usize, prefix: &str, n: usize) -> String {
    let ids = (0..).map(|i: usize| format!("{prefix}{i}"));
    ids.filter(|id| shard_of(id) == shard).nth(n).expect("half of endless ids live on a shard")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(pattern: Pattern, number: u64) -> Order {
        Order { pattern, number, via: None }
    }

    #[test]
    fn keys_are_spread_and_repeatable() {
        let uniform = order(Pattern::Uniform, 3);
        let draw = |order| (0..1_000).flat_map(|n| Targets::of(order).id(n)).collect::<Vec<_>>();
        let drawn = draw(&uniform);
        assert_eq!(drawn, draw(&uniform));
        let mut distinct = drawn.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 950);
        assert_ne!(draw(&order(Pattern::Uniform, 4)), drawn);
    }

    #[test]
    fn own_keys_live_on_the_shard() {
        for shard in 0..SHARDS {
            let order = order(Pattern::OwnShard(shard), 1);
            for n in 0..100 {
                assert_eq!(shard_of(&Targets::of(&order).id(n).unwrap()), shard);
            }
            assert_eq!(shard_of(&id_on(shard, "g", 2)), shard);
        }
    }

    #[test]
    fn an_order_reads_as_it_was_written() {
        let order = Order { pattern: Pattern::OwnShard(1), number: 7, via: Some("p1".to_owned()) };
        let bytes = order.encode().unwrap();
        assert_eq!(Order::decode(&bytes).unwrap(), order);
    }
}
