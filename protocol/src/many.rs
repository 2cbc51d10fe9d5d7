//! Several calls in one HTTP request, and their answers: for endpoints that say that they take such. Each
//! call is a `ToFunction`, for an address of its own, and each is answered on its own: one that fails fails no
//! other. Numbers are big-endian.
//!
//! A request is a list of `length: u32, ToFunction`. An answer has, in the same order, `kind: u8,
//! length: u32, bytes`: kind 0 is a `FromFunction`; kind 1 a failure, whose bytes are the seconds for which
//! the function asks to be left alone (`u32`, 0 for none) and a text.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::from_wire::WireError;

/// The header of a request in which a runtime says how many calls it would put into one, and of an answer in
/// which an endpoint says how many it takes.
pub const HEADER: &str = "dormouse-calls";

/// The content type of a request with several calls.
pub const CONTENT_TYPE: &str = "application/vnd.dormouse.calls";

/// Most calls of one request.
pub const CALLS_MAX: usize = 256;

/// The answer to one of several calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallAnswer {
    /// A `FromFunction`.
    Answered(Bytes),
    /// The function could not be run.
    Failed {
        /// Why: one line.
        text: String,
        /// It asks to be left alone for so long, in whole seconds.
        retry_after: Option<Duration>,
    },
}

/// A request of these calls.
#[must_use]
pub fn request(calls: &[Bytes]) -> Bytes {
    let length = calls.iter().map(|call| 4 + call.len()).sum();
    let mut body = BytesMut::with_capacity(length);
    for call in calls {
        body.put_u32(length_of(call));
        body.put_slice(call);
    }
    body.freeze()
}

/// The calls of a request: at least one, at most [`CALLS_MAX`]. Each is a copy, so that none keeps the memory
/// of all.
pub fn read_request(mut body: &[u8]) -> Result<Vec<Bytes>, WireError> {
    let mut calls = Vec::new();
    while !body.is_empty() {
        if calls.len() == CALLS_MAX {
            return Err(malformed("request", format!("more than {CALLS_MAX} calls")));
        }
        calls.push(Bytes::copy_from_slice(take(&mut body, "request")?));
    }
    if calls.is_empty() {
        return Err(malformed("request", "it has no call".to_owned()));
    }
    Ok(calls)
}

/// An answer of these parts.
#[must_use]
pub fn answer(answers: &[CallAnswer]) -> Bytes {
    let mut body = BytesMut::new();
    for answer in answers {
        match answer {
            CallAnswer::Answered(bytes) => {
                body.put_u8(0);
                body.put_u32(length_of(bytes));
                body.put_slice(bytes);
            }
            CallAnswer::Failed { text, retry_after } => {
                let pause = retry_after.map_or(0, |pause| pause.as_secs());
                body.put_u8(1);
                body.put_u32(length_of(text.as_bytes()).saturating_add(4));
                body.put_u32(u32::try_from(pause).unwrap_or(u32::MAX));
                body.put_slice(text.as_bytes());
            }
        }
    }
    body.freeze()
}

/// The answers to so many calls.
pub fn read_answer(mut body: &[u8], calls: usize) -> Result<Vec<CallAnswer>, WireError> {
    let mut answers = Vec::with_capacity(calls);
    while !body.is_empty() {
        let kind = body.get_u8();
        let mut bytes = take(&mut body, "answer")?;
        answers.push(match kind {
            0 => CallAnswer::Answered(Bytes::copy_from_slice(bytes)),
            1 if bytes.len() >= 4 => {
                let pause = Duration::from_secs(u64::from(bytes.get_u32()));
                let text = String::from_utf8_lossy(bytes).into_owned();
                CallAnswer::Failed { text, retry_after: (!pause.is_zero()).then_some(pause) }
            }
            kind => return Err(malformed("answer", format!("a part of the unknown kind {kind}"))),
        });
        if answers.len() > calls {
            break;
        }
    }
    if answers.len() != calls {
        let found = answers.len();
        return Err(malformed("answer", format!("{found} parts or more, expected {calls}")));
    }
    Ok(answers)
}

/// What begins with its length.
fn take<'b>(body: &mut &'b [u8], what: &'static str) -> Result<&'b [u8], WireError> {
    let cut = || malformed(what, "it ends within a part".to_owned());
    let (length, rest) = body.split_first_chunk::<4>().ok_or_else(cut)?;
    let length = u32::from_be_bytes(*length) as usize;
    let (taken, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
    *body = rest;
    Ok(taken)
}

/// Bodies are bounded far below this.
fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a call is shorter than 4 GiB")
}

fn malformed(what: &'static str, reason: String) -> WireError {
    let expected = match what {
        "request" => "request of several calls",
        _ => "answer to several calls",
    };
    WireError::Malformed { expected, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_answers_come_back() {
        let calls = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        let body = request(&calls);
        assert_eq!(&body[..7], b"\0\0\0\x03one");
        assert_eq!(read_request(&body).unwrap(), calls);
        let answers = [
            CallAnswer::Answered(Bytes::from_static(b"ok")),
            CallAnswer::Failed { text: "no".to_owned(), retry_after: None },
            CallAnswer::Failed { text: "é".to_owned(), retry_after: Some(Duration::from_secs(3)) },
        ];
        let body = answer(&answers);
        assert_eq!(&body[..18], b"\0\0\0\0\x02ok\x01\0\0\0\x06\0\0\0\0no");
        assert_eq!(read_answer(&body, 3).unwrap(), answers);
    }

    #[test]
    fn what_is_cut_too_much_or_of_another_kind_is_refused() {
        let body = request(&[Bytes::from_static(b"one"), Bytes::from_static(b"two")]);
        for end in [0, 1, 6, 9, 13] {
            assert!(read_request(&body[..end]).is_err(), "{end}");
        }
        let many = vec![Bytes::new(); CALLS_MAX + 1];
        assert!(read_request(&request(&many)).is_err());
        assert!(read_request(&request(&many[..CALLS_MAX])).is_ok());
        let answers = vec![CallAnswer::Answered(Bytes::from_static(b"ok")); 2];
        let body = answer(&answers);
        for (end, calls) in [(0, 1), (1, 1), (6, 1), (7, 2), (14, 1), (14, 3)] {
            assert!(read_answer(&body[..end], calls).is_err(), "{end} {calls}");
        }
        assert!(read_answer(b"\x02\0\0\0\0", 1).is_err());
        assert!(read_answer(b"\x01\0\0\0\x03abc", 1).is_err());
    }
}
