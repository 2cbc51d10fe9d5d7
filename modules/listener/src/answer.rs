//! Answers: bytes with a status, and optionally something to do once they have been written.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use dormouse_sdk::ingress::SubmitError;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};

use crate::connection::Written;

/// When a client that was told 503 should come again, in seconds.
const RETRY_AFTER_SECONDS: u16 = 1;

/// The body of an answer.
pub struct Answer {
    data: Option<Bytes>,
    on_written: Option<OnWritten>,
    written: Option<Rc<Written>>,
}

/// Called once the answer is in the hands of the operating system; dropped uncalled when the client
/// has gone before.
pub type OnWritten = Box<dyn FnOnce()>;

/// One line of plain text.
#[must_use]
pub fn line(status: StatusCode, text: impl fmt::Display) -> Response<Answer> {
    let mut response = Response::new(Answer::new(format!("{text}\n")));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// Why a request is not done: a status and one line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub text: String,
}

impl Refusal {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// The message was not durable in time.
    #[must_use]
    pub fn not_durable_within(wait: Duration) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the message was not durable within {wait:?}; it may still be accepted"),
        )
    }

    /// What the client is told.
    #[must_use]
    pub fn answer(&self) -> Response<Answer> {
        let mut response = line(self.status, &self.text);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        let (status, hint) = match error {
            SubmitError::Unserved(_) => (StatusCode::NOT_FOUND, ""),
            SubmitError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "; nothing was accepted"),
            SubmitError::NotDurable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "; it may or may not have been accepted")
            }
        };
        Self::new(status, format!("{error}{hint}"))
    }
}

impl Answer {
    #[must_use]
    pub fn new(data: impl Into<Bytes>) -> Self {
        Self { data: Some(data.into()), on_written: None, written: None }
    }

    /// With something to do once it has been written.
    #[must_use]
    pub fn with_on_written(data: impl Into<Bytes>, on_written: OnWritten) -> Self {
        Self { data: Some(data.into()), on_written: Some(on_written), written: None }
    }

    /// Tells the connection on which it goes out.
    pub(crate) fn on(mut self, written: &Rc<Written>) -> Self {
        if self.on_written.is_some() {
            self.written = Some(Rc::clone(written));
        }
        self
    }

    fn left(&self) -> usize {
        self.data.as_ref().map_or(0, Bytes::len)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().filter(|data| !data.is_empty());
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left() as u64)
    }
}

impl Drop for Answer {
    /// The connection drops the body when it has taken all of it into its buffer; what it then flushes
    /// holds this answer.
    fn drop(&mut self) {
        if self.left() > 0 {
            return;
        }
        if let (Some(written), Some(on_written)) = (self.written.take(), self.on_written.take()) {
            written.after_flush(on_written);
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({} bytes)", self.left())
    }
}
