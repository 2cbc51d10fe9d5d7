//! What a function answers: a `FromFunction` put together.

use super::request::Value;
use super::{field, number};

/// When a state expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    Never,
    /// So many milliseconds after it was written.
    AfterWrite(u64),
    /// So many milliseconds after the last call.
    AfterCall(u64),
}

/// `FromFunction` that says which states are missing: name, typename and expiration.
#[must_use]
pub fn missing(states: &[(&str, &str, Expires)]) -> Vec<u8> {
    let specs = states.iter().map(|(name, typename, expires)| {
        let expiration = match expires {
            Expires::Never => Vec::new(),
            Expires::AfterWrite(millis) => [number(1, 1), number(2, *millis)].concat(),
            Expires::AfterCall(millis) => [number(1, 2), number(2, *millis)].concat(),
        };
        let name = field(1, name.as_bytes());
        field(1, &[name, field(2, &expiration), field(3, typename.as_bytes())].concat())
    });
    field(101, &specs.collect::<Vec<_>>().concat())
}

/// The effects of an invocation, in the order in which they are added: protobuf allows any order
/// between fields of different numbers.
#[derive(Clone, Debug, Default)]
pub struct Effects(Vec<u8>);

impl Effects {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A message; `target` is `namespace/name/id`.
    #[must_use]
    pub fn send(self, target: &str, value: &Value) -> Self {
        self.with(2, &[field(1, &address(target)), field(2, &value.encoded())].concat())
    }

    /// A message without an argument.
    #[must_use]
    pub fn send_nothing(self, target: &str) -> Self {
        self.with(2, &field(1, &address(target)))
    }

    /// A delayed message; an empty token is none. A negative delay is written as protobuf does.
    #[must_use]
    pub fn after(self, millis: i64, token: &str, target: &str, value: &Value) -> Self {
        let delay = number(1, millis.cast_unsigned());
        let parts = [delay, field(2, &address(target)), field(3, &value.encoded()), named(token)];
        self.with(3, &parts.concat())
    }

    /// A cancellation.
    #[must_use]
    pub fn cancel(self, token: &str) -> Self {
        self.with(3, &[number(10, 1), named(token)].concat())
    }

    /// A record for an egress, `namespace/name`.
    #[must_use]
    pub fn egress(self, egress: &str, value: &Value) -> Self {
        let (namespace, name) = egress.split_once('/').unwrap_or((egress, ""));
        let id = [field(1, namespace.as_bytes()), field(2, name.as_bytes())].concat();
        self.with(4, &[id, field(3, &value.encoded())].concat())
    }

    /// A record for the playground's egress.
    #[must_use]
    pub fn record(self, topic: &str, payload: &str) -> Self {
        let json = format!(r#"{{"topic": "{topic}", "payload": "{payload}"}}"#);
        let value = Value::new("io.statefun.playground/EgressRecord", json);
        self.egress("io.statefun.playground/egress", &value)
    }

    /// A new value of a state.
    #[must_use]
    pub fn set(self, state: &str, value: &Value) -> Self {
        self.change(1, state, Some(value))
    }

    /// A state without a value from now on.
    #[must_use]
    pub fn delete(self, state: &str) -> Self {
        self.change(0, state, None)
    }

    /// A change of any kind: 0 deletes, 1 sets, nothing else is known.
    #[must_use]
    pub fn change(self, kind: u64, state: &str, value: Option<&Value>) -> Self {
        let value = value.map(|value| field(3, &value.encoded())).unwrap_or_default();
        self.with(1, &[number(1, kind), field(2, state.as_bytes()), value].concat())
    }

    /// `FromFunction`.
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        field(100, &self.0)
    }

    fn with(mut self, number: u32, content: &[u8]) -> Self {
        self.0.extend(field(number, content));
        self
    }
}

fn named(token: &str) -> Vec<u8> {
    if token.is_empty() { Vec::new() } else { field(11, token.as_bytes()) }
}

fn address(text: &str) -> Vec<u8> {
    let mut parts = text.splitn(3, '/');
    let mut next = || parts.next().unwrap_or_default();
    super::address(next(), next(), next())
}
