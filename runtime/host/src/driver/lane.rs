//! An ingress's way into a shard's thread: what stands behind [`dormouse_sdk::ingress::Lane`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use compact_str::CompactString;
use dormouse_protocol::{Address, FunctionType, Message, TypedValue, partition_of};
use dormouse_sdk::ingress::{Admission, LaneBackend, LocalFuture, Reply, SubmitError};
use rustc_hash::FxHashMap;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::driver::inbox::{Inbox, Incoming, Local, LocalQueue};
use crate::driver::process::Process;
use crate::stall::pulse::LongestCall;

/// A request that waits for its reply.
#[derive(Debug, Default)]
struct Waiting {
    value: Option<TypedValue>,
    waker: Option<Waker>,
}

/// What the lane and the shard's driver share; both live on the shard's thread.
#[derive(Debug)]
pub(crate) struct LaneState {
    pub(crate) index: usize,
    pub(crate) process: Arc<Process>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) queue: RefCell<LocalQueue>,
    replies: RefCell<FxHashMap<u64, Waiting>>,
    /// Calls under way that were not ready at once, in the order in which they began.
    calls: RefCell<BTreeMap<u64, LongestCall>>,
    next_call: Cell<u64>,
    next_reply: Cell<u64>,
    pub(crate) replies_dropped: Cell<u64>,
    pub(crate) rejected: Cell<u64>,
}

impl LaneState {
    pub(crate) fn new(index: usize, process: Arc<Process>) -> Rc<Self> {
        let inbox = process.inboxes[index].clone();
        Rc::new(Self {
            index,
            process,
            inbox,
            queue: RefCell::default(),
            replies: RefCell::default(),
            calls: RefCell::default(),
            next_call: Cell::new(0),
            next_reply: Cell::new(0),
            replies_dropped: Cell::new(0),
            rejected: Cell::new(0),
        })
    }

    /// From a task of this thread to the driver.
    pub(crate) fn push(&self, local: Local) {
        self.queue.borrow_mut().push_back(local);
        self.inbox.wake();
    }

    /// Notes a call that is under way; the number ends it.
    pub(crate) fn begin_call(&self, call: LongestCall) -> u64 {
        let number = self.next_call.get();
        self.next_call.set(number + 1);
        self.calls.borrow_mut().insert(number, call);
        number
    }

    pub(crate) fn end_call(&self, number: u64) {
        self.calls.borrow_mut().remove(&number);
    }

    /// The call of this type that has waited longest.
    pub(crate) fn longest_call(&self, function_type: FunctionType) -> Option<LongestCall> {
        let calls = self.calls.borrow();
        calls.values().find(|call| call.function_type == function_type).cloned()
    }

    /// Brings a durable reply to the request that waits for it, if that is on this lane; else it is to go
    /// to the lane that it is answered with, under this number.
    pub(crate) fn route_reply(
        &self,
        id: &CompactString,
        value: TypedValue,
    ) -> Option<(usize, u64, TypedValue)> {
        let number = id
            .strip_prefix(self.process.name.as_str())
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|number| number.parse::<u64>().ok());
        let Some(number) = number else {
            self.drop_reply();
            return None;
        };
        let lane = (number % self.process.shards() as u64) as usize;
        if lane != self.index {
            return Some((lane, number, value));
        }
        self.reply(number, value);
        None
    }

    /// The first message to a reply address answers; later ones and those nobody waits for are dropped.
    pub(crate) fn reply(&self, number: u64, value: TypedValue) {
        let mut replies = self.replies.borrow_mut();
        let Some(waiting) = replies.get_mut(&number).filter(|waiting| waiting.value.is_none())
        else {
            return self.drop_reply();
        };
        waiting.value = Some(value);
        let waker = waiting.waker.take();
        drop(replies);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn drop_reply(&self) {
        self.replies_dropped.set(self.replies_dropped.get() + 1);
    }
}

/// The lane of one shard.
#[derive(Clone, Debug)]
pub(crate) struct ShardLane(pub(crate) Rc<LaneState>);

/// Waits for the first message to a reply address, and gives the address up with the wait. Once the
/// shard has ended nothing comes: who waits has a deadline of its own.
struct ReplyValue {
    state: Rc<LaneState>,
    number: u64,
}

impl Future for ReplyValue {
    type Output = TypedValue;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TypedValue> {
        let mut replies = self.state.replies.borrow_mut();
        let Some(waiting) = replies.get_mut(&self.number) else {
            return Poll::Pending;
        };
        if let Some(value) = waiting.value.take() {
            replies.remove(&self.number);
            return Poll::Ready(value);
        }
        match &mut waiting.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for ReplyValue {
    fn drop(&mut self) {
        self.state.replies.borrow_mut().remove(&self.number);
    }
}

impl LaneBackend for ShardLane {
    fn index(&self) -> usize {
        self.0.index
    }

    fn count(&self) -> usize {
        self.0.process.shards()
    }

    fn serves(&self, function_type: FunctionType) -> bool {
        self.0.process.functions.provider(function_type).is_some()
    }

    fn serves_name(&self, namespace: &str, name: &str) -> bool {
        let serves = self.0.process.functions.serves(namespace, name);
        if !serves {
            self.0.rejected.set(self.0.rejected.get() + 1);
        }
        serves
    }

    fn longest(&self) -> usize {
        self.0.process.room.longest()
    }

    fn admit(&self, bytes: usize) -> LocalFuture<Result<Admission, SubmitError>> {
        let process = self.0.process.clone();
        Box::pin(async move { wait_for_room(&process, bytes).await.map(admission) })
    }

    fn try_admit(&self, bytes: usize) -> Option<Admission> {
        let process = &self.0.process;
        let free = if process.gate.is_open() { process.room.try_take(bytes) } else { None };
        free.map(admission)
    }

    fn submit(&self, message: Message) -> LocalFuture<Result<(), SubmitError>> {
        let state = self.0.clone();
        Box::pin(async move {
            let process = &state.process;
            let function_type = message.target.function_type;
            if process.functions.provider(function_type).is_none() {
                state.rejected.set(state.rejected.get() + 1);
                return Err(SubmitError::Unserved(function_type));
            }
            if process.failed.borrow().is_some() {
                return Err(SubmitError::Stopping);
            }
            let (acknowledge, acknowledged) = oneshot::channel();
            let shard = process.shard_of(partition_of(&message.target, process.partitions));
            process.gate.queued(shard, message.weight());
            if shard == state.index {
                state.push(Local::Submit { message, acknowledge });
            } else {
                process.inboxes[shard].push(Incoming::Submit { message, acknowledge });
            }
            acknowledged.await.unwrap_or_else(|_| {
                let reason = process.failed.borrow().clone();
                let reason = reason.unwrap_or_else(|| "the runtime has stopped".to_owned());
                Err(SubmitError::NotDurable(reason))
            })
        })
    }

    fn reply(&self) -> Reply {
        let state = self.0.clone();
        let count = state.next_reply.get() + 1;
        state.next_reply.set(count);
        let number = count * state.process.shards() as u64 + state.index as u64;
        let id = reply_id(&state.process.name, number);
        let address = Address::new(state.process.reply_type, id);
        state.replies.borrow_mut().insert(number, Waiting::default());
        Reply { address, value: Box::pin(ReplyValue { state, number }) }
    }

    fn stopped(&self) -> LocalFuture<Instant> {
        let mut stopping = self.0.process.stopping.subscribe();
        Box::pin(async move {
            // An error means that the process is gone, which is a stop as well.
            let answer_by = stopping.wait_for(Option::is_some).await.ok();
            answer_by.and_then(|answer_by| *answer_by).unwrap_or_else(Instant::now)
        })
    }
}

/// `<process>.<number>`: every request makes one, for which formatting takes long.
fn reply_id(process: &str, mut number: u64) -> CompactString {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    let mut id = CompactString::from(process);
    id.push('.');
    id.push_str(std::str::from_utf8(&digits[first..]).expect("digits are ASCII"));
    id
}

fn admission(permit: OwnedSemaphorePermit) -> Admission {
    Admission::new(Box::new(move || drop(permit)))
}

/// Who waits for room while the process stops would wait for nothing.
async fn wait_for_room(
    process: &Process,
    bytes: usize,
) -> Result<OwnedSemaphorePermit, SubmitError> {
    let mut stopping = process.stopping.subscribe();
    // In this order: those whom the opening gate lets pass are no more than there is room for.
    let room = async {
        let permit = process.room.take(bytes).await;
        process.gate.pass().await;
        permit
    };
    tokio::select! {
        biased;
        permit = room => Ok(permit),
        _ = stopping.wait_for(Option::is_some) => Err(SubmitError::Stopping),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_addresses_name_the_process_and_the_request() {
        for number in [0, 7, 10, 4_711, u64::MAX] {
            assert_eq!(reply_id("abc", number), format!("abc.{number}"));
        }
        let id = reply_id(&Process::new_name(), 99_999_999_999);
        assert!(!id.is_heap_allocated(), "{id}");
        assert_ne!(Process::new_name(), Process::new_name());
    }
}
