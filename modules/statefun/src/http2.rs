//! One HTTP/2 connection to an endpoint, and many exchanges on it at a time. How many the endpoint
//! allows is its affair: hyper sends the rest when earlier ones have ended.

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};

use crate::answer::{Framing, Head, too_long};
use crate::attempts::{Failure, FailureKind};
use crate::connection::{Answer, ERROR_BODY_BYTES_MAX};
use crate::stream::Stream;
use crate::transport::Transport;

/// A request body is handed over in pieces of this size, so that its progress can be seen.
const PIECE_BYTES: usize = 64 * 1024;

/// A connection, shared by those who call.
#[derive(Debug)]
pub struct Http2 {
    sender: SendRequest<Upload>,
    /// Not to be used for new calls after this.
    expires: Option<Instant>,
    idle_since: Cell<Instant>,
    /// Calls under way.
    calls: Cell<usize>,
    /// A call has been answered.
    used: Cell<bool>,
    /// A call has ended without a whole answer: the connection may be dead.
    suspect: Cell<bool>,
}

/// The body of a request, and how far it has gone.
#[derive(Debug)]
struct Upload {
    rest: Bytes,
    pieces: Rc<Cell<usize>>,
}

/// hyper's tasks run beside the calls, on the shard's thread.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future + 'static> Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}

impl Http2 {
    /// Begins HTTP/2 on a stream.
    pub async fn begin(stream: Stream, expires: Option<Instant>) -> Result<Self, Failure> {
        let (sender, connection) = handshake(Local, TokioIo::new(stream))
            .await
            .map_err(|error| connection_failure(describe(&error)))?;
        tokio::task::spawn_local(async move {
            // What goes wrong is told to the calls that it concerns.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            expires,
            idle_since: Cell::new(Instant::now()),
            calls: Cell::new(0),
            used: Cell::new(false),
            suspect: Cell::new(false),
        })
    }

    /// Whether new calls can use it: open, young enough, and never seen to fail.
    #[must_use]
    pub fn is_usable(&self, now: Instant, idle_max: Option<Duration>) -> bool {
        let is_young = self.expires.is_none_or(|expires| now < expires);
        let is_busy = self.calls.get() > 0;
        let idle = now.duration_since(self.idle_since.get());
        let is_fresh = is_busy || idle_max.is_none_or(|max| idle < max);
        is_young && is_fresh && !self.suspect.get() && !self.sender.is_closed()
    }

    /// Marks the beginning of a call.
    pub fn enter(&self) {
        self.calls.update(|calls| calls + 1);
    }

    /// Marks the end of a call, whether it had a whole answer or was cut short.
    pub fn leave(&self, is_whole: bool) {
        self.calls.update(|calls| calls - 1);
        self.idle_since.set(Instant::now());
        if is_whole {
            self.used.set(true);
        } else {
            self.suspect.set(true);
        }
    }

    /// Sends a request and reads its answer.
    pub async fn exchange(
        &self,
        head: http::request::Parts,
        body: Bytes,
        transport: &Transport,
    ) -> Result<Answer, Failure> {
        let pieces = Rc::new(Cell::new(0));
        let upload = Upload { rest: body, pieces: Rc::clone(&pieces) };
        let answered = self.sender.clone().send_request(Request::from_parts(head, upload));
        let answered = self.answered(answered, &pieces, transport).await?;
        let (parts, body) = answered.into_parts();
        let fields = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let head = Head::read(parts.status.as_u16(), fields).map_err(connection_failure)?;
        let good = (200..300).contains(&head.status);
        let bytes_max = if good { transport.payload_bytes_max } else { ERROR_BODY_BYTES_MAX };
        let body = match read_body(&head, body, bytes_max, transport.read).await {
            Ok(body) => Some(body),
            Err(failure) if good => return Err(failure),
            Err(_) => None,
        };
        Ok(Answer { head, reusable: body.is_some(), body: body.unwrap_or_default() })
    }

    /// Waits for the head of the answer. Silence counts from the last piece that went out.
    async fn answered(
        &self,
        answered: impl Future<Output = hyper::Result<http::Response<Incoming>>>,
        pieces: &Cell<usize>,
        transport: &Transport,
    ) -> Result<http::Response<Incoming>, Failure> {
        let mut answered = std::pin::pin!(answered);
        loop {
            let before = pieces.get();
            let step = match transport.read.max(transport.write) {
                None => answered.as_mut().await,
                Some(limit) => match timeout(limit, answered.as_mut()).await {
                    Ok(step) => step,
                    Err(_) if pieces.get() > before => continue,
                    Err(_) => {
                        return Err(connection_failure(format!("nothing came for {limit:?}")));
                    }
                },
            };
            return step.map_err(|error| {
                let kind =
                    if self.used.get() { FailureKind::Stale } else { FailureKind::Connection };
                Failure::new(kind, format!("{} before it answered", describe(&error)))
            });
        }
    }
}

async fn read_body(
    head: &Head,
    mut body: Incoming,
    bytes_max: usize,
    limit: Option<Duration>,
) -> Result<Bytes, Failure> {
    let answer = |text| Failure::new(FailureKind::Answer, text);
    if let Framing::Length(length) = head.framing
        && length > bytes_max
    {
        return Err(answer(too_long(bytes_max)));
    }
    let mut read = BytesMut::new();
    loop {
        let frame = match limit {
            None => body.frame().await,
            Some(limit) => timeout(limit, body.frame())
                .await
                .map_err(|_| connection_failure(format!("nothing came for {limit:?}")))?,
        };
        let Some(frame) = frame else {
            return Ok(read.freeze());
        };
        let frame = frame.map_err(|error| {
            connection_failure(format!("{} in the middle of the answer", describe(&error)))
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > bytes_max - read.len() {
            return Err(answer(too_long(bytes_max)));
        }
        if read.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        read.extend_from_slice(&data);
    }
}

/// hyper says what it did; its sources say why.
fn describe(error: &hyper::Error) -> String {
    let mut text = format!("HTTP/2 failed ({error}");
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text.push(')');
    text
}

fn connection_failure(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Connection, text)
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        self.pieces.update(|pieces| pieces + 1);
        let length = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
