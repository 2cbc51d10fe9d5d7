//! One HTTP request, one `FromFunction`. What cannot be answered gets a status and one line of text
//! which says what was expected: a runtime repeats the call, a person reads the line.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use dormouse_protocol::from_wire::{self, Attached};
use dormouse_protocol::many::{self, CallAnswer};
use dormouse_protocol::{FunctionType, InvokeError, Response as Outcome, to_wire};
use http_body_util::LengthLimitError;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::functions::Functions;
use crate::many::all;

/// Largest request, in bytes: a batch of messages with all states of an address.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Memory that the bodies of all requests being answered may take, in bytes. More requests wait
/// before they are read.
pub const BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long a client may take to send a body.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// Unit in which the memory for bodies is handed out, in bytes.
const PERMIT_BYTES: usize = 1024;

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Answers requests for a set of functions.
#[derive(Debug)]
pub(crate) struct Server {
    functions: Functions,
    memory: Semaphore,
}

/// What a body holds.
enum Form {
    /// One `ToFunction`.
    One,
    /// Several.
    Many,
}

/// A request that gets no `FromFunction`.
struct Refusal {
    status: StatusCode,
    text: String,
    retry_after: Option<Duration>,
}

/// The answer of every path that nothing is served at.
pub(crate) async fn elsewhere() -> Response {
    let text = format!("functions are served at {} and below", crate::PATH);
    Refusal::new(StatusCode::NOT_FOUND, text).into_response()
}

impl Server {
    pub(crate) fn new(functions: Functions) -> Self {
        Self { functions, memory: Semaphore::new(BODIES_BYTES_MAX / PERMIT_BYTES) }
    }

    pub(crate) async fn answer(&self, request: Request) -> Response {
        // Only runtimes that ask whether several calls may come in one request are told.
        let is_asked = request.headers().contains_key(many::HEADER);
        let mut response = match self.answer_body(request).await {
            Ok(body) => ([(header::CONTENT_TYPE, PROTOBUF)], Body::from(body)).into_response(),
            Err(refusal) => refusal.into_response(),
        };
        if is_asked {
            response.headers_mut().insert(many::HEADER, HeaderValue::from(many::CALLS_MAX));
        }
        response
    }

    async fn answer_body(&self, request: Request) -> Result<Bytes, Refusal> {
        let form = check(request.method(), request.headers())?;
        let (body, _memory) = self.read(request).await?;
        match form {
            Form::One => self.invoke(body).await,
            Form::Many => {
                let calls = many::read_request(&body);
                let calls = calls.map_err(|error| Refusal::bad(error.to_string()))?;
                drop(body);
                let answers = all(calls.into_iter().map(|call| self.answer_one(call))).await;
                Ok(many::answer(&answers))
            }
        }
    }

    async fn answer_one(&self, call: Bytes) -> CallAnswer {
        match self.invoke(call).await {
            Ok(answer) => CallAnswer::Answered(answer),
            Err(Refusal { text, retry_after, .. }) => CallAnswer::Failed { text, retry_after },
        }
    }

    async fn invoke(&self, body: Bytes) -> Result<Bytes, Refusal> {
        if body.is_empty() {
            return Err(Refusal::bad("the body is empty: expected a ToFunction".to_owned()));
        }
        let request = from_wire::request(body).map_err(|error| Refusal::bad(error.to_string()))?;
        let function_type = request.function_type();
        let Some(served) = self.functions.find(function_type) else {
            let names = self.functions.names().join(", ");
            let text = format!("no function {function_type} is served here; served are {names}");
            return Err(Refusal::new(StatusCode::NOT_FOUND, text));
        };
        let attached = request.attach(&served.specs).map_err(|error| {
            let text = format!("function {function_type}: {error}");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text)
        })?;
        let outcome = match attached {
            Attached::Missing(missing) => Outcome::Incomplete(missing),
            Attached::Ready(invocation) => {
                let outcome = served.function.invoke(invocation).await.map_err(Refusal::from)?;
                refuse_named(function_type, &outcome)?;
                outcome
            }
        };
        Ok(to_wire::from_function(&outcome, &served.specs))
    }

    /// Reads the body once there is memory for it; the permit stands for that memory.
    async fn read(&self, request: Request) -> Result<(Bytes, SemaphorePermit<'_>), Refusal> {
        let too_large = || {
            let text = format!("the body is larger than {BODY_BYTES_MAX} bytes");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text)
        };
        let bytes = expected_bytes(request.headers()).unwrap_or(BODY_BYTES_MAX);
        if bytes > BODY_BYTES_MAX {
            return Err(too_large());
        }
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let memory = self.memory.acquire_many(permits).await;
        let mut memory = memory.map_err(|_| {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server stops".to_owned())
        })?;
        let reading = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX);
        match tokio::time::timeout(BODY_TIME_MAX, reading).await {
            Ok(Ok(body)) => {
                // A body of unknown length was taken for the largest.
                let rest = memory.num_permits().saturating_sub(body.len().div_ceil(PERMIT_BYTES));
                drop(memory.split(rest));
                Ok((body, memory))
            }
            Ok(Err(error)) if is_limit(&error) => Err(too_large()),
            Ok(Err(error)) => Err(Refusal::bad(format!("cannot read the body: {error}"))),
            Err(_) => {
                let text = format!("the body did not come within {} s", BODY_TIME_MAX.as_secs());
                Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, text))
            }
        }
    }
}

/// The protocol hands over the states that a function declares, not such as it names while it runs.
fn refuse_named(function_type: FunctionType, outcome: &Outcome) -> Result<(), Refusal> {
    let Outcome::Incomplete(wanted) = outcome else {
        return Ok(());
    };
    let names: Vec<&str> = wanted.iter().map(|spec| spec.name.as_str()).collect();
    let text = format!(
        "function {function_type} names a state while it runs ({}), which only functions that are linked \
         into the runtime's own process can do: declare it in `states: [...]`",
        names.join(", ")
    );
    Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text))
}

/// A content type is not needed, but a wrong one tells that somebody else was meant.
fn check(method: &Method, headers: &HeaderMap) -> Result<Form, Refusal> {
    if method != Method::POST {
        let text = format!("{method} is not served: expected POST");
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text));
    }
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Form::One);
    };
    let media_type = content_type.as_bytes().split(|byte| *byte == b';').next();
    let media_type = media_type.unwrap_or_default().trim_ascii();
    if media_type.eq_ignore_ascii_case(PROTOBUF.as_bytes()) {
        return Ok(Form::One);
    }
    if media_type.eq_ignore_ascii_case(many::CONTENT_TYPE.as_bytes()) {
        return Ok(Form::Many);
    }
    let found = String::from_utf8_lossy(media_type);
    let text = format!("content type `{found}`: expected `application/octet-stream`");
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
}

fn expected_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether reading stopped at [`BODY_BYTES_MAX`].
fn is_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<LengthLimitError>())
}

impl Refusal {
    fn new(status: StatusCode, text: String) -> Self {
        Self { status, text, retry_after: None }
    }

    fn bad(text: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    fn into_response(self) -> Response {
        let text_plain = HeaderValue::from_static("text/plain; charset=utf-8");
        let mut response = (self.status, self.text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, text_plain);
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        if let Some(pause) = self.retry_after {
            let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<InvokeError> for Refusal {
    fn from(error: InvokeError) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            text: error.message,
            retry_after: error.retry_after,
        }
    }
}
