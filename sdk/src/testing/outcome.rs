//! What a call did, in a form that tests compare and that reads well when they fail.

use std::fmt;
use std::time::Duration;

use dormouse_protocol::{Address, Delayed, Effects, StateSpec, TypedValue, types};

use crate::context::IntoAddress;
use crate::metrics::{Counter, Gauge, Histogram, Op};
use crate::value::{IntoValue, ValueType, decode_value};

/// Bytes of a value that a failing test shows.
const SHOWN_BYTES_MAX: usize = 200;

/// A message that a function has sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Sent {
    /// Where it goes.
    pub target: Address,
    /// What it says.
    pub value: TypedValue,
}

/// A delayed message that a function has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayedSend {
    /// How long it waits at least.
    pub delay: Duration,
    /// What it can be cancelled with.
    pub token: Option<String>,
    /// The message.
    pub sent: Sent,
}

/// A record that a function has handed to an egress.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The egress's id.
    pub egress: String,
    /// The record.
    pub value: TypedValue,
}

/// The effects of a call that succeeded.
#[derive(Clone, Debug)]
pub struct Outcome {
    callers: Vec<Address>,
    sent: Vec<Sent>,
    delayed: Vec<DelayedSend>,
    cancelled: Vec<String>,
    records: Vec<Record>,
    changed: Vec<String>,
    metrics: Vec<(&'static str, Op)>,
}

/// A call that failed: nothing of it counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the log would say.
    pub message: String,
    /// How long the function asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// A message to compare with. Panics when it cannot be sent.
#[must_use]
#[track_caller]
pub fn sent(target: impl IntoAddress, value: impl IntoValue) -> Sent {
    let target = target.into_address().expect("a target");
    Sent { target, value: value.into_value().expect("a value") }
}

/// A record to compare with. Panics when it has no form in bytes.
#[must_use]
#[track_caller]
pub fn record(egress: &str, value: impl IntoValue) -> Record {
    Record { egress: egress.to_owned(), value: value.into_value().expect("a value") }
}

impl Outcome {
    pub(super) fn new(
        callers: Vec<Address>,
        effects: &Effects,
        specs: &[StateSpec],
        metrics: Vec<(&'static str, Op)>,
    ) -> Self {
        let sent = |target: &Address, value: &TypedValue| Sent {
            target: target.clone(),
            value: value.clone(),
        };
        let (mut delayed, mut cancelled) = (Vec::new(), Vec::new());
        for effect in &effects.delayed {
            match effect {
                Delayed::Send { delay_ms, target, value, token } => delayed.push(DelayedSend {
                    delay: Duration::from_millis(*delay_ms),
                    token: token.as_ref().map(ToString::to_string),
                    sent: sent(target, value),
                }),
                Delayed::Cancel { token } => cancelled.push(token.to_string()),
            }
        }
        let records = effects.egress.iter().map(|record| Record {
            egress: record.egress.to_string(),
            value: record.value.clone(),
        });
        Self {
            callers,
            sent: effects.messages.iter().map(|(target, value)| sent(target, value)).collect(),
            delayed,
            cancelled,
            records: records.collect(),
            changed: changed(effects, specs),
            metrics,
        }
    }

    /// Messages to functions and callers, in the order sent.
    #[must_use]
    pub fn sent(&self) -> &[Sent] {
        &self.sent
    }

    /// What was sent to whoever sent the messages of this call.
    #[must_use]
    pub fn replies(&self) -> Vec<&TypedValue> {
        let replies = self.sent.iter().filter(|sent| self.callers.contains(&sent.target));
        replies.map(|sent| &sent.value).collect()
    }

    /// The one reply. Panics when there is none, or there are several, or it is of another type.
    #[must_use]
    #[track_caller]
    pub fn reply<T: ValueType>(&self) -> T {
        match self.replies().as_slice() {
            [reply] => decode_value(reply)
                .unwrap_or_else(|error| panic!("the reply {}: {error}", shown(reply))),
            replies => {
                panic!("expected one reply, found {}; sent were {:?}", replies.len(), self.sent)
            }
        }
    }

    /// Delayed messages, in the order sent.
    #[must_use]
    pub fn delayed(&self) -> &[DelayedSend] {
        &self.delayed
    }

    /// Tokens whose messages were taken back.
    #[must_use]
    pub fn cancelled(&self) -> &[String] {
        &self.cancelled
    }

    /// Records for egresses, in the order sent.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Names of the states that were written, removed or cleared, each once, sorted.
    #[must_use]
    pub fn changed(&self) -> &[String] {
        &self.changed
    }

    /// By how much the counter grew.
    #[must_use]
    pub fn counted(&self, counter: &Counter) -> u64 {
        let ops = self.ops(counter.name());
        ops.map(|op| if let Op::Count(more) = op { more } else { 0 }).sum()
    }

    /// What the gauge was last set to; `None` when it was not set.
    #[must_use]
    pub fn gauged(&self, gauge: &Gauge) -> Option<f64> {
        let ops = self.ops(gauge.name());
        ops.filter_map(|op| if let Op::Set(value) = op { Some(value) } else { None }).last()
    }

    /// By how much the gauge was moved.
    #[must_use]
    pub fn adjusted(&self, gauge: &Gauge) -> f64 {
        let ops = self.ops(gauge.name());
        ops.map(|op| if let Op::Adjust(more) = op { more } else { 0.0 }).sum()
    }

    /// The values that the histogram was given.
    #[must_use]
    pub fn observed(&self, histogram: &Histogram) -> Vec<f64> {
        let ops = self.ops(histogram.name());
        ops.filter_map(|op| if let Op::Observe(value) = op { Some(value) } else { None }).collect()
    }

    fn ops(&self, name: &str) -> impl Iterator<Item = Op> {
        self.metrics.iter().filter(move |(other, _)| *other == name).map(|(_, op)| *op)
    }
}

impl Sent {
    /// The value as this type. Panics when it is of another one.
    #[must_use]
    #[track_caller]
    pub fn decode<T: ValueType>(&self) -> T {
        decode_value(&self.value).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

impl Record {
    /// The value as this type. Panics when it is of another one.
    #[must_use]
    #[track_caller]
    pub fn decode<T: ValueType>(&self) -> T {
        decode_value(&self.value).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sent({} <- {})", self.target, shown(&self.value))
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} <- {})", self.egress, shown(&self.value))
    }
}

fn changed(effects: &Effects, specs: &[StateSpec]) -> Vec<String> {
    let values = effects.state.iter().map(|mutation| mutation.spec);
    let entries = effects.entries.iter().flat_map(|entries| {
        let changes = entries.changes.iter().map(|change| change.spec);
        changes.chain(entries.cleared.iter().map(|cleared| cleared.spec))
    });
    let names = values.chain(entries).map(|spec| specs[usize::from(spec)].name.to_string());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A value for people.
fn shown(value: &TypedValue) -> String {
    let bytes = &value.value;
    let text = match value.typename.as_str() {
        types::STRING => types::decode_string(bytes).map(|text| format!("{text:?}")).ok(),
        types::INT => types::decode_int(bytes).map(|number| number.to_string()).ok(),
        types::LONG => types::decode_long(bytes).map(|number| number.to_string()).ok(),
        types::BOOL => types::decode_bool(bytes).map(|truth| truth.to_string()).ok(),
        types::FLOAT => types::decode_float(bytes).map(|number| number.to_string()).ok(),
        types::DOUBLE => types::decode_double(bytes).map(|number| number.to_string()).ok(),
        _ => None,
    };
    let text = text.unwrap_or_else(|| {
        let end = bytes.len().min(SHOWN_BYTES_MAX);
        let dots = if end < bytes.len() { "..." } else { "" };
        match std::str::from_utf8(&bytes[..end]) {
            Ok(text) if !text.chars().any(char::is_control) => format!("{text}{dots}"),
            _ => format!("{}{dots}", bytes[..end].escape_ascii()),
        }
    });
    format!("{} {text}", value.typename)
}
