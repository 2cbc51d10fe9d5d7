//! A function's reply as an HTTP answer: a string as plain text, everything else raw under its type. A
//! message that was given up is a 502.

use bytes::Bytes;
use dormouse_listener::{Answer, Refusal};
use dormouse_protocol::{TypedValue, given_up, types};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The answer for a reply, or for the notice that there will be none.
pub fn answer(value: TypedValue) -> Result<Response<Answer>, Refusal> {
    if let Some(why) = given_up::read(&value) {
        return Err(Refusal::new(StatusCode::BAD_GATEWAY, why));
    }
    let text = (value.typename == types::STRING).then(|| text(&value.value)).flatten();
    let (content_type, body) = match text {
        Some(text) => (PLAIN, text),
        None => (raw(&value.typename), value.value),
    };
    let mut response = Response::new(Answer::new(body));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

/// The message was accepted.
#[must_use]
pub fn accepted() -> Response<Answer> {
    let mut response = Response::new(Answer::new("accepted\n"));
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(CONTENT_TYPE, PLAIN);
    response
}

/// The text of an encoded string, without a copy where the encoding is the usual one.
fn text(value: &Bytes) -> Option<Bytes> {
    let text = types::decode_string(value).ok()?;
    if value.ends_with(text.as_bytes()) {
        return Some(value.slice(value.len() - text.len()..));
    }
    Some(text.into())
}

fn raw(typename: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("application/vnd.{typename}")).unwrap_or(BYTES)
}
