//! The runtime itself: functions, their states and mailboxes, and the lanes into it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use compact_str::{CompactString, format_compact};
use dormouse_protocol::partition::{HTTP_NAMESPACE, REPLY_NAME};
use dormouse_protocol::{
    Address, Delayed, Effects, FunctionType, Invocation, Message, Partition, Response, StateSpec,
    TypedValue,
};
use dormouse_sdk::egress::{Confirmations, EgressEntry, Receipt};
use dormouse_sdk::function::Function;
use dormouse_sdk::ingress::{Admission, Lane, LaneBackend, LocalFuture, Reply, SubmitError};
use dormouse_sdk::registered_functions;
use tokio::sync::{oneshot, watch};

/// A runtime that serves every function that is linked into the test.
#[derive(Clone, Debug)]
pub struct Memory(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    functions: HashMap<FunctionType, Registered>,
    instances: RefCell<HashMap<Address, Instance>>,
    replies: RefCell<HashMap<CompactString, oneshot::Sender<TypedValue>>>,
    next_reply: Cell<u64>,
    delayed: RefCell<Vec<(u64, Message)>>,
    submitted: RefCell<Vec<Message>>,
    failed: RefCell<Vec<String>>,
    admitted: Cell<usize>,
    admitted_max: Cell<usize>,
    admission_limit: watch::Sender<usize>,
    durable: watch::Sender<bool>,
    /// Until when requests in flight should have been answered.
    stopped: watch::Sender<Option<Instant>>,
}

#[derive(Debug)]
struct Registered {
    function: Box<dyn Function>,
    specs: Arc<[StateSpec]>,
}

#[derive(Debug, Default)]
struct Instance {
    state: Vec<Option<Bytes>>,
    mailbox: VecDeque<Arc<Message>>,
    running: bool,
}

impl Memory {
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it starts something")]
    pub fn new() -> Self {
        let functions = registered_functions().into_iter().map(|descriptor| {
            let function_type = FunctionType::parse(descriptor.name).expect("a function type");
            let specs = descriptor.specs().into();
            (function_type, Registered { function: Box::new(*descriptor), specs })
        });
        Self(Rc::new(Inner {
            functions: functions.collect(),
            instances: RefCell::default(),
            replies: RefCell::default(),
            next_reply: Cell::new(0),
            delayed: RefCell::default(),
            submitted: RefCell::default(),
            failed: RefCell::default(),
            admitted: Cell::new(0),
            admitted_max: Cell::new(0),
            admission_limit: watch::Sender::new(usize::MAX),
            durable: watch::Sender::new(true),
            stopped: watch::Sender::new(None),
        }))
    }

    /// Lane number `index` of `count`.
    #[must_use]
    pub fn lane(&self, index: usize, count: usize) -> Lane {
        Lane::new(Rc::new(MemoryLane { memory: self.clone(), index, count }))
    }

    /// Whether what is submitted becomes durable.
    pub fn set_durable(&self, durable: bool) {
        self.0.durable.send_replace(durable);
    }

    /// Stops all lanes; requests in flight should be answered within `grace`.
    pub fn stop(&self, grace: Duration) {
        self.0.stopped.send_replace(Some(Instant::now() + grace));
    }

    /// Bytes that may be admitted at a time.
    pub fn set_admission_limit(&self, bytes: usize) {
        self.0.admission_limit.send_replace(bytes);
    }

    /// Bytes admitted now, and the most that ever were at a time.
    #[must_use]
    pub fn admitted(&self) -> (usize, usize) {
        (self.0.admitted.get(), self.0.admitted_max.get())
    }

    /// Whether somebody waits to be admitted.
    #[must_use]
    pub fn is_admission_awaited(&self) -> bool {
        self.0.admission_limit.receiver_count() > 0
    }

    /// The messages that ingresses have submitted and that were accepted.
    #[must_use]
    pub fn submitted(&self) -> Vec<Message> {
        self.0.submitted.borrow().clone()
    }

    /// Replies that are still waited for.
    #[must_use]
    pub fn waiting_replies(&self) -> usize {
        self.0.replies.borrow().len()
    }

    /// Why invocations failed.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        self.0.failed.borrow().clone()
    }

    /// Delivers all delayed messages now; answers their delays in milliseconds.
    #[must_use]
    pub fn fire_delayed(&self) -> Vec<u64> {
        let delayed = self.0.delayed.take();
        let delays = delayed.iter().map(|(delay, _)| *delay).collect();
        delayed.into_iter().for_each(|(_, message)| self.deliver(message));
        delays
    }

    fn deliver(&self, message: Message) {
        let target = message.target.clone();
        if is_reply(target.function_type) {
            if let Some(waiting) = self.0.replies.borrow_mut().remove(&target.id) {
                let _ = waiting.send(message.value);
            }
            return;
        }
        if !self.0.functions.contains_key(&target.function_type) {
            return;
        }
        let mut instances = self.0.instances.borrow_mut();
        let instance = instances.entry(target.clone()).or_default();
        instance.mailbox.push_back(Arc::new(message));
        if !instance.running {
            instance.running = true;
            let memory = self.clone();
            tokio::task::spawn_local(async move { memory.run(&target).await });
        }
    }

    async fn run(&self, target: &Address) {
        let registered = &self.0.functions[&target.function_type];
        while let Some(invocation) = self.next(target, &registered.specs) {
            match registered.function.invoke(invocation).await {
                Ok(Response::Effects(effects)) => self.apply(target, *effects),
                Ok(Response::Incomplete(missing)) => {
                    self.0.failed.borrow_mut().push(format!("{missing:?} is missing"));
                }
                Err(error) => self.0.failed.borrow_mut().push(error.message),
            }
        }
    }

    fn next(&self, target: &Address, specs: &Arc<[StateSpec]>) -> Option<Invocation> {
        let mut instances = self.0.instances.borrow_mut();
        let instance = instances.get_mut(target)?;
        if instance.mailbox.is_empty() {
            instance.running = false;
            return None;
        }
        instance.state.resize(specs.len(), None);
        Some(Invocation {
            target: target.clone(),
            specs: Arc::clone(specs),
            state: instance.state.clone().into(),
            messages: instance.mailbox.drain(..).collect(),
            entries: None,
        })
    }

    fn apply(&self, sender: &Address, effects: Effects) {
        for mutation in effects.state {
            let mut instances = self.0.instances.borrow_mut();
            let instance = instances.get_mut(sender).expect("the instance is running");
            instance.state[usize::from(mutation.spec)] = mutation.value;
        }
        let caller = Some(sender.clone());
        for (target, value) in effects.messages {
            self.deliver(Message { target, caller: caller.clone(), value });
        }
        for delayed in effects.delayed {
            if let Delayed::Send { delay_ms, target, value, .. } = delayed {
                let message = Message { target, caller: caller.clone(), value };
                self.0.delayed.borrow_mut().push((delay_ms, message));
            }
        }
    }
}

fn is_reply(function_type: FunctionType) -> bool {
    function_type.namespace() == HTTP_NAMESPACE && function_type.name() == REPLY_NAME
}

#[derive(Debug)]
struct MemoryLane {
    memory: Memory,
    index: usize,
    count: usize,
}

impl LaneBackend for MemoryLane {
    fn index(&self) -> usize {
        self.index
    }

    fn count(&self) -> usize {
        self.count
    }

    fn serves(&self, function_type: FunctionType) -> bool {
        self.memory.0.functions.contains_key(&function_type)
    }

    fn serves_name(&self, namespace: &str, name: &str) -> bool {
        FunctionType::known(namespace, name).is_some_and(|known| self.serves(known))
    }

    fn admit(&self, bytes: usize) -> LocalFuture<Result<Admission, SubmitError>> {
        let memory = self.memory.clone();
        Box::pin(async move {
            let inner = &memory.0;
            let mut limit = inner.admission_limit.subscribe();
            let fits = |limit: &usize| inner.admitted.get() + bytes <= *limit;
            let mut stopped = inner.stopped.subscribe();
            tokio::select! {
                biased;
                fitting = limit.wait_for(fits) => drop(fitting.expect("the runtime lives")),
                _ = stopped.wait_for(Option::is_some) => return Err(SubmitError::Stopping),
            }
            inner.admitted.set(inner.admitted.get() + bytes);
            inner.admitted_max.set(inner.admitted_max.get().max(inner.admitted.get()));
            let memory = memory.clone();
            Ok(Admission::new(Box::new(move || {
                memory.0.admitted.set(memory.0.admitted.get() - bytes);
                memory.0.admission_limit.send_modify(|_| {});
            })))
        })
    }

    fn submit(&self, message: Message) -> LocalFuture<Result<(), SubmitError>> {
        let memory = self.memory.clone();
        let served = self.serves(message.target.function_type);
        Box::pin(async move {
            if !served {
                return Err(SubmitError::Unserved(message.target.function_type));
            }
            let mut durable = memory.0.durable.subscribe();
            durable.wait_for(|durable| *durable).await.expect("the runtime lives");
            memory.0.submitted.borrow_mut().push(message.clone());
            memory.deliver(message);
            Ok(())
        })
    }

    fn reply(&self) -> Reply {
        let inner = Rc::clone(&self.memory.0);
        let number = inner.next_reply.replace(inner.next_reply.get() + 1);
        let id = format_compact!("test.{number}");
        let (sender, receiver) = oneshot::channel();
        inner.replies.borrow_mut().insert(id.clone(), sender);
        let given_up = GivenUp { inner, id: id.clone() };
        let value = Box::pin(async move {
            let value = receiver.await.expect("the runtime lives");
            drop(given_up);
            value
        });
        Reply { address: Address::new(FunctionType::new(HTTP_NAMESPACE, REPLY_NAME), id), value }
    }

    fn stopped(&self) -> LocalFuture<Instant> {
        let mut stopped = self.memory.0.stopped.subscribe();
        Box::pin(async move {
            let stopped = stopped.wait_for(Option::is_some).await.expect("the runtime lives");
            stopped.expect("waited for")
        })
    }
}

struct GivenUp {
    inner: Rc<Inner>,
    id: CompactString,
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.inner.replies.borrow_mut().remove(&self.id);
    }
}

/// Receipts that were confirmed, by number.
#[derive(Debug, Default)]
pub struct Confirmed(Mutex<Vec<u64>>);

impl Confirmed {
    /// An entry with this number whose confirmation is noted here.
    #[must_use]
    pub fn entry(self: &Arc<Self>, number: u64, queue: &str, value: TypedValue) -> EgressEntry {
        EgressEntry {
            queue: queue.to_owned(),
            sender: Address::new(FunctionType::new("test", "sender"), "s"),
            value,
            receipt: Receipt {
                partition: Partition(0),
                number,
                outbox: Arc::from(queue),
                confirmations: Arc::clone(self) as Arc<dyn Confirmations>,
            },
        }
    }

    /// The numbers confirmed so far, in order.
    #[must_use]
    pub fn numbers(&self) -> Vec<u64> {
        self.0.lock().expect("no test panics with it").clone()
    }
}

impl Confirmations for Confirmed {
    fn confirm(&self, _partition: Partition, _outbox: &Arc<str>, number: u64) {
        self.0.lock().expect("no test panics with it").push(number);
    }
}
