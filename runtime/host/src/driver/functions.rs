//! The functions of one shard: made when the first message for a type arrives, called for the engine,
//! their answers checked before the engine sees them.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use compact_str::CompactString;
use dormouse_engine::{Catalog, Completed, Declared, Fate, InvocationId};
use dormouse_protocol::{
    Delayed, Effects, EntryReader, FailurePolicy, FunctionType, ID_BYTES_MAX, Invocation,
    InvokeError, Response, TOKEN_BYTES_MAX,
};
use dormouse_sdk::function::{Function, InvokeFuture};
use rustc_hash::FxHashMap;

use crate::driver::inbox::Local;
use crate::driver::lane::LaneState;
use crate::driver::process::{Process, QUEUE_SEPARATOR};
use crate::metrics::{FunctionMetrics, ShardMetrics};
use crate::stall::pulse::LongestCall;

/// Longest `<namespace>/<name>` of a target, in bytes.
const TYPE_BYTES_MAX: usize = 4_096;

/// Log lines per shard on types that nobody serves; functions can make up any number of them.
const UNSERVED_LINES_MAX: usize = 100;

/// Longest name of an egress queue with its egress's id, in bytes: it is part of a key.
const OUTBOX_BYTES_MAX: usize = 250;

/// Function objects by the index of their type.
#[derive(Debug)]
pub(crate) struct FunctionTable {
    process: Arc<Process>,
    metrics: Arc<ShardMetrics>,
    entries: Vec<Option<Entry>>,
    outboxes: FxHashMap<String, Arc<str>>,
    /// Types that were said to be unserved.
    unserved: usize,
}

#[derive(Debug)]
struct Entry {
    function: Result<Box<dyn Function>, InvokeError>,
    /// Whether its invocations read entries of tables and buffers.
    has_entries: bool,
    /// Whether its states are known only by calling it: each call goes elsewhere, and waits for that.
    is_remote: bool,
    metrics: Arc<FunctionMetrics>,
}

/// The engine's view of the table.
#[derive(Clone, Debug)]
pub(crate) struct SharedTable(pub(crate) Rc<RefCell<FunctionTable>>);

impl Catalog for SharedTable {
    fn declare(&mut self, function_type: FunctionType) -> Declared {
        let mut table = self.0.borrow_mut();
        match table.entry(function_type) {
            None => {
                table.say_unserved(function_type);
                Declared::Unserved
            }
            Some(Entry { function: Ok(function), .. }) => {
                Declared::Served { specs: function.specs() }
            }
            Some(_) => Declared::Served { specs: None },
        }
    }

    fn failure_policy(&mut self, function_type: FunctionType) -> FailurePolicy {
        self.0.borrow().process.functions.failure(function_type)
    }
}

impl FunctionTable {
    pub(crate) fn new(process: Arc<Process>, metrics: Arc<ShardMetrics>) -> Self {
        Self { process, metrics, entries: Vec::new(), outboxes: FxHashMap::default(), unserved: 0 }
    }

    fn entry(&mut self, function_type: FunctionType) -> Option<&Entry> {
        let index = function_type.index();
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, || None);
        }
        if self.entries[index].is_none() {
            let provider = self.process.functions.provider(function_type)?;
            let function = provider.function(function_type);
            let metrics = self.metrics.function(function_type);
            let specs = function.as_ref().ok().and_then(|function| function.specs());
            let has_entries = specs.iter().flatten().any(|spec| spec.has_entries);
            let is_remote = function.is_ok() && specs.is_none();
            self.entries[index] = Some(Entry { function, has_entries, is_remote, metrics });
        }
        self.entries[index].as_ref()
    }

    /// Asked once per type: by a message that a function sent, or by one that an earlier process left.
    fn say_unserved(&mut self, function_type: FunctionType) {
        if self.unserved == UNSERVED_LINES_MAX {
            return;
        }
        self.unserved += 1;
        tracing::warn!(
            function = %function_type,
            "nobody serves {function_type}: its addresses are blocked, and their messages wait in the \
             store for a start with a manifest that serves it"
        );
    }

    /// Starts an invocation. One that may read entries has a reader.
    pub(crate) fn invoke(&mut self, id: InvocationId, mut invocation: Invocation) -> Call {
        let function_type = invocation.target.function_type;
        let messages = invocation.messages.len() as u64;
        let instance = CompactString::default();
        let failed = |error| Box::pin(std::future::ready(Err(error)));
        let Some(entry) = self.entry(function_type) else {
            let error = InvokeError::new(format!("no function is registered for {function_type}"));
            let (future, reader, is_remote) = (failed(error), None, false);
            return Call { id, function_type, instance, future, reader, is_remote };
        };
        entry.metrics.invocations.add(1);
        entry.metrics.messages.add(messages);
        let (reader, is_remote) = (entry.has_entries.then(EntryReader::default), entry.is_remote);
        let future: InvokeFuture = match &entry.function {
            Ok(function) => {
                invocation.entries.clone_from(&reader);
                function.invoke(invocation)
            }
            Err(error) => failed(error.clone()),
        };
        Call { id, function_type, instance, future, reader, is_remote }
    }

    /// Checks what a function answered; what does not hold is its failure.
    pub(crate) fn check(
        &mut self,
        function_type: FunctionType,
        answer: Result<Response, InvokeError>,
    ) -> Result<Completed, InvokeError> {
        let checked = match answer {
            Ok(Response::Effects(effects)) => self.check_effects(effects),
            Ok(Response::Incomplete(specs)) => {
                if specs.iter().any(|spec| spec.has_entries) {
                    self.give_entries(function_type);
                }
                Ok(Completed::Incomplete(specs))
            }
            Err(error) => Err(error),
        };
        if let Some(entry) = self.entry(function_type) {
            let counts = &entry.metrics;
            if checked.is_ok() { &counts.ended } else { &counts.failures }.add(1);
        }
        checked
    }

    /// A function has named a table or buffer while it ran: from now on it can read such.
    fn give_entries(&mut self, function_type: FunctionType) {
        if let Some(Some(entry)) = self.entries.get_mut(function_type.index()) {
            entry.has_entries = true;
        }
    }

    /// Counts a message that was given up.
    pub(crate) fn given_up(&mut self, function_type: FunctionType, fate: Fate) {
        if let Some(entry) = self.entry(function_type) {
            match fate {
                Fate::DeadLetter { .. } => entry.metrics.dead_letters.add(1),
                Fate::Dropped => entry.metrics.dropped.add(1),
            }
        }
    }

    fn check_effects(&mut self, effects: Box<Effects>) -> Result<Completed, InvokeError> {
        for (target, _) in &effects.messages {
            check_target(target)?;
        }
        for delayed in &effects.delayed {
            match delayed {
                Delayed::Send { target, token, .. } => {
                    check_target(target)?;
                    token.as_deref().map_or(Ok(()), check_token)?;
                }
                Delayed::Cancel { token } => check_token(token)?,
            }
        }
        let mut outboxes = Vec::with_capacity(effects.egress.len());
        for record in &effects.egress {
            let Some(egress) = self.process.egresses.get(&record.egress) else {
                return Err(InvokeError::new(format!(
                    "Unknown egress {}; the manifest binds {}",
                    record.egress,
                    names(&self.process)
                )));
            };
            let queue = egress.check(&record.value).map_err(|reason| {
                InvokeError::new(format!("egress {}: {reason}", record.egress))
            })?;
            let outbox = match queue.as_str() {
                "" => record.egress.to_string(),
                queue => format!("{}{QUEUE_SEPARATOR}{queue}", record.egress),
            };
            if outbox.len() > OUTBOX_BYTES_MAX {
                return Err(InvokeError::new(format!(
                    "egress {}: the queue's name is longer than {OUTBOX_BYTES_MAX} bytes with the id",
                    record.egress
                )));
            }
            outboxes.push(self.outbox(outbox));
        }
        Ok(Completed::Effects { effects, outboxes })
    }

    /// One shared name per queue: few are in use at a time.
    fn outbox(&mut self, name: String) -> Arc<str> {
        if let Some(known) = self.outboxes.get(&name) {
            return known.clone();
        }
        if self.outboxes.len() >= 10_000 {
            self.outboxes.clear();
        }
        let shared: Arc<str> = Arc::from(name.as_str());
        self.outboxes.insert(name, shared.clone());
        shared
    }
}

fn names(process: &Process) -> String {
    if process.egresses.is_empty() {
        return "none".to_owned();
    }
    process.egresses.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn check_target(target: &dormouse_protocol::Address) -> Result<(), InvokeError> {
    if target.id.len() > ID_BYTES_MAX {
        let len = target.id.len();
        return Err(InvokeError::new(format!(
            "a message to {} has an id of {len} bytes; at most {ID_BYTES_MAX} are possible",
            target.function_type
        )));
    }
    if target.function_type.as_str().len() > TYPE_BYTES_MAX {
        return Err(InvokeError::new(format!(
            "a message to a function type of more than {TYPE_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

fn check_token(token: &str) -> Result<(), InvokeError> {
    if token.len() <= TOKEN_BYTES_MAX {
        return Ok(());
    }
    Err(InvokeError::new(format!(
        "a cancellation token of {} bytes: at most {TOKEN_BYTES_MAX} are possible",
        token.len()
    )))
}

/// Polls an invocation for the first time. Most in-process functions are ready then, and never become
/// a task; a panic is the function's failure.
pub(crate) fn poll_once(future: &mut InvokeFuture) -> Poll<Result<Response, InvokeError>> {
    poll_caught(future.as_mut(), &mut Context::from_waker(Waker::noop()))
}

fn poll_caught(
    future: Pin<&mut (dyn Future<Output = Result<Response, InvokeError>> + 'static)>,
    context: &mut Context<'_>,
) -> Poll<Result<Response, InvokeError>> {
    let polled = std::panic::catch_unwind(AssertUnwindSafe(|| future.poll(context)));
    polled.unwrap_or_else(|_| {
        Poll::Ready(Err(InvokeError::new("the function panicked; see standard error")))
    })
}

/// An invocation under way.
pub(crate) struct Call {
    pub(crate) id: InvocationId,
    pub(crate) function_type: FunctionType,
    /// The id of its address, once it waits.
    pub(crate) instance: CompactString,
    pub(crate) future: InvokeFuture,
    pub(crate) reader: Option<EntryReader>,
    /// It is never ready at once.
    pub(crate) is_remote: bool,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, function_type, .. } = self;
        f.debug_struct("Call").field("id", id).field("function_type", function_type).finish()
    }
}

/// Goes on with a call as a task of the shard's thread.
pub(crate) fn spawn(lane: Rc<LaneState>, table: SharedTable, call: Call) {
    let Call { id, function_type, instance, mut future, reader, .. } = call;
    let started = Instant::now();
    let pulse = lane.process.pulses[lane.index].clone();
    tokio::task::spawn_local(async move {
        let call = LongestCall { function_type, id: instance };
        let number = lane.begin_call(call.clone());
        let answer = std::future::poll_fn(|context| {
            pulse.enter_id(function_type, call.id.as_bytes());
            let polled = poll_caught(future.as_mut(), context);
            pulse.leave();
            if polled.is_pending()
                && let Some(read) = reader.as_ref().and_then(EntryReader::take)
            {
                lane.push(Local::Read { id, read });
            }
            polled
        });
        let answer = answer.await;
        lane.end_call(number);
        drop(future);
        let result = table.0.borrow_mut().check(function_type, answer);
        let nanos = started.elapsed().as_nanos() as u64;
        lane.push(Local::Done { id, result, nanos });
    });
}
