//! `POST /<namespace>/<type>/<id>`: 202 once the message is durable, or, for a request that waits, 200
//! with the function's reply. Every refusal is one line of plain text.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use dormouse_listener::{Answer, Listener, Refusal, body, path};
use dormouse_protocol::{Address, ID_BYTES_MAX, Message, TypedValue};
use dormouse_sdk::ValueType as _;
use dormouse_sdk::ingress::{Ingress, Lane, LocalFuture, OpenError};
use http::header::{ALLOW, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::durable::{self, OutcomeKind, Submit};
use crate::reply;
use crate::request::{self, BodyType};

/// How long requests still wait for their replies once the process is stopping.
const STOPPING_WAIT: Duration = Duration::from_secs(1);

/// What a manifest may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Type of bodies whose content type says nothing better.
    pub value_type: Option<CompactString>,
    pub body_bytes_max: usize,
    /// How long a client may take for a body, beside what its length allows. Not in the manifest.
    pub body_grace: Duration,
    /// Longest wait for a reply, for durability, and for memory.
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
    /// Notified when the process begins to stop.
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
            stopping: Notify::new(),
        });
        let stopping = Rc::clone(&front);
        let serving = Arc::clone(&self.listener)
            .serve(lane, move |request| answer(Rc::clone(&front), request));
        Box::pin(async move {
            let mut serving = pin!(serving);
            tokio::select! {
                () = &mut serving => return,
                () = stopping.lane.stopped() => stopping.stopping.notify_waiters(),
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
            wait: settings.wait_max,
            grace: settings.body_grace,
        };
        let received = body::read(body, &self.lane, limits).await?;
        let value = asked.body_type.value(received.bytes)?;
        // Held until the message is accepted: the memory is the runtime's from there on.
        let _admission = received.admission;
        match (asked.key, asked.wait) {
            (None, None) => self.send(asked.target, value).await,
            (None, Some(wait)) => self.ask(asked.target, value, wait).await,
            (Some(key), wait) => self.ask_once(&asked.target, key, value, wait).await,
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
    async fn send(&self, target: Address, value: TypedValue) -> Result<Response<Answer>, Refusal> {
        let wait = self.settings.wait_max;
        let submitted = self.lane.submit(Message { target, caller: None, value });
        match tokio::time::timeout(wait, submitted).await {
            Ok(submitted) => submitted?,
            Err(_) => return Err(Refusal::not_durable_within(wait)),
        }
        Ok(reply::accepted())
    }

    /// A message that somebody waits for the reply to.
    async fn ask(
        &self,
        target: Address,
        value: TypedValue,
        wait: Duration,
    ) -> Result<Response<Answer>, Refusal> {
        let (durable, value) = self.exchange(target, value, wait).await?;
        match value {
            Some(value) => Ok(reply::answer(value)),
            None if durable => Err(no_reply(wait)),
            None => Err(Refusal::not_durable_within(wait)),
        }
    }

    /// The same for a request that is to be done once, however often it is sent.
    async fn ask_once(
        &self,
        target: &Address,
        key: &str,
        value: TypedValue,
        wait: Option<Duration>,
    ) -> Result<Response<Answer>, Refusal> {
        let instance = durable::instance(target, key);
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
        let submit = Submit::new(target, value, wait.is_some());
        let encoded = submit
            .encode()
            .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        let limit = wait.unwrap_or(self.settings.wait_max);
        let submit = TypedValue::new(Submit::TYPENAME, encoded);
        let (durable, answer) = self.exchange(instance, submit, limit).await?;
        let Some(answer) = answer else {
            return match (durable, wait) {
                (false, _) => Err(Refusal::not_durable_within(limit)),
                (true, Some(wait)) => Err(no_reply(wait)),
                (true, None) => Ok(reply::accepted()),
            };
        };
        let outcome = durable::outcome(&answer);
        match (outcome.kind(), outcome.reply) {
            (OutcomeKind::Accepted, _) => Ok(reply::accepted()),
            (OutcomeKind::Reply, Some(value)) => Ok(reply::answer(TypedValue {
                typename: value.typename.into(),
                has_value: value.has_value,
                value: value.value,
                metadata: None,
            })),
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

    /// Submits with a reply address of our own: whether the message is known to be durable, and the
    /// reply, within `wait`.
    async fn exchange(
        &self,
        target: Address,
        value: TypedValue,
        wait: Duration,
    ) -> Result<(bool, Option<TypedValue>), Refusal> {
        let mut reply = self.lane.reply();
        let caller = Some(reply.address.clone());
        let mut submitted = pin!(self.lane.submit(Message { target, caller, value }));
        let mut deadline = pin!(sleep_until(Instant::now() + wait));
        let mut stopping = pin!(self.stopping.notified());
        let (mut durable, mut stop) = (false, false);
        loop {
            tokio::select! {
                biased;
                // Comes after the commit that holds it, and so after that of the message.
                value = &mut reply.value => return Ok((true, Some(value))),
                result = &mut submitted, if !durable => {
                    result?;
                    durable = true;
                }
                () = &mut deadline => return Ok((durable, None)),
                () = &mut stopping, if !stop => {
                    stop = true;
                    let soon = Instant::now() + STOPPING_WAIT;
                    let earlier = soon.min(deadline.deadline());
                    deadline.as_mut().reset(earlier);
                }
            }
        }
    }
}

fn no_reply(wait: Duration) -> Refusal {
    Refusal::new(
        StatusCode::GATEWAY_TIMEOUT,
        format!("the message was accepted; no reply came within {wait:?}"),
    )
}
