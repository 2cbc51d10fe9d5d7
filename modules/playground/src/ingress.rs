//! `PUT /<namespace>/<type>/<id>`: the body becomes a message of the type that the content type names.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use dormouse_listener::{Answer, Listener, Refusal, body, path};
use dormouse_protocol::{Message, TypedValue, types};
use dormouse_sdk::ingress::{Ingress, Lane, LocalFuture, OpenError};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::STATUS;

/// Longest body of a request.
pub const BODY_BYTES_MAX: usize = 32 << 20;
/// How long a request waits for memory, and for its message to be durable.
const DURABLE_WITHIN: Duration = Duration::from_secs(60);

const BODY_LIMITS: body::Limits =
    body::Limits { bytes_max: BODY_BYTES_MAX, wait: DURABLE_WITHIN, grace: body::GRACE };

/// The playground's ingress.
#[derive(Debug)]
pub struct PlaygroundIngress {
    listener: Arc<Listener>,
}

impl PlaygroundIngress {
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self { listener: Listener::new(format!("0.0.0.0:{port}")) }
    }
}

impl Ingress for PlaygroundIngress {
    fn open(&self) -> Result<Option<String>, OpenError> {
        self.listener.open().map(|address| Some(format!("http://{address}")))
    }

    fn serve(self: Arc<Self>, lane: Lane) -> LocalFuture<()> {
        let listener = Arc::clone(&self.listener);
        let shared = Rc::new(lane.clone());
        Box::pin(listener.serve(lane, move |request| answer(Rc::clone(&shared), request)))
    }
}

async fn answer(lane: Rc<Lane>, request: Request<Incoming>) -> Response<Answer> {
    let (mut response, status) = match accept(&lane, request).await {
        Ok(()) => (Response::new(Answer::new("")), "200"),
        Err(refusal) => (refusal.answer(), "500"),
    };
    response.headers_mut().insert(STATUS, HeaderValue::from_static(status));
    response
}

async fn accept(lane: &Lane, request: Request<Incoming>) -> Result<(), Refusal> {
    let (head, body) = request.into_parts();
    let target = path::address(head.uri.path(), "PUT", lane);
    let (target, typename) = match (target, typename(&head.headers)) {
        (Ok(target), Ok(typename)) => (target, typename),
        (Err(refusal), _) | (_, Err(refusal)) => {
            body::drain(body);
            return Err(refusal);
        }
    };
    let received = body::read(body, lane, BODY_LIMITS).await?;
    let value = TypedValue::new(typename, received.bytes);
    let submitted = lane.submit(Message { target, caller: None, value }, &received.admission);
    match timeout(DURABLE_WITHIN, submitted).await {
        Ok(submitted) => Ok(submitted?),
        Err(_) => Err(Refusal::not_durable_within(DURABLE_WITHIN)),
    }
}

/// `application/vnd.<typename>` names a type; everything else means a string, its bytes as they are.
fn typename(headers: &HeaderMap) -> Result<&str, Refusal> {
    let Some(content_type) = headers.get(CONTENT_TYPE) else {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "expected the header `Content-Type: application/vnd.<namespace>/<name>`",
        ));
    };
    let named = content_type.to_str().ok().and_then(|text| text.strip_prefix("application/vnd."));
    let named = named.and_then(|rest| rest.split(';').next()).map(str::trim);
    Ok(named.filter(|name| !name.is_empty()).unwrap_or(types::STRING))
}
