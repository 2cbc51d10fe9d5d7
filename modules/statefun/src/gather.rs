//! Calls of one function type that go out together, in one request, to an endpoint that has said that it takes
//! such. Only first attempts do: a call that has failed goes alone. So does one whose request takes long, at
//! once, and for a while all others: a slow call holds up those that went with it for a moment only.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dormouse_protocol::from_wire::WireError;
use dormouse_protocol::many::{self, CallAnswer};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use crate::attempts::{Failure, FailureKind};
use crate::endpoint::{Endpoint, Site};

/// Bytes of calls in one request (a single call may exceed it): less than the mebibyte that some servers and
/// proxies take at most.
const REQUEST_BYTES_MAX: usize = 768 << 10;
/// With so many requests of a function under way on a shard, the next calls gather ...
const REQUESTS_UNDER_WAY: usize = 4;
/// ... for at most so long: requests that hang hold up no others.
const GATHER_MAX: Duration = Duration::from_millis(5);
/// A request of several calls that takes longer is given up: each of its calls is made alone.
const TOGETHER_MAX: Duration = Duration::from_secs(1);
/// After one that was given up, calls are made alone for so long.
const ALONE_FOR: Duration = Duration::from_secs(10);

/// The calls of one function type on one shard.
#[derive(Debug)]
pub(crate) struct Gather {
    site: Site,
    endpoint: Arc<Endpoint>,
    /// Calls per request that the endpoint takes; 0 and 1: it has not said so.
    taken: Cell<usize>,
    /// Until then calls go alone.
    alone_until: Cell<Option<Instant>>,
    /// Bounded by the invocations in flight.
    waiting: RefCell<VecDeque<Waiting>>,
    is_flushing: Cell<bool>,
    under_way: Cell<usize>,
    ended: Notify,
}

#[derive(Debug)]
struct Waiting {
    call: Bytes,
    answered: oneshot::Sender<Result<Bytes, Failure>>,
}

impl Gather {
    /// `site` is the endpoint's for requests of several calls.
    pub(crate) fn new(site: Site, endpoint: Arc<Endpoint>) -> Rc<Self> {
        Rc::new(Self {
            site,
            endpoint,
            taken: Cell::new(0),
            alone_until: Cell::new(None),
            waiting: RefCell::default(),
            is_flushing: Cell::new(false),
            under_way: Cell::new(0),
            ended: Notify::new(),
        })
    }

    /// What the latest answer says of how many calls the endpoint takes.
    pub(crate) fn note(&self, calls: Option<usize>) {
        let max = self.endpoint.transport.calls_per_request;
        self.taken.set(calls.unwrap_or(0).min(max));
    }

    /// Whether calls go together now.
    pub(crate) fn is_taken(&self) -> bool {
        let is_alone = || self.alone_until.get().is_some_and(|until| Instant::now() < until);
        self.taken.get() > 1 && !is_alone()
    }

    /// Sends a call with others; its `FromFunction`.
    pub(crate) async fn call(self: &Rc<Self>, call: Bytes) -> Result<Bytes, Failure> {
        let (answered, answer) = oneshot::channel();
        self.waiting.borrow_mut().push_back(Waiting { call, answered });
        if !self.is_flushing.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).flush());
        }
        let lost = |_| Err(Failure::new(FailureKind::Connection, "the request was given up"));
        answer.await.unwrap_or_else(lost)
    }

    /// Sends what waits; calls that begin in the same turn of the shard go together.
    async fn flush(self: Rc<Self>) {
        tokio::task::yield_now().await;
        loop {
            let is_full = self.waiting.borrow().len() >= self.taken.get();
            if self.under_way.get() >= REQUESTS_UNDER_WAY && !is_full {
                // Either way the next request goes out.
                let _ = timeout(GATHER_MAX, self.ended.notified()).await;
            }
            let group = self.next_group();
            if group.is_empty() {
                self.is_flushing.set(false);
                return;
            }
            self.under_way.update(|count| count + 1);
            tokio::task::spawn_local(Rc::clone(&self).send(group));
        }
    }

    fn next_group(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.borrow_mut();
        let (mut group, mut bytes) = (Vec::new(), 0);
        while group.len() < self.taken.get().max(1) {
            let Some(next) = waiting.front() else { break };
            bytes += next.call.len();
            if bytes > REQUEST_BYTES_MAX && !group.is_empty() {
                break;
            }
            // A call that has run out of time has nobody who waits for it.
            group.extend(waiting.pop_front().filter(|next| !next.answered.is_closed()));
        }
        group
    }

    async fn send(self: Rc<Self>, group: Vec<Waiting>) {
        let calls: Vec<Bytes> = group.iter().map(|waiting| waiting.call.clone()).collect();
        let answers = timeout(TOGETHER_MAX, self.exchange(&calls)).await.unwrap_or_else(|_| {
            self.alone_until.set(Some(Instant::now() + ALONE_FOR));
            let text = format!("several calls together were not answered within {TOGETHER_MAX:?}");
            Err(Failure::new(FailureKind::Stale, text))
        });
        self.under_way.update(|count| count - 1);
        self.ended.notify_one();
        let answers = match answers {
            Ok(answers) => answers.into_iter().map(outcome).collect(),
            Err(failure) => vec![Err(failure); group.len()],
        };
        for (waiting, answer) in group.into_iter().zip(answers) {
            // Whoever has run out of time does not take it.
            let _ = waiting.answered.send(answer);
        }
    }

    async fn exchange(&self, calls: &[Bytes]) -> Result<Vec<CallAnswer>, Failure> {
        let body = many::request(calls);
        let transport = &self.endpoint.transport;
        let mut sent = self.site.send(&body, false, transport).await;
        if matches!(&sent, Err(failure) if failure.kind == FailureKind::Stale) {
            sent = self.site.send(&body, true, transport).await;
        }
        let answer = sent?;
        self.note(answer.head.calls);
        if answer.head.calls.is_none() && answer.head.status < 500 {
            // Another server than the one that has offered it, or a proxy. Each call is made alone at once.
            let text = "the endpoint no longer takes several calls in one request";
            return Err(Failure::new(FailureKind::Stale, text));
        }
        let (retries, bytes_max) = (transport.retries, transport.payload_bytes_max);
        let body = answer.head.judge(answer.body, retries, bytes_max)?;
        let unreadable = |error: WireError| Failure::new(FailureKind::Answer, error.to_string());
        many::read_answer(&body, calls.len()).map_err(unreadable)
    }
}

fn outcome(answer: CallAnswer) -> Result<Bytes, Failure> {
    match answer {
        CallAnswer::Answered(bytes) => Ok(bytes),
        CallAnswer::Failed { text, retry_after } => {
            let kind = FailureKind::Status(500);
            Err(Failure { kind, text: format!("status 500: {text}"), retry_after })
        }
    }
}
