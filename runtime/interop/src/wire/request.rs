//! What a function gets: a `ToFunction` taken apart.

use std::fmt;

use anyhow::{Context as _, Result};

use super::{field, fields, int, only, string, take_varint, typed_value};

/// A value with its type. What protobuf leaves out is told apart: a value may be present and empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    pub typename: String,
    pub has_value: bool,
    pub bytes: Vec<u8>,
}

/// One message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// `namespace/name/id`, if there is one.
    pub caller: Option<String>,
    pub argument: Value,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `namespace/name/id`.
    pub target: String,
    /// Every registered state by name, with its value if it has one.
    pub states: Vec<(String, Option<Value>)>,
    pub invocations: Vec<Invocation>,
}

impl Value {
    #[must_use]
    pub fn new(typename: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { typename: typename.to_owned(), has_value: true, bytes: bytes.into() }
    }

    #[must_use]
    pub fn string(text: &str) -> Self {
        Self::new(super::STRING, string(text))
    }

    #[must_use]
    pub fn int(value: i32) -> Self {
        Self::new(super::INT, int(value))
    }

    /// The text of a string; of anything else nothing.
    #[must_use]
    pub fn text(&self) -> String {
        super::text(&field(3, &self.bytes)).unwrap_or_default()
    }

    /// `TypedValue`.
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        if self.has_value {
            return typed_value(&self.typename, &self.bytes);
        }
        field(1, self.typename.as_bytes())
    }

    fn read(message: &[u8]) -> Result<Self> {
        let typename = fields(message, 1)?.first().copied().unwrap_or_default();
        Ok(Self {
            typename: std::str::from_utf8(typename)?.to_owned(),
            has_value: flag(message, 2)?,
            bytes: fields(message, 3)?.first().copied().unwrap_or_default().to_vec(),
        })
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { typename, has_value, bytes } = self;
        write!(f, "{typename} {has_value} {bytes:02x?}")
    }
}

impl Batch {
    /// Reads a `ToFunction`.
    pub fn read(body: &[u8]) -> Result<Self> {
        let batch = only(body, 100)?;
        let mut states = Vec::new();
        for state in fields(batch, 2)? {
            let name = std::str::from_utf8(only(state, 1)?)?.to_owned();
            let value = fields(state, 2)?.first().map(|value| Value::read(value)).transpose()?;
            states.push((name, value));
        }
        let mut invocations = Vec::new();
        for invocation in fields(batch, 3)? {
            let caller =
                fields(invocation, 1)?.first().map(|caller| address(caller)).transpose()?;
            let argument = Value::read(only(invocation, 2)?)?;
            invocations.push(Invocation { caller, argument });
        }
        Ok(Self { target: address(only(batch, 1)?)?, states, invocations })
    }

    /// The texts of all messages.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.invocations.iter().map(|invocation| invocation.argument.text()).collect()
    }

    /// A registered state; the inner `None` is one without a value.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<Option<&Value>> {
        let found = self.states.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_ref())
    }

    /// The names of the registered states, sorted: their order means nothing.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.states.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }
}

fn address(message: &[u8]) -> Result<String> {
    let part = |number| -> Result<String> {
        let text = fields(message, number)?.first().copied().unwrap_or_default();
        Ok(std::str::from_utf8(text)?.to_owned())
    };
    Ok(format!("{}/{}/{}", part(1)?, part(2)?, part(3)?))
}

/// Whether a field that is a bool is there and true.
fn flag(mut message: &[u8], number: u64) -> Result<bool> {
    let mut value = false;
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        let content = take_varint(&mut message)?;
        if key & 7 == 2 {
            let (_, rest) = message.split_at_checked(usize::try_from(content)?).context("cut")?;
            message = rest;
        } else if key >> 3 == number {
            value = content == 1;
        }
    }
    Ok(value)
}
