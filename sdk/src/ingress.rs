//! Where messages enter. An ingress runs on every shard's thread, each through a [`Lane`] of its own,
//! so that a request and the function it is for need not change threads.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use dormouse_protocol::{Address, FunctionType, Message, TypedValue};

/// A future that stays on its thread.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// Why an ingress or egress cannot be opened: one clear line, naming the address or file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// A source of messages, bound by a module.
pub trait Ingress: Debug + Send + Sync {
    /// Binds sockets, once, before anything is served. Answers where it listens, to be printed
    /// (`http://127.0.0.1:8080`), when that means something.
    fn open(&self) -> Result<Option<String>, OpenError>;

    /// Serves on one shard's thread until [`Lane::stopped`]; then stops taking, finishes what it has
    /// taken, and returns. Called once per lane, inside of a tokio `LocalSet`.
    fn serve(self: Arc<Self>, lane: Lane) -> LocalFuture<()>;
}

/// Why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Nobody serves the target's type: nothing was accepted.
    #[error("no function is registered for {0}")]
    Unserved(FunctionType),
    /// The process is stopping: nothing was accepted.
    #[error("the runtime is stopping")]
    Stopping,
    /// The store failed before it acknowledged: the message may or may not have been accepted.
    #[error("the message could not be made durable: {0}")]
    NotDurable(String),
}

/// An ingress's way into the runtime, on one shard's thread.
#[derive(Clone, Debug)]
pub struct Lane {
    backend: Rc<dyn LaneBackend>,
}

impl Lane {
    /// Used by the runtime and by test kits.
    #[must_use]
    pub fn new(backend: Rc<dyn LaneBackend>) -> Self {
        Self { backend }
    }

    /// This lane's number, below [`Lane::count`].
    #[must_use]
    pub fn index(&self) -> usize {
        self.backend.index()
    }

    /// How many lanes there are: one per shard.
    #[must_use]
    pub fn count(&self) -> usize {
        self.backend.count()
    }

    /// Whether some function or endpoint serves this type.
    #[must_use]
    pub fn serves(&self, function_type: FunctionType) -> bool {
        self.backend.serves(function_type)
    }

    /// The type of this name when somebody serves it. Names that nobody serves are not remembered, so
    /// that strangers cannot fill the table of function types.
    #[must_use]
    pub fn resolve(&self, namespace: &str, name: &str) -> Option<FunctionType> {
        if !self.backend.serves_name(namespace, name) {
            return None;
        }
        FunctionType::try_new(namespace, name)
    }

    /// Bytes of the longest message that the runtime has memory for: a longer one has to be refused.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.backend.longest()
    }

    /// Waits while the runtime's backlog is at its bound, and until `bytes` of memory for a message in
    /// the making are free; they are given back when the guard is dropped. To be held while a body is
    /// read and until it is accepted. Nothing is accepted yet: who gives up waiting has lost nothing.
    pub async fn admit(&self, bytes: usize) -> Result<Admission, SubmitError> {
        self.backend.admit(bytes).await
    }

    /// The same where nobody has to wait.
    #[must_use]
    pub fn try_admit(&self, bytes: usize) -> Option<Admission> {
        self.backend.try_admit(bytes)
    }

    /// Accepts a message that there is room for; resolves when it is durable, with everything it was
    /// accepted with. Once polled it goes on even when dropped.
    pub async fn submit(&self, message: Message, _room: &Admission) -> Result<(), SubmitError> {
        self.backend.submit(message).await
    }

    /// Accepts several messages, such as those that routers made of one record; resolves when all are
    /// durable. Each is accepted on its own: after an error, or a crash, some may have been, so the source
    /// has to send the record again until this succeeds.
    pub async fn submit_all(
        &self,
        messages: Vec<Message>,
        _room: &Admission,
    ) -> Result<(), SubmitError> {
        let submit = |message| Some(self.backend.submit(message));
        let mut waiting: Vec<_> = messages.into_iter().map(submit).collect();
        let mut failed = None;
        poll_fn(|cx| {
            let mut is_done = true;
            for slot in &mut waiting {
                let Some(submitting) = slot else { continue };
                match submitting.as_mut().poll(cx) {
                    Poll::Pending => is_done = false,
                    Poll::Ready(result) => {
                        *slot = None;
                        failed = failed.take().or(result.err());
                    }
                }
            }
            if is_done { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        failed.map_or(Ok(()), Err)
    }

    /// A volatile address that a function can answer to: give it as the message's `caller`.
    #[must_use]
    pub fn reply(&self) -> Reply {
        self.backend.reply()
    }

    /// Resolves when the process is asked to stop: with the time until which requests in flight should
    /// have been answered. Some time later they are given up.
    pub async fn stopped(&self) -> Instant {
        self.backend.stopped().await
    }
}

/// Room in the runtime, and memory held, for a message in the making.
pub struct Admission(Option<Box<dyn FnOnce()>>);

impl Admission {
    /// `release` is called once, when the guard is dropped.
    #[must_use]
    pub fn new(release: Box<dyn FnOnce()>) -> Self {
        Self(Some(release))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release();
        }
    }
}

impl Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admission")
    }
}

/// A waiting reply. Dropping it gives the address up; what comes later is counted and dropped.
pub struct Reply {
    /// Where the answer is to be sent.
    pub address: Address,
    /// The first message sent to the address, once the commit that holds it is durable.
    pub value: LocalFuture<TypedValue>,
}

impl Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({})", self.address)
    }
}

/// What a runtime (or a test kit) implements behind [`Lane`].
pub trait LaneBackend: Debug {
    /// As [`Lane::index`].
    fn index(&self) -> usize;
    /// As [`Lane::count`].
    fn count(&self) -> usize;
    /// As [`Lane::serves`].
    fn serves(&self, function_type: FunctionType) -> bool;
    /// The same for a name that may be new; to be answered without interning it where possible.
    fn serves_name(&self, namespace: &str, name: &str) -> bool {
        FunctionType::try_new(namespace, name).is_some_and(|known| self.serves(known))
    }
    /// As [`Lane::longest`].
    fn longest(&self) -> usize {
        usize::MAX
    }
    /// As [`Lane::admit`].
    fn admit(&self, bytes: usize) -> LocalFuture<Result<Admission, SubmitError>>;
    /// As [`Lane::try_admit`].
    fn try_admit(&self, _bytes: usize) -> Option<Admission> {
        None
    }
    /// As [`Lane::submit`].
    fn submit(&self, message: Message) -> LocalFuture<Result<(), SubmitError>>;
    /// As [`Lane::reply`].
    fn reply(&self) -> Reply;
    /// As [`Lane::stopped`].
    fn stopped(&self) -> LocalFuture<Instant>;
}
