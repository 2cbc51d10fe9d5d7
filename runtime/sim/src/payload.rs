//! What the messages and states of the simulated application hold.

use bytes::Bytes;
use dormouse_protocol::{Expiration, StateSpec, TypedValue};

/// A message's bytes: its id says everything else, see `History`; filled up to a seeded length.
#[must_use]
pub fn message(id: u64, padding: usize) -> TypedValue {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.resize(8 + padding, 0xaa);
    TypedValue::new("sim/message", bytes)
}

/// A number at the front of some bytes: a message's id, a run's id.
#[must_use]
pub fn number(bytes: &[u8]) -> Option<u64> {
    let first = bytes.get(..8)?;
    Some(first.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
}

/// The state that every address keeps: which run wrote it, how many messages were applied, and the
/// money that is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub run: u64,
    pub applied: u64,
    pub balance: i64,
}

impl Ledger {
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut bytes = self.run.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.applied.to_be_bytes());
        bytes.extend_from_slice(&self.balance.to_be_bytes());
        bytes.into()
    }

    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            run: number(bytes)?,
            applied: number(bytes.get(8..)?)?,
            balance: number(bytes.get(16..)?)? as i64,
        })
    }
}

pub const LEDGER: &str = "ledger";
pub const WRITTEN: &str = "written";
pub const INVOKED: &str = "invoked";

/// The tables: rows of one stay for good, of one they expire after writes, of one after their last use.
pub const TABLES: [&str; 3] = ["kept rows", "written rows", "used rows"];

/// The states of every function: one for good, one that expires after writes, one after invocations;
/// then the tables, if there are any.
#[must_use]
pub fn specs(ttl_ms: u64, has_tables: bool) -> Vec<StateSpec> {
    let (written, used) = (Expiration::AfterWrite(ttl_ms), Expiration::AfterInvoke(ttl_ms));
    let values = [(LEDGER, Expiration::Never), (WRITTEN, written), (INVOKED, used)];
    let tables = TABLES.into_iter().zip([Expiration::Never, written, used]);
    let spec = |(name, expiration): (&str, Expiration), has_entries| StateSpec {
        name: name.into(),
        typename: format!("sim/{name}").into(),
        expiration,
        has_entries,
    };
    let mut specs: Vec<_> = values.into_iter().map(|value| spec(value, false)).collect();
    if has_tables {
        specs.extend(tables.map(|table| spec(table, true)));
    }
    specs
}
