//! What a request asks for, read from its head: how long it waits, of what type its body is, and its
//! idempotency key.

use std::time::Duration;

use bytes::Bytes;
use dormouse_listener::Refusal;
use dormouse_protocol::{TypeName, TypedValue, types};
use dormouse_sdk::manifest::values;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, StatusCode, Uri};

/// Longest idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// How a body becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyType<'r> {
    /// UTF-8 text that becomes a string.
    Text,
    /// Bytes that are a value of the named type already.
    Raw(&'r str),
}

impl BodyType<'_> {
    /// What the content type says; `value_type` is the manifest's.
    pub fn of<'r>(
        headers: &'r HeaderMap,
        value_type: Option<&'r str>,
    ) -> Result<BodyType<'r>, Refusal> {
        let Some(header) = headers.get(CONTENT_TYPE) else {
            return Ok(BodyType::Text);
        };
        let text = header.to_str().unwrap_or_default();
        let media_type = text.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("text/plain")
            || media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        {
            return Ok(BodyType::Text);
        }
        let named = media_type.strip_prefix("application/vnd.");
        if let Some(typename) = named.filter(|name| TypeName::split(name).is_some()) {
            return Ok(BodyType::Raw(typename));
        }
        match value_type {
            Some(types::STRING) => Ok(BodyType::Text),
            Some(typename) => Ok(BodyType::Raw(typename)),
            None => Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!(
                    "content type `{}` means no type here: send `text/plain` or \
                     `application/vnd.<namespace>/<name>`, or set `valueType` in the manifest",
                    text.escape_debug()
                ),
            )),
        }
    }

    /// The value of a body.
    pub fn value(self, body: Bytes) -> Result<TypedValue, Refusal> {
        match self {
            Self::Raw(typename) => Ok(TypedValue::new(typename, body)),
            Self::Text => match std::str::from_utf8(&body) {
                Ok(text) => Ok(TypedValue::new(types::STRING, types::encode_string(text))),
                Err(_) => Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "the body is no UTF-8 text: send it as `application/vnd.<namespace>/<name>`",
                )),
            },
        }
    }
}

/// How long the request waits for a reply, at most `wait_max`; `None`: not at all. A bare number means
/// seconds, as in the header `Prefer`.
pub fn wait(
    uri: &Uri,
    headers: &HeaderMap,
    wait_max: Duration,
) -> Result<Option<Duration>, Refusal> {
    let parameters = uri.query().unwrap_or_default().split('&');
    let mut asked = None;
    for parameter in parameters {
        if let Some(value) = parameter.strip_prefix("wait=") {
            asked = Some(duration(value).ok_or_else(|| {
                Refusal::new(
                    StatusCode::BAD_REQUEST,
                    format!("`wait={}`: expected a duration such as `5s`", value.escape_debug()),
                )
            })?);
        }
    }
    let preferred = || {
        let headers = headers.get_all(PREFER).into_iter();
        let mut preferences =
            headers.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split([',', ';']));
        preferences.find_map(|preference| {
            let (name, value) = preference.split_once('=')?;
            name.trim().eq_ignore_ascii_case("wait").then(|| duration(value.trim()))?
        })
    };
    let asked = asked.or_else(preferred);
    Ok(asked.map(|wait| wait.min(wait_max)))
}

fn duration(text: &str) -> Option<Duration> {
    // Mostly it is written like this, and read without a copy of its unit.
    match text.strip_suffix('s').unwrap_or(text).parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => values::parse_duration(text),
    }
}

/// The idempotency key, if there is one.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(header) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = std::str::from_utf8(header.as_bytes()).unwrap_or_default().trim();
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("expected an Idempotency-Key of 1 to {KEY_BYTES_MAX} bytes of UTF-8"),
        ));
    }
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        headers
    }

    fn waits(path: &str, prefer: &str) -> Result<Option<u64>, u16> {
        let found = wait(&path.parse().unwrap(), &headers(PREFER, prefer), Duration::from_secs(60));
        let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap();
        found.map(|wait| wait.map(millis)).map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn a_wait_is_asked_for_by_parameter_or_preference() {
        assert_eq!(waits("/a/b/c", ""), Ok(None));
        assert_eq!(waits("/a/b/c?wait=5s", ""), Ok(Some(5_000)));
        assert_eq!(waits("/a/b/c?x=1&wait=250ms", ""), Ok(Some(250)));
        assert_eq!(waits("/a/b/c?wait=2", ""), Ok(Some(2_000)));
        assert_eq!(waits("/a/b/c?wait=1h", ""), Ok(Some(60_000)));
        assert_eq!(waits("/a/b/c", "wait=5"), Ok(Some(5_000)));
        assert_eq!(waits("/a/b/c", "respond-async, Wait=7; x=y"), Ok(Some(7_000)));
        assert_eq!(waits("/a/b/c?wait=1s", "wait=5"), Ok(Some(1_000)));
        assert_eq!(waits("/a/b/c?wait=soon", ""), Err(400));
        assert_eq!(waits("/a/b/c", "wait=soon"), Ok(None));
    }

    fn body_type(content_type: &str, value_type: Option<&str>) -> Result<String, u16> {
        let headers = headers(CONTENT_TYPE, content_type);
        let found = BodyType::of(&headers, value_type);
        found.map(|found| format!("{found:?}")).map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn the_content_type_decides_about_the_value() {
        let text = Ok("Text".to_owned());
        let raw = |typename: &str| Ok(format!("Raw({typename:?})"));
        assert_eq!(body_type("text/plain", None), text);
        assert_eq!(body_type("Text/Plain; charset=utf-8", None), text);
        assert_eq!(body_type("application/x-www-form-urlencoded", None), text);
        assert_eq!(body_type("application/vnd.a.b/C", None), raw("a.b/C"));
        assert_eq!(body_type("application/vnd.a/C; charset=utf-8", Some("x/y")), raw("a/C"));
        assert_eq!(body_type("application/json", None), Err(415));
        assert_eq!(body_type("application/vnd.api+json", None), Err(415));
        assert_eq!(body_type("application/json", Some("example/Json")), raw("example/Json"));
        assert_eq!(body_type("application/json", Some(types::STRING)), text);
        assert_eq!(BodyType::of(&HeaderMap::new(), Some("x/y")), Ok(BodyType::Text));
    }

    #[test]
    fn keys_are_bounded() {
        let key = |text: &str| {
            let headers = headers(IDEMPOTENCY_KEY, text);
            idempotency_key(&headers).map(|key| key.map(str::to_owned)).map_err(|r| r.status)
        };
        assert_eq!(key("a/b:c"), Ok(Some("a/b:c".to_owned())));
        assert_eq!(key(&"k".repeat(256)), Ok(Some("k".repeat(256))));
        assert_eq!(key(&"k".repeat(257)), Err(StatusCode::BAD_REQUEST));
        assert_eq!(key(""), Err(StatusCode::BAD_REQUEST));
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
    }
}
