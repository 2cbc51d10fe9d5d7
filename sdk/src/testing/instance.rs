//! The instance under test: its messages, its state, its clock.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use dormouse_protocol::partition::{HTTP_NAMESPACE, REPLY_NAME};
use dormouse_protocol::{
    Address, Delayed, Effects, EntryReader, FunctionType, Invocation, InvokeError, Message,
    Response, StateSpec, TypedValue,
};

use super::block_on;
use super::outcome::{Failure, Outcome, Sent};
use super::rows::Rows;
use crate::batch::{Batch, guard};
use crate::buffer::Buffer;
use crate::context::{Context, IntoAddress};
use crate::error::FunctionError;
use crate::key::TableKey;
use crate::metrics::Noted;
use crate::registry::{FunctionDescriptor, registered_function, registered_functions};
use crate::state::State;
use crate::table::{Cursor, Table};
use crate::value::{IntoValue, ValueType, encode};

/// Delayed messages that one [`Instance::advance`] brings: beyond it the function would never rest.
const DUE_MAX: usize = 10_000;

/// One instance of a function that is linked into the test.
#[derive(Debug)]
pub struct Instance {
    function: &'static FunctionDescriptor,
    address: Address,
    now_ms: u64,
    rows: Rows,
    /// By due time; those for one moment come in the order sent.
    delayed: BTreeMap<(u64, u64), Scheduled>,
    /// Delayed messages sent so far.
    scheduled: u64,
}

#[derive(Clone, Debug)]
struct Scheduled {
    token: Option<String>,
    sent: Sent,
}

/// A message for the instance.
#[derive(Clone, Debug)]
pub struct Incoming {
    value: TypedValue,
    caller: Option<Address>,
}

/// A delayed message whose time has come.
#[derive(Debug)]
pub struct Due {
    /// The message.
    pub sent: Sent,
    /// What the instance did with it, when it has sent it to itself.
    pub outcome: Option<Result<Outcome, Failure>>,
}

impl Incoming {
    /// A message from outside. Panics when the value has no form in bytes.
    #[must_use]
    #[track_caller]
    pub fn new(value: impl IntoValue) -> Self {
        Self { value: value.into_value().expect("a value"), caller: None }
    }

    /// The same from a function.
    #[must_use]
    #[track_caller]
    pub fn from(self, caller: impl IntoAddress) -> Self {
        Self { caller: Some(caller.into_address().expect("a caller")), ..self }
    }
}

impl Instance {
    /// The instance `id` of a function that the test links; without state, at time 0. Panics when there
    /// is no such function.
    #[must_use]
    #[track_caller]
    pub fn of(function: &str, id: &str) -> Self {
        let function_type = FunctionType::parse(function).expect("a function type");
        let Some(descriptor) = registered_function(function_type) else {
            let linked: Vec<_> = registered_functions().iter().map(|linked| linked.name).collect();
            panic!("no function {function} is linked into this test; linked are {linked:?}");
        };
        Self {
            function: descriptor,
            address: Address::new(function_type, id),
            now_ms: 0,
            rows: Rows::new(descriptor.specs()),
            delayed: BTreeMap::new(),
            scheduled: 0,
        }
    }

    /// Gives it a message from outside.
    pub fn receive(&mut self, value: impl IntoValue) -> Result<Outcome, Failure> {
        block_on(self.handle(vec![Incoming::new(value)]))
    }

    /// Gives it a message from a function.
    pub fn receive_from(
        &mut self,
        caller: impl IntoAddress,
        value: impl IntoValue,
    ) -> Result<Outcome, Failure> {
        block_on(self.handle(vec![Incoming::new(value).from(caller)]))
    }

    /// Gives it a request whose sender waits for the reply: see [`Outcome::reply`].
    pub fn ask(&mut self, value: impl IntoValue) -> Result<Outcome, Failure> {
        let caller = Address::new(FunctionType::new(HTTP_NAMESPACE, REPLY_NAME), "test.1");
        self.receive_from(caller, value)
    }

    /// Gives it a batch of messages: all of them count, or none. For functions that wait for something of
    /// tokio (a timer, a socket), in a test that runs on tokio; the others do the same without `await`.
    pub async fn handle(&mut self, messages: Vec<Incoming>) -> Result<Outcome, Failure> {
        assert!(!messages.is_empty(), "a call has at least one message");
        let callers = messages.iter().filter_map(|incoming| incoming.caller.clone()).collect();
        loop {
            let noted = Noted::default();
            let invocation = self.invocation(&messages);
            let reader = invocation.entries.clone();
            let mut batch = Batch::new(invocation);
            batch.context.metrics.noted = Some(Arc::clone(&noted));
            let running = (self.function.run)(batch);
            match self.with_reads(running, reader.as_ref()).await {
                Ok(Response::Incomplete(wanted)) => self.name_states(wanted),
                Ok(Response::Effects(effects)) => {
                    let metrics = noted.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let outcome = Outcome::new(callers, &effects, &self.rows.specs, metrics);
                    self.apply(*effects);
                    return Ok(outcome);
                }
                Err(InvokeError { message, retry_after }) => {
                    return Err(Failure { message, retry_after });
                }
            }
        }
    }

    /// Moves its clock. Brings it the delayed messages to itself that become due on the way, in order,
    /// each at its time; those to others only come back. Panics when a function never rests.
    pub fn advance(&mut self, by: Duration) -> Vec<Due> {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let until_ms = self.now_ms.saturating_add(by_ms);
        let mut all = Vec::new();
        while let Some(next) = self.delayed.first_entry() {
            let (due_ms, _) = *next.key();
            if due_ms > until_ms {
                break;
            }
            assert!(all.len() < DUE_MAX, "{} sends itself messages without end", self.address);
            let Scheduled { sent, .. } = next.remove();
            self.now_ms = self.now_ms.max(due_ms);
            let is_own = sent.target == self.address;
            let own = || Incoming { value: sent.value.clone(), caller: Some(self.address.clone()) };
            let own = is_own.then(own);
            let outcome = own.map(|incoming| block_on(self.handle(vec![incoming])));
            all.push(Due { sent, outcome });
        }
        self.now_ms = until_ms;
        all
    }

    /// The delayed messages that are not due yet, with the time until they are, in the order in which they
    /// will be.
    #[must_use]
    pub fn pending(&self) -> Vec<(Duration, &Sent)> {
        let left = |due_ms: u64| Duration::from_millis(due_ms.saturating_sub(self.now_ms));
        let pending = self.delayed.iter();
        pending.map(|((due_ms, _), scheduled)| (left(*due_ms), &scheduled.sent)).collect()
    }

    /// The value of a state, unless it is unset or has expired. Panics when it does not read.
    #[must_use]
    #[track_caller]
    pub fn get<T: ValueType>(&self, state: &State<T>) -> Option<T> {
        if !state.declaration().is_late {
            self.check(&state.declaration().spec());
        }
        let bytes = self.rows.value(state.name(), self.now_ms)?;
        let value = T::decode(bytes);
        Some(value.unwrap_or_else(|error| panic!("state `{}`: {error}", state.name())))
    }

    /// Gives a state a value, as if the function had written it now.
    #[track_caller]
    pub fn set<T: ValueType>(&mut self, state: &State<T>, value: &T) {
        let value = encode(value).expect("a value that can be written");
        let spec = state.declaration().spec();
        if state.declaration().is_late {
            self.name_states_if_new(spec.clone());
        }
        self.check(&spec);
        let at = self.rows.specs.iter().position(|known| known.name == spec.name);
        let spec = u16::try_from(at.expect("checked")).expect("few states");
        let mutation = dormouse_protocol::StateMutation { spec, value: Some(value) };
        self.rows.write([mutation].into_iter().collect(), self.now_ms);
    }

    /// The entries of a table, in the order of their keys.
    #[must_use]
    #[track_caller]
    pub fn entries<K: TableKey, V: ValueType>(&mut self, table: &Table<K, V>) -> Vec<(K, V)> {
        let table = *table;
        self.with_context(async |ctx| {
            let (mut all, mut cursor) = (Vec::new(), Cursor::new());
            while let Some(page) = ctx.table(&table).page(&mut cursor).await? {
                all.extend(page);
            }
            Ok(all)
        })
    }

    /// The elements of a buffer, in order.
    #[must_use]
    #[track_caller]
    pub fn elements<T: ValueType>(&mut self, buffer: &Buffer<T>) -> Vec<T> {
        let buffer = *buffer;
        self.with_context(async |ctx| {
            let (mut all, mut cursor) = (Vec::new(), Cursor::new());
            while let Some(page) = ctx.buffer(&buffer).page(&mut cursor).await? {
                all.extend(page);
            }
            Ok(all)
        })
    }

    /// Does something with the instance's states as its function could, to prepare a test or to look
    /// into tables. What it writes is kept; nothing else that it does has an effect. Panics when it fails.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "a closure is written where it is used")]
    pub fn with_context<R>(
        &mut self,
        work: impl AsyncFn(&mut Context) -> Result<R, FunctionError>,
    ) -> R {
        loop {
            let invocation = self.invocation(&[]);
            let reader = invocation.entries.clone();
            let mut batch = Batch::new(invocation);
            batch.context.metrics.noted = Some(Noted::default());
            let mut found = None;
            let outcome = {
                let run = std::pin::pin!(async {
                    found = Some(work(&mut batch.context).await?);
                    batch.context.seal()?;
                    Ok(())
                });
                block_on(self.with_reads(std::pin::pin!(guard(run)), reader.as_ref()))
            };
            match batch.finish(outcome) {
                Ok(Response::Incomplete(wanted)) => self.name_states(wanted),
                Ok(Response::Effects(effects)) => {
                    self.write(*effects);
                    return found.expect("it has ended well");
                }
                Err(error) => panic!("{}: {error}", self.address),
            }
        }
    }

    /// Runs a call, and answers what it asks of tables and buffers.
    async fn with_reads<F: Future + Unpin>(
        &mut self,
        mut running: F,
        reader: Option<&EntryReader>,
    ) -> F::Output {
        poll_fn(|cx| {
            loop {
                let polled = Pin::new(&mut running).poll(cx);
                let Some((reader, read)) = reader.and_then(|r| Some((r, r.take()?))) else {
                    return polled;
                };
                reader.answer(self.rows.read(&read, self.now_ms));
            }
        })
        .await
    }

    fn invocation(&mut self, messages: &[Incoming]) -> Invocation {
        let message = |incoming: &Incoming| {
            Arc::new(Message {
                target: self.address.clone(),
                caller: incoming.caller.clone(),
                value: incoming.value.clone(),
            })
        };
        let messages = messages.iter().map(message).collect();
        let has_entries = self.rows.specs.iter().any(|spec| spec.has_entries);
        Invocation {
            target: self.address.clone(),
            state: self.rows.values(self.now_ms),
            specs: Arc::clone(&self.rows.specs),
            messages,
            entries: has_entries.then(EntryReader::default),
        }
    }

    fn name_states(&mut self, wanted: Vec<StateSpec>) {
        let added = self.rows.add_specs(wanted);
        assert!(added > 0, "{} asks for states that it was given", self.address);
    }

    fn name_states_if_new(&mut self, spec: StateSpec) {
        self.rows.add_specs(vec![spec]);
    }

    #[track_caller]
    fn check(&self, asked: &StateSpec) {
        let known = self.rows.specs.iter().find(|spec| spec.name == asked.name);
        let Some(known) = known else {
            panic!("function {} does not have a state `{}`", self.function.name, asked.name);
        };
        let (name, known) = (&asked.name, &known.typename);
        assert_eq!(known, &asked.typename, "state `{name}` is of the type on the left");
    }

    fn apply(&mut self, mut effects: Effects) {
        for effect in std::mem::take(&mut effects.delayed) {
            match effect {
                Delayed::Send { delay_ms, target, value, token } => {
                    let token = token.map(|token| token.to_string());
                    if token.is_some() {
                        self.delayed.retain(|_, scheduled| scheduled.token != token);
                    }
                    let due_ms = self.now_ms.saturating_add(delay_ms);
                    let scheduled = Scheduled { token, sent: Sent { target, value } };
                    self.delayed.insert((due_ms, self.scheduled), scheduled);
                    self.scheduled += 1;
                }
                Delayed::Cancel { token } => {
                    let is_other = |other: &Option<String>| other.as_deref() != Some(&*token);
                    self.delayed.retain(|_, scheduled| is_other(&scheduled.token));
                }
            }
        }
        self.write(effects);
    }

    fn write(&mut self, effects: Effects) {
        self.rows.write(effects.state, self.now_ms);
        if let Some(entries) = effects.entries {
            self.rows.write_entries(*entries, self.now_ms);
        }
    }
}
