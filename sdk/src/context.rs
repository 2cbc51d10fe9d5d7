//! What a function does: read and write its states, send messages now or later, hand records to
//! egresses. Effects are collected and applied together once the whole batch has succeeded.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use compact_str::CompactString;
use dormouse_protocol::{
    Address, Delayed, Effects, EgressRecord, FunctionType, ID_BYTES_MAX, Invocation,
    ParseTypeNameError, Response, StateSpec, TypeName,
};

use crate::buffer::{Buffer, BufferElements};
use crate::cells::{Cells, StateError};
use crate::entries::Entries;
use crate::error::FunctionError;
use crate::key::TableKey;
use crate::message::Message;
use crate::metrics::{Changes, Counter, Gauge, Histogram, MetricError};
use crate::state::State;
use crate::table::{Table, TableEntries};
use crate::value::{IntoValue, ValueType};

/// A function's way to the world, for one batch of messages to one address.
#[derive(Debug)]
pub struct Context {
    target: Address,
    cells: Cells,
    pub(crate) entries: Entries,
    effects: Effects,
    pub(crate) metrics: Changes,
    /// The message that is being handled.
    current: Option<Arc<dormouse_protocol::Message>>,
}

/// The type of a function, to be declared as a `static`: what it stands for is looked up once.
///
/// ```
/// use dormouse_sdk::FunctionName;
///
/// static GREETER: FunctionName = FunctionName::new("example/greeter");
/// ```
#[derive(Debug)]
pub struct FunctionName {
    text: &'static str,
    function_type: OnceLock<Result<FunctionType, ParseTypeNameError>>,
}

/// Why something cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// A target or egress whose name is no type name.
    #[error(transparent)]
    Name(#[from] ParseTypeNameError),
    /// An id that is too long.
    #[error("an id of {0} bytes: at most {ID_BYTES_MAX} are allowed")]
    Id(usize),
    /// There is nobody to reply to.
    #[error("the message has no caller to reply to: it came from an ingress")]
    NoCaller,
    /// A token without a character.
    #[error("a cancellation token must not be empty")]
    EmptyToken,
}

/// Where a message can go: an [`Address`], or a pair of function type (a [`FunctionName`], a
/// [`FunctionType`] or its text) and id.
pub trait IntoAddress {
    /// The address.
    fn into_address(self) -> Result<Address, SendError>;
}

impl Context {
    pub(crate) fn new(invocation: Invocation) -> (Self, dormouse_protocol::Batch) {
        let entries = Entries::new(&invocation);
        let context = Self {
            entries,
            target: invocation.target,
            cells: Cells::new(invocation.specs, invocation.state),
            effects: Effects::default(),
            metrics: Changes::default(),
            current: None,
        };
        (context, invocation.messages)
    }

    /// The address that runs.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.target
    }

    /// The id of the address that runs.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.target.id
    }

    /// Who sent the message; one from an ingress has no caller, unless somebody waits for a reply.
    #[must_use]
    pub fn caller(&self) -> Option<&Address> {
        self.current.as_ref()?.caller.as_ref()
    }

    /// The state's value; `None` when it is unset, removed or expired.
    pub fn get<T: ValueType + Clone>(&mut self, state: &State<T>) -> Result<Option<T>, StateError> {
        self.cells.get(state)
    }

    /// The state's value without a copy of it, for large ones.
    pub fn get_ref<T: ValueType>(&mut self, state: &State<T>) -> Result<Option<&T>, StateError> {
        self.cells.get_ref(state)
    }

    /// Gives the state a value. It is written once, at the end of the batch.
    pub fn set<T: ValueType>(&mut self, state: &State<T>, value: T) -> Result<(), StateError> {
        self.cells.put(state, Some(value))
    }

    /// Takes the state's value away.
    pub fn remove<T: ValueType>(&mut self, state: &State<T>) -> Result<(), StateError> {
        self.cells.put(state, None)
    }

    /// A table, to read and write its entries.
    pub fn table<K: TableKey, V: ValueType>(
        &mut self,
        table: &Table<K, V>,
    ) -> TableEntries<'_, K, V> {
        table.open(self)
    }

    /// A buffer, to read and append its elements.
    pub fn buffer<T: ValueType>(&mut self, buffer: &Buffer<T>) -> BufferElements<'_, T> {
        buffer.open(self)
    }

    /// Adds to a counter of this function. Like all effects, it counts once the batch has succeeded.
    pub fn count(&mut self, counter: &Counter, more: u64) -> Result<(), MetricError> {
        self.metrics.count(counter, self.target.function_type, more)
    }

    /// Sets a gauge of this function, once the batch has succeeded.
    pub fn gauge(&mut self, gauge: &Gauge, value: f64) -> Result<(), MetricError> {
        self.metrics.set(gauge, self.target.function_type, value)
    }

    /// Adds to a gauge of this function, or takes from it, once the batch has succeeded.
    pub fn gauge_add(&mut self, gauge: &Gauge, more: f64) -> Result<(), MetricError> {
        self.metrics.adjust(gauge, self.target.function_type, more)
    }

    /// Puts a value into a histogram of this function, once the batch has succeeded.
    pub fn observe(&mut self, histogram: &Histogram, value: f64) -> Result<(), MetricError> {
        self.metrics.observe(histogram, self.target.function_type, value)
    }

    /// Sends a message to a function.
    pub fn send(
        &mut self,
        target: impl IntoAddress,
        value: impl IntoValue,
    ) -> Result<(), FunctionError> {
        let message = (target.into_address()?, value.into_value()?);
        self.effects.messages.push(message);
        Ok(())
    }

    /// Sends a message to whoever sent this one; an error when nobody did.
    pub fn reply(&mut self, value: impl IntoValue) -> Result<(), FunctionError> {
        let caller = self.caller().ok_or(SendError::NoCaller)?.clone();
        self.send(caller, value)
    }

    /// Sends a message after at least this delay (whole milliseconds; a rest is cut off).
    pub fn send_after(
        &mut self,
        delay: Duration,
        target: impl IntoAddress,
        value: impl IntoValue,
    ) -> Result<(), FunctionError> {
        self.delay(delay, target.into_address()?, value, None)
    }

    /// Like [`Context::send_after`]; [`Context::cancel`] with the same token, by a function with the
    /// same id, takes the message back before it is due.
    pub fn send_after_with_token(
        &mut self,
        delay: Duration,
        token: impl Into<CompactString>,
        target: impl IntoAddress,
        value: impl IntoValue,
    ) -> Result<(), FunctionError> {
        let token = checked(token.into())?;
        self.delay(delay, target.into_address()?, value, Some(token))
    }

    /// Takes back the delayed message that holds this token, if it is still there.
    pub fn cancel(&mut self, token: impl Into<CompactString>) -> Result<(), FunctionError> {
        let token = checked(token.into())?;
        self.effects.delayed.push(Delayed::Cancel { token });
        Ok(())
    }

    /// Hands a record to an egress (`<namespace>/<name>`).
    pub fn send_egress(
        &mut self,
        egress: &str,
        value: impl IntoValue,
    ) -> Result<(), FunctionError> {
        let record = EgressRecord { egress: TypeName::parse(egress)?, value: value.into_value()? };
        self.effects.egress.push(record);
        Ok(())
    }

    fn delay(
        &mut self,
        delay: Duration,
        target: Address,
        value: impl IntoValue,
        token: Option<CompactString>,
    ) -> Result<(), FunctionError> {
        self.effects.delayed.push(Delayed::Send {
            delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            target,
            value: value.into_value()?,
            token,
        });
        Ok(())
    }

    /// The message that is about to be handled.
    pub(crate) fn begin(&mut self, message: Arc<dormouse_protocol::Message>) -> Message {
        self.current = Some(Arc::clone(&message));
        Message::new(message)
    }

    /// The typename of the message that is being handled.
    pub(crate) fn message_type(&self) -> Option<&str> {
        Some(&self.current.as_ref()?.value.typename)
    }

    /// Encodes the states: after it the effects are complete.
    pub(crate) fn seal(&mut self) -> Result<(), StateError> {
        self.effects.state = self.cells.mutations()?;
        self.entries.seal(&mut self.effects);
        Ok(())
    }

    /// States that were named while the function ran and that it was not given.
    pub(crate) fn wanted(&mut self) -> Vec<StateSpec> {
        let mut wanted = std::mem::take(&mut self.cells.wanted);
        wanted.append(&mut self.entries.wanted);
        wanted
    }

    pub(crate) fn take_response(&mut self) -> Response {
        std::mem::take(&mut self.metrics).apply();
        Response::Effects(Box::new(std::mem::take(&mut self.effects)))
    }
}

fn checked(token: CompactString) -> Result<CompactString, SendError> {
    if token.is_empty() {
        return Err(SendError::EmptyToken);
    }
    Ok(token)
}

impl FunctionName {
    /// The type with this name (`<namespace>/<name>`).
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self { text: crate::private::type_name(text), function_type: OnceLock::new() }
    }

    /// The name as written.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        self.text
    }

    fn function_type(&self) -> Result<FunctionType, ParseTypeNameError> {
        self.function_type.get_or_init(|| FunctionType::parse(self.text)).clone()
    }
}

impl IntoAddress for Address {
    fn into_address(self) -> Result<Address, SendError> {
        if self.id.len() > ID_BYTES_MAX {
            return Err(SendError::Id(self.id.len()));
        }
        Ok(self)
    }
}

impl IntoAddress for &Address {
    fn into_address(self) -> Result<Address, SendError> {
        self.clone().into_address()
    }
}

impl<I: Into<CompactString>> IntoAddress for (FunctionType, I) {
    fn into_address(self) -> Result<Address, SendError> {
        Address::new(self.0, self.1).into_address()
    }
}

impl<I: Into<CompactString>> IntoAddress for (&FunctionName, I) {
    fn into_address(self) -> Result<Address, SendError> {
        (self.0.function_type()?, self.1).into_address()
    }
}

impl<I: Into<CompactString>> IntoAddress for (&str, I) {
    fn into_address(self) -> Result<Address, SendError> {
        (FunctionType::parse(self.0)?, self.1).into_address()
    }
}
