//! What an endpoint answered: its head, the framing of its body, and whether it counts. A good answer
//! has a status of 200 to 299, exactly the content type `application/octet-stream`, and a body.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use bytes::{Buf as _, Bytes, BytesMut};
use compact_str::CompactString;
use dormouse_protocol::many;

use crate::attempts::{Failure, FailureKind};
use crate::decompress::decompress;
use crate::transport::Retries;

/// Longest head of an answer, in bytes.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Most header fields in an answer.
const HEADERS_MAX: usize = 64;
/// Longest line that announces a chunk, in bytes.
const CHUNK_LINE_BYTES_MAX: usize = 4 * 1024;
/// How much of an answer's text an error quotes, in bytes.
const QUOTED_BYTES_MAX: usize = 200;
/// Longest text of an error that is unpacked for its beginning, in bytes.
const UNPACKED_ERROR_BYTES_MAX: usize = 64 * 1024;

pub(crate) const OCTET_STREAM: &str = "application/octet-stream";

/// The head of an answer, as far as it matters here.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    pub framing: Framing,
    /// The connection may be used again.
    pub keep_alive: bool,
    /// What the `connection` field says of it.
    connection: Option<bool>,
    content_type: Option<CompactString>,
    content_encoding: Option<CompactString>,
    retry_after: Option<Duration>,
    /// Calls of one request that the endpoint takes.
    pub calls: Option<usize>,
    location: Option<String>,
    /// The header named `status`, by which some servers mean an error.
    hint: Option<String>,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// Reads a head from the beginning of `input`: it and its length, or `None` while it is incomplete.
pub fn parse_head(input: &[u8]) -> Result<Option<(Head, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(input) {
        Ok(httparse::Status::Complete(length)) => head(&response).map(|head| Some((head, length))),
        Ok(httparse::Status::Partial) if input.len() > HEAD_BYTES_MAX => {
            Err(format!("the head of the answer is longer than {HEAD_BYTES_MAX} bytes"))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        // A record of TLS, with an alert.
        Err(_) if input.starts_with(&[0x15, 3]) => {
            Err("expected an HTTP answer, got one in TLS; write `https://`".to_owned())
        }
        // Any frame of HTTP/2 begins with three bytes of length; its settings come first.
        Err(_) if matches!(input, [0, _, _, 4, ..]) => {
            Err("expected an HTTP answer, got HTTP/2; say `http_version: 2` in the `transport`"
                .to_owned())
        }
        Err(error) => Err(format!("expected an HTTP answer, got {} ({error})", quote(input))),
    }
}

fn head(response: &httparse::Response<'_, '_>) -> Result<Head, String> {
    let fields = response.headers.iter().map(|header| (header.name, header.value));
    let mut head = Head::read(response.code.unwrap_or(0), fields)?;
    head.keep_alive = head.connection.unwrap_or(response.version == Some(1));
    Ok(head)
}

/// Seconds, or a date; one that has passed asks for nothing.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(value).ok()?.duration_since(now).ok()
}

/// What a `connection` field says about the connection's future.
fn keeps_alive(connection: &str) -> Option<bool> {
    let has =
        |token: &str| connection.split(',').any(|part| part.trim().eq_ignore_ascii_case(token));
    if has("close") { Some(false) } else { has("keep-alive").then_some(true) }
}

impl Head {
    /// A head of these fields; names in any case.
    pub(crate) fn read<'f>(
        status: u16,
        fields: impl Iterator<Item = (&'f str, &'f [u8])>,
    ) -> Result<Self, String> {
        let mut head = Self {
            status,
            framing: Framing::UntilClose,
            keep_alive: true,
            connection: None,
            content_type: None,
            content_encoding: None,
            retry_after: None,
            calls: None,
            location: None,
            hint: None,
        };
        let (mut length, mut chunked) = (None, false);
        for (name, value) in fields {
            let value = String::from_utf8_lossy(value);
            let value = value.trim();
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            if is("content-length") {
                let parsed = value.parse::<usize>().ok();
                if parsed.is_none() || length.is_some_and(|earlier| Some(earlier) != parsed) {
                    return Err(format!("the answer has a bad content-length `{value}`"));
                }
                length = parsed;
            } else if is("transfer-encoding") {
                chunked = value.to_ascii_lowercase().ends_with("chunked");
            } else {
                head.take_field(is, value);
            }
        }
        head.framing = match (status, chunked, length) {
            (100..=199 | 204 | 304, _, _) => Framing::Length(0),
            (_, true, _) => Framing::Chunked,
            (_, false, Some(length)) => Framing::Length(length),
            (_, false, None) => Framing::UntilClose,
        };
        Ok(head)
    }

    fn take_field(&mut self, is: impl Fn(&str) -> bool, value: &str) {
        if is("connection") {
            self.connection = keeps_alive(value).or(self.connection);
        } else if is("content-type") {
            self.content_type = Some(value.into());
        } else if is("content-encoding") {
            self.content_encoding = Some(value.to_ascii_lowercase().into());
        } else if is("retry-after") {
            self.retry_after = retry_after(value, SystemTime::now());
        } else if is(many::HEADER) {
            self.calls = value.parse().ok();
        } else if is("location") {
            self.location = Some(value.to_owned());
        } else if is("status") {
            self.hint = Some(format!("status: {value}"));
        }
    }

    /// Where to send the same request instead. Redirects that would make a GET of it lead nowhere:
    /// a function that is asked without its messages may well answer that it has nothing to say.
    #[must_use]
    pub fn redirect(&self) -> Option<&str> {
        self.location.as_deref().filter(|_| matches!(self.status, 307 | 308))
    }

    /// The body of a good answer, decompressed; else what was expected and what came.
    pub fn judge(self, body: Bytes, retries: Retries, bytes_max: usize) -> Result<Bytes, Failure> {
        if !(200..300).contains(&self.status) {
            return Err(self.bad_status(&body, retries));
        }
        let content_type = self.content_type.as_deref();
        let good = match (retries, content_type) {
            (Retries::Async, Some(list)) => {
                list.split(',').any(|one| one.trim().eq_ignore_ascii_case(OCTET_STREAM))
            }
            (Retries::OkHttp, Some(one)) => one == OCTET_STREAM,
            (_, None) => false,
        };
        if !good {
            return Err(self.bad_content_type());
        }
        match self.content_encoding.as_deref() {
            None | Some("identity") => Ok(body),
            Some(encoding) => decompress(encoding, &body, bytes_max)
                .map_err(|why| Failure::new(FailureKind::Answer, why)),
        }
    }

    fn bad_status(&self, body: &[u8], retries: Retries) -> Failure {
        let mut text = format!("expected a status from 200 to 299, got {}", self.status);
        let known = match self.status {
            400 => " Bad Request",
            404 => " Not Found",
            405 => " Method Not Allowed",
            415 => " Unsupported Media Type",
            429 => " Too Many Requests",
            500 => " Internal Server Error",
            502 => " Bad Gateway",
            503 => " Service Unavailable",
            504 => " Gateway Timeout",
            _ => "",
        };
        text.push_str(known);
        if let Some(hint) = &self.hint {
            let _ = write!(text, ", {hint}");
        }
        if let Some(location) = &self.location {
            let why = match retries {
                Retries::Async => "the async transport follows no redirects",
                Retries::OkHttp => "only 307 and 308 keep a request what it is",
            };
            let location = quote(location.as_bytes());
            let _ = write!(
                text,
                ", a redirect to {location} ({why}: name the final URL in the manifest)"
            );
        }
        let plain = self
            .content_encoding
            .as_deref()
            .and_then(|encoding| decompress(encoding, body, UNPACKED_ERROR_BYTES_MAX).ok());
        let body = plain.as_deref().unwrap_or(body);
        if !body.is_empty() {
            let _ = write!(text, ", {}", quote(body));
        }
        Failure {
            retry_after: self.retry_after,
            ..Failure::new(FailureKind::Status(self.status), text)
        }
    }

    fn bad_content_type(&self) -> Failure {
        let found = match &self.content_type {
            Some(content_type) => format!("`{content_type}`"),
            None => "none".to_owned(),
        };
        let mut text = format!("expected the content type `{OCTET_STREAM}`, got {found}");
        if let Some(hint) = &self.hint {
            let _ = write!(text, ", with the header `{hint}`: the function failed");
        }
        Failure::new(FailureKind::Answer, text)
    }
}

/// The beginning of what came, in a form that is safe on a terminal.
fn quote(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "nothing".to_owned();
    }
    let shown = &bytes[..bytes.len().min(QUOTED_BYTES_MAX)];
    let more = if shown.len() < bytes.len() { "..." } else { "" };
    format!("`{}{more}`", String::from_utf8_lossy(shown).trim().escape_debug())
}

/// Takes chunks apart as they come.
#[derive(Debug, Default)]
pub struct Chunks {
    stage: ChunkStage,
}

#[derive(Clone, Copy, Debug, Default)]
enum ChunkStage {
    /// The line with the next chunk's length.
    #[default]
    Size,
    /// So many bytes of a chunk are to come.
    Data(usize),
    /// The line end after a chunk.
    DataEnd,
    /// Lines after the last chunk, up to an empty one.
    Trailer,
    Done,
}

impl Chunks {
    /// Moves what is complete from `input` to `body`; true at the body's end.
    pub fn advance(
        &mut self,
        input: &mut BytesMut,
        body: &mut BytesMut,
        bytes_max: usize,
    ) -> Result<bool, String> {
        loop {
            match self.stage {
                ChunkStage::Done => return Ok(true),
                ChunkStage::Data(0) => self.stage = ChunkStage::DataEnd,
                ChunkStage::Data(_) if input.is_empty() => return Ok(false),
                ChunkStage::Data(left) => {
                    let taken = left.min(input.len());
                    body.extend_from_slice(&input[..taken]);
                    input.advance(taken);
                    self.stage = ChunkStage::Data(left - taken);
                }
                ChunkStage::Size | ChunkStage::DataEnd | ChunkStage::Trailer => {
                    let Some(line) = take_line(input)? else {
                        return Ok(false);
                    };
                    self.stage = self.stage.after_line(&line, body.len(), bytes_max)?;
                }
            }
        }
    }
}

impl ChunkStage {
    fn after_line(self, line: &[u8], so_far: usize, bytes_max: usize) -> Result<Self, String> {
        match self {
            Self::DataEnd if line.is_empty() => Ok(Self::Size),
            Self::DataEnd => Err(format!("expected a chunk's end, got {}", quote(line))),
            Self::Trailer if line.is_empty() => Ok(Self::Done),
            Self::Trailer => Ok(Self::Trailer),
            Self::Size | Self::Data(_) | Self::Done => {
                let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
                let size = std::str::from_utf8(digits)
                    .ok()
                    .and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok())
                    .ok_or_else(|| format!("expected a chunk's length, got {}", quote(line)))?;
                if size > bytes_max.saturating_sub(so_far) {
                    return Err(too_long(bytes_max));
                }
                Ok(if size == 0 { Self::Trailer } else { Self::Data(size) })
            }
        }
    }
}

/// What is said of an answer beyond the limit.
pub fn too_long(bytes_max: usize) -> String {
    format!("the answer is longer than {bytes_max} bytes (`payload_max_bytes`)")
}

fn take_line(input: &mut BytesMut) -> Result<Option<BytesMut>, String> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        if input.len() > CHUNK_LINE_BYTES_MAX {
            return Err(format!("a chunk's line is longer than {CHUNK_LINE_BYTES_MAX} bytes"));
        }
        return Ok(None);
    };
    let mut line = input.split_to(end + 1);
    line.truncate(end);
    if line.last() == Some(&b'\r') {
        line.truncate(end - 1);
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_apart_wherever_they_are_cut() {
        let wire = b"4\r\nWiki\r\n6;x=y\r\npedia \r\n0\r\nT: 1\r\n\r\n";
        for cut in 0..wire.len() {
            let (mut chunks, mut body) = (Chunks::default(), BytesMut::new());
            let mut input = BytesMut::from(&wire[..cut]);
            assert_eq!(chunks.advance(&mut input, &mut body, 10), Ok(false), "cut at {cut}");
            input.extend_from_slice(&wire[cut..]);
            assert_eq!(chunks.advance(&mut input, &mut body, 10), Ok(true));
            assert_eq!(&body[..], b"Wikipedia ");
            assert!(input.is_empty());
        }
    }

    #[test]
    fn bad_chunks_are_refused() {
        let run = |wire: &[u8]| {
            let mut input = BytesMut::from(wire);
            Chunks::default().advance(&mut input, &mut BytesMut::new(), 10)
        };
        assert!(run(b"x\r\n").is_err());
        assert!(run(b"1\r\nabc\r\n").is_err());
        assert!(run(b"b\r\n").unwrap_err().contains("payload_max_bytes"));
        assert!(run(b"ffffffffffffffffff\r\n").is_err());
        assert!(run(&[b'1'; CHUNK_LINE_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_until_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let asked = |value| retry_after(value, now).map(|pause| pause.as_secs());
        assert_eq!(asked("120"), Some(120));
        assert_eq!(asked("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(asked("Sun, 06 Nov 1994 08:00:00 GMT"), None);
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
    }

    #[test]
    fn heads_say_how_the_body_ends_and_whether_the_connection_stays() {
        let parse = |text: &str| {
            let (head, length) = parse_head(text.as_bytes()).unwrap().unwrap();
            assert_eq!(length, text.len());
            (head.framing, head.keep_alive)
        };
        assert_eq!(
            parse("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
            (Framing::Length(7), true)
        );
        assert_eq!(
            parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nConnection: Close\r\n\r\n"),
            (Framing::Chunked, false)
        );
        assert_eq!(parse("HTTP/1.0 200 OK\r\n\r\n"), (Framing::UntilClose, false));
        assert_eq!(parse("HTTP/1.1 204 \r\n\r\n"), (Framing::Length(0), true));
        let bad = |text: &str| parse_head(text.as_bytes()).unwrap_err();
        assert!(
            bad("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n")
                .contains("content-length")
        );
        assert!(bad("SSH-2.0-OpenSSH\r\n\r\n").contains("expected an HTTP answer, got `SSH-2.0"));
        assert!(
            bad(&format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_BYTES_MAX)))
                .contains("longer")
        );
        assert!(parse_head(b"HTTP/1.1 2").unwrap().is_none());
    }
}
