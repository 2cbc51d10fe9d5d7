//! Whom a request means: `/<namespace>/<type>/<id>`, each segment percent-decoded.

use std::borrow::Cow;

use dormouse_protocol::from_wire::TYPE_BYTES_MAX;
use dormouse_protocol::partition::RESERVED_NAMESPACE_PREFIX;
use dormouse_protocol::{Address, ID_BYTES_MAX};
use dormouse_sdk::ingress::Lane;
use http::StatusCode;

use crate::answer::Refusal;

/// The address that a path means, if somebody serves its type. `method` is for the hint.
pub fn address(path: &str, method: &str, lane: &Lane) -> Result<Address, Refusal> {
    let [namespace, name, id] = segments(path, method)?;
    if id.len() > ID_BYTES_MAX {
        let text = format!("the id has {} bytes; at most {ID_BYTES_MAX} are allowed", id.len());
        return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
    }
    // Types are remembered as long as the process lives, and are parts of keys.
    if let Some(part) = [&namespace, &name].into_iter().find(|part| part.len() > TYPE_BYTES_MAX) {
        let text = format!(
            "a part of the type has {} bytes; at most {TYPE_BYTES_MAX} each are allowed",
            part.len()
        );
        return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
    }
    if namespace.starts_with(RESERVED_NAMESPACE_PREFIX) {
        let text = format!("namespace `{}` cannot be a target", namespace.escape_debug());
        return Err(Refusal::new(StatusCode::FORBIDDEN, text));
    }
    let function_type = lane.resolve(&namespace, &name).ok_or_else(|| {
        let (namespace, name) = (namespace.escape_debug(), name.escape_debug());
        let text = format!("nobody serves the function type {namespace}/{name}");
        Refusal::new(StatusCode::NOT_FOUND, text)
    })?;
    Ok(Address::new(function_type, id))
}

/// The three parts of a path, decoded. `method` is for the hint.
pub fn segments<'p>(path: &'p str, method: &str) -> Result<[Cow<'p, str>; 3], Refusal> {
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
    let parts = (segments.next(), segments.next(), segments.next());
    let (Some(namespace), Some(name), Some(id)) = parts else {
        return Err(form(StatusCode::NOT_FOUND, method, ""));
    };
    if segments.next().is_some_and(|rest| !rest.is_empty()) || segments.next().is_some() {
        return Err(form(StatusCode::NOT_FOUND, method, "; a `/` within a part is written `%2F`"));
    }
    if namespace.is_empty() || name.is_empty() || id.is_empty() {
        return Err(form(StatusCode::BAD_REQUEST, method, "; no part may be empty"));
    }
    Ok([decode(namespace)?, decode(name)?, decode(id)?])
}

fn form(status: StatusCode, method: &str, hint: &str) -> Refusal {
    let text = format!("expected {method} /<namespace>/<type>/<id>{hint}");
    Refusal::new(status, text)
}

/// A segment without its percent-encoding.
pub fn decode(segment: &str) -> Result<Cow<'_, str>, Refusal> {
    if !segment.contains('%') {
        return Ok(Cow::Borrowed(segment));
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let digit = |at: usize| char::from(*tail.get(at)?).to_digit(16);
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            let text = "expected two hexadecimal digits after each `%` of the path";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
        };
        bytes.push((high * 16 + low) as u8);
        rest = &tail[2..];
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Refusal::new(StatusCode::BAD_REQUEST, "the path is no UTF-8 once percent-decoded")
    })?;
    Ok(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> Result<[String; 3], u16> {
        let parts = segments(path, "POST").map_err(|error| error.status.as_u16())?;
        Ok(parts.map(Cow::into_owned))
    }

    fn three(namespace: &str, name: &str, id: &str) -> Result<[String; 3], u16> {
        Ok([namespace.to_owned(), name.to_owned(), id.to_owned()])
    }

    #[test]
    fn three_segments_are_decoded() {
        assert_eq!(parts("/example/person/Bob"), three("example", "person", "Bob"));
        assert_eq!(parts("/example/person/Bob/"), three("example", "person", "Bob"));
        assert_eq!(parts("/a.b/c/a%2Fb%20%C3%BC%25"), three("a.b", "c", "a/b ü%"));
        assert_eq!(parts("/a%2Fb/c/d"), three("a/b", "c", "d"));
        assert_eq!(parts("/a/b/c+d"), three("a", "b", "c+d"));
    }

    #[test]
    fn other_paths_are_refused() {
        for path in ["/", "/a", "/a/b", "/a/b/c/d", "/a/b/c//", ""] {
            assert_eq!(parts(path), Err(404), "{path}");
        }
        for path in ["/a/b/", "/a//c", "//b/c", "/a/b/%", "/a/b/%4", "/a/b/%zz", "/a/b/%FF"] {
            assert_eq!(parts(path), Err(400), "{path}");
        }
    }
}
