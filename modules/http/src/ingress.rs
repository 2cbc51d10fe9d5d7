//! `POST /<namespace>/<type>/<id>`: 202 once the message is durable, or, for a request that waits, 200
//! with the function's reply. Every refusal is one line of plain text.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use compact_str::CompactString;
use dormouse_listener::{Answer, Listener, Refusal, body, path};
use dormouse_protocol::{Address, ID_BYTES_MAX, Message, TypedValue};
use dormouse_sdk::ValueType as _;
use dormouse_sdk::ingress::{Admission, Ingress, Lane, LocalFuture, OpenError};
use http::header::{ALLOW, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::durable::{self, OutcomeKind, Submit};
use crate::reply;
use crate::request::{self, BodyType};

/// To a client whose wait the end of the process cuts short.
const STOPPED: &str = "the message was accepted; this process is stopping, and no reply came before. \
                       What is not done yet is done after the next start";
const STOPPED_EARLY: &str = "this process is stopping, and the message was not durable before; it may \
                             still be accepted";

/// What a manifest may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Type of bodies whose content type says nothing better.
    pub value_type: Option<CompactString>,
    pub body_bytes_max: usize,
    /// How long a client may take for a body, beside what its length allows. Not in the manifest.
    pub body_grace: Duration,
    /// Longest wait for room, for durability, and for a reply.
    pub wait_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            value_type: None,
            body_bytes_max: 32 << 20,
            body_grace: body::GRACE,
            wait_max: Duration::from_secs(60),
        }
    }
}

/// The HTTP ingress.
#[derive(Debug)]
pub struct HttpIngress {
    listener: Arc<Listener>,
    settings: Settings,
}

/// One lane of it.
#[derive(Debug)]
struct Front {
    lane: Lane,
    settings: Settings,
    /// Once the process is stopping: until when requests wait for their replies.
    answer_by: Cell<Option<Instant>>,
    /// Notified when that is set.
    stopping: Notify,
}

impl HttpIngress {
    #[must_use]
    pub fn new(listen: impl Into<String>, settings: Settings) -> Self {
        Self { listener: Listener::new(listen), settings }
    }
}

impl Ingress for HttpIngress {
    fn open(&self) -> Result<Option<String>, OpenError> {
        self.listener.open().map(|address| Some(format!("http://{address}")))
    }

    fn serve(self: Arc<Self>, lane: Lane) -> LocalFuture<()> {
        let front = Rc::new(Front {
            lane: lane.clone(),
            settings: self.settings.clone(),
            answer_by: Cell::new(None),
            stopping: Notify::new(),
        });
        let told = Rc::clone(&front);
        let serving = Arc::clone(&self.listener)
            .serve(lane, move |request| answer(Rc::clone(&front), request));
        Box::pin(async move {
            let mut serving = pin!(serving);
            tokio::select! {
                () = &mut serving => return,
                answer_by = told.lane.stopped() => {
                    told.answer_by.set(Some(answer_by.into()));
                    told.stopping.notify_waiters();
                }
            }
            serving.await;
        })
    }
}

async fn answer(front: Rc<Front>, request: Request<Incoming>) -> Response<Answer> {
    if request.method() != Method::POST {
        body::drain(request.into_body());
        let text = "expected POST /<namespace>/<type>/<id>";
        let mut refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text).answer();
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return refusal;
    }
    front.handle(request).await.unwrap_or_else(|refusal| refusal.answer())
}

/// What a request's head asks for.
struct Asked<'r> {
    target: Address,
    wait: Option<Duration>,
    body_type: BodyType<'r>,
    key: Option<&'r str>,
}

/// A message on its way in.
struct Entering {
    target: Address,
    value: TypedValue,
    /// Held until the message is accepted: the memory is the runtime's from there on.
    room: Admission,
}

/// What became of a message that somebody waits for the reply to.
enum Outcome {
    Reply(TypedValue),
    /// Accepted, and no reply came.
    Silence(Refusal),
    /// It is not known to be durable.
    Unknown(Refusal),
}

impl Front {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Answer>, Refusal> {
        let (head, body) = request.into_parts();
        let asked = match self.read_head(&head) {
            Ok(asked) => asked,
            Err(refusal) => {
                body::drain(body);
                return Err(refusal);
            }
        };
        let settings = &self.settings;
        let limits = body::Limits {
            bytes_max: settings.body_bytes_max,
            wait: asked.wait.unwrap_or(settings.wait_max),
            grace: settings.body_grace,
        };
        let received = body::read(body, &self.lane, limits).await?;
        let value = asked.body_type.value(received.bytes)?;
        let entering = Entering { target: asked.target, value, room: received.admission };
        let (key, wait) = (asked.key.map(str::to_owned), asked.wait);
        // Its names and values keep the connection's read buffer: now the next request can have it.
        drop(head);
        match (key, wait) {
            (None, None) => self.send(entering).await,
            (None, Some(wait)) => self.ask(entering, wait).await,
            (Some(key), wait) => self.ask_once(entering, &key, wait).await,
        }
    }

    fn read_head<'r>(&'r self, head: &'r http::request::Parts) -> Result<Asked<'r>, Refusal> {
        Ok(Asked {
            target: path::address(head.uri.path(), "POST", &self.lane)?,
            wait: request::wait(&head.uri, &head.headers, self.settings.wait_max)?,
            body_type: BodyType::of(&head.headers, self.settings.value_type.as_deref())?,
            key: request::idempotency_key(&head.headers)?,
        })
    }

    /// A message without a caller: accepted once durable.
    async fn send(&self, entering: Entering) -> Result<Response<Answer>, Refusal> {
        let Entering { target, value, room } = entering;
        let wait = self.settings.wait_max;
        let submitted = self.lane.submit(Message { target, caller: None, value }, &room);
        match tokio::time::timeout(wait, submitted).await {
            Ok(submitted) => submitted?,
            Err(_) => return Err(Refusal::not_durable_within(wait)),
        }
        Ok(reply::accepted())
    }

    /// A message that somebody waits for the reply to.
    async fn ask(&self, entering: Entering, wait: Duration) -> Result<Response<Answer>, Refusal> {
        match self.exchange(entering, wait).await? {
            Outcome::Reply(value) => reply::answer(value),
            Outcome::Silence(refusal) | Outcome::Unknown(refusal) => Err(refusal),
        }
    }

    /// The same for a request that is to be done once, however often it is sent.
    async fn ask_once(
        &self,
        entering: Entering,
        key: &str,
        wait: Option<Duration>,
    ) -> Result<Response<Answer>, Refusal> {
        let instance = durable::instance(&entering.target, key);
        if instance.id.len() > ID_BYTES_MAX {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                format!(
                    "id, type and Idempotency-Key have {} bytes together; at most {ID_BYTES_MAX} \
                     are allowed",
                    instance.id.len()
                ),
            ));
        }
        let submit = Submit::new(&entering.target, entering.value, wait.is_some());
        let encoded = submit
            .encode()
            .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        let limit = wait.unwrap_or(self.settings.wait_max);
        let value = TypedValue::new(Submit::TYPENAME, encoded);
        let submit = Entering { target: instance, value, room: entering.room };
        let answer = match (self.exchange(submit, limit).await?, wait) {
            (Outcome::Reply(answer), _) => answer,
            (Outcome::Silence(_), None) => return Ok(reply::accepted()),
            (Outcome::Silence(refusal) | Outcome::Unknown(refusal), _) => return Err(refusal),
        };
        let outcome = durable::outcome(&answer);
        match (outcome.kind(), outcome.reply) {
            (OutcomeKind::Accepted, _) => Ok(reply::accepted()),
            (OutcomeKind::Reply, Some(value)) => reply::answer(TypedValue {
                typename: value.typename.into(),
                has_value: value.has_value,
                value: value.value,
                metadata: None,
            }),
            (OutcomeKind::KeyReused, _) => Err(Refusal::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "the Idempotency-Key was used for a request with another body or type",
            )),
            (OutcomeKind::ReplyTooLong, _) => Err(Refusal::new(
                StatusCode::GONE,
                format!(
                    "the request was done; its reply was longer than {} bytes and is not kept",
                    durable::STORED_REPLY_BYTES_MAX
                ),
            )),
            (OutcomeKind::Unknown | OutcomeKind::Reply, _) => Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the request was accepted; its outcome cannot be read",
            )),
        }
    }

    /// Submits with a reply address of our own, and waits for the reply for so long, or until a stopping
    /// process has to answer.
    async fn exchange(&self, entering: Entering, wait: Duration) -> Result<Outcome, Refusal> {
        let Entering { target, value, room } = entering;
        let mut reply = self.lane.reply();
        let caller = Some(reply.address.clone());
        let mut submitted = pin!(self.lane.submit(Message { target, caller, value }, &room));
        // Hands it over. That it is durable wakes nobody: it is asked for when no reply has come.
        let mut submit = ready_now(submitted.as_mut()).transpose()?;
        let mut stopping = pin!(self.stopping.notified());
        let wanted = Instant::now() + wait;
        let until = |by: Option<Instant>| by.map_or(wanted, |by| by.min(wanted));
        let mut deadline = pin!(sleep_until(until(self.answer_by.get())));
        let mut stop = false;
        loop {
            tokio::select! {
                biased;
                // Comes after the commit that holds it, and so after that of the message.
                value = &mut reply.value => return Ok(Outcome::Reply(value)),
                () = &mut deadline => break,
                () = &mut stopping, if !stop => {
                    stop = true;
                    deadline.as_mut().reset(until(self.answer_by.get()));
                }
            }
        }
        if submit.is_none() {
            submit = ready_now(submitted).transpose()?;
        }
        let durable = submit.is_some();
        let is_cut = deadline.deadline() < wanted;
        Ok(match (durable, is_cut) {
            (true, true) => Outcome::Silence(Refusal::new(StatusCode::GATEWAY_TIMEOUT, STOPPED)),
            (true, false) => Outcome::Silence(no_reply(wait)),
            (false, true) => {
                Outcome::Unknown(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, STOPPED_EARLY))
            }
            (false, false) => Outcome::Unknown(Refusal::not_durable_within(wait)),
        })
    }
}

/// What a future has come to, if it has; nobody is woken when it does later.
fn ready_now<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn no_reply(wait: Duration) -> Refusal {
    Refusal::new(
        StatusCode::GATEWAY_TIMEOUT,
        format!("the message was accepted; no reply came within {wait:?}"),
    )
}
