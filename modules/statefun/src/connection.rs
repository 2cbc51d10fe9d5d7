//! One kept-alive HTTP/1.1 connection to an endpoint, and one exchange on it at a time.
//!
//! The exchange runs in the task of the invocation that needs it: a request is one write and
//! an answer wakes its invocation at once, which a client with a task per connection cannot do.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::time::{Instant, timeout};

use crate::answer::{Chunks, Framing, Head, parse_head, too_long};
use crate::attempts::{Failure, FailureKind};
use crate::stream::Stream;
use crate::tls;
use crate::transport::Transport;

/// First size of the buffer for answers; most fit.
const INPUT_BYTES: usize = 2 * 1024;
/// A buffer that has grown beyond this is given back after its answer.
const INPUT_KEPT_BYTES_MAX: usize = 16 * 1024;
/// A longer body keeps the buffer that it was read into instead of being copied out of it.
const COPIED_BYTES_MAX: usize = 8 * 1024;
/// Requests up to this length are written in one piece.
const GATHERED_BYTES_MAX: usize = 1_024;
/// How far the buffer grows ahead of what has come.
const READ_AHEAD_BYTES_MAX: usize = 1024 * 1024;
/// How much of the body of an error is read for the message.
pub(crate) const ERROR_BODY_BYTES_MAX: usize = 16 * 1024;

/// A connection; between exchanges it is polled by nobody.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    input: BytesMut,
    /// Not to be used again after this.
    expires: Option<Instant>,
    idle_since: Instant,
    used: bool,
}

/// The parts of a request as they are written: everything up to the number of the content length,
/// that number with the line ends, and the body.
#[derive(Debug)]
pub struct Request<'r> {
    pub head: &'r [u8],
    pub length: &'r [u8],
    pub body: &'r [u8],
}

/// An answer, and whether its connection may be used again.
#[derive(Debug)]
pub struct Answer {
    pub head: Head,
    pub body: Bytes,
    pub reusable: bool,
}

impl Connection {
    #[must_use]
    pub fn new(stream: Stream, expires: Option<Instant>) -> Self {
        Self { stream, input: BytesMut::new(), expires, idle_since: Instant::now(), used: false }
    }

    /// Whether an idle connection can be used: young enough, and neither closed nor spoken to.
    #[must_use]
    pub fn is_usable(&mut self, now: Instant, idle_max: Option<Duration>) -> bool {
        let young = self.expires.is_none_or(|expires| now < expires)
            && idle_max.is_none_or(|max| now.duration_since(self.idle_since) < max);
        young && self.stream.is_silent()
    }

    /// Marks the end of an exchange.
    pub fn rest(&mut self) {
        self.idle_since = Instant::now();
        self.used = true;
        if self.input.capacity() > INPUT_KEPT_BYTES_MAX {
            self.input = BytesMut::new();
        }
    }

    /// Writes a request and reads its answer. After an error the connection is of no more use.
    pub async fn exchange(
        &mut self,
        request: &Request<'_>,
        transport: &Transport,
    ) -> Result<Answer, Failure> {
        let mut outgoing = Outgoing { request, written: 0, error: None };
        let head = self.read_head(&mut outgoing, transport).await?;
        let good = (200..300).contains(&head.status);
        let bytes_max = if good { transport.payload_bytes_max } else { ERROR_BODY_BYTES_MAX };
        let body = match self.read_body(&head, bytes_max, &mut outgoing, transport).await {
            Ok(body) => Some(body),
            Err(failure) if good => return Err(failure),
            Err(_) => None,
        };
        let reusable = head.keep_alive
            && head.framing != Framing::UntilClose
            && body.is_some()
            && outgoing.is_done()
            && self.input.is_empty();
        Ok(Answer { head, body: body.unwrap_or_default(), reusable })
    }

    async fn read_head(
        &mut self,
        outgoing: &mut Outgoing<'_>,
        transport: &Transport,
    ) -> Result<Head, Failure> {
        loop {
            self.input.reserve(INPUT_BYTES);
            self.more(outgoing, transport).await?;
            while let Some((head, length)) = parse_head(&self.input).map_err(connection)? {
                self.input.advance(length);
                if head.status >= 200 {
                    return Ok(head);
                }
            }
        }
    }

    async fn read_body(
        &mut self,
        head: &Head,
        bytes_max: usize,
        outgoing: &mut Outgoing<'_>,
        transport: &Transport,
    ) -> Result<Bytes, Failure> {
        match head.framing {
            Framing::Length(length) if length > bytes_max => Err(answer(too_long(bytes_max))),
            Framing::Length(length) => {
                while self.input.len() < length {
                    let missing = length - self.input.len();
                    self.input.reserve(missing.min(READ_AHEAD_BYTES_MAX));
                    self.more(outgoing, transport).await?;
                }
                Ok(self.take(length))
            }
            Framing::Chunked => {
                let (mut chunks, mut body) = (Chunks::default(), BytesMut::new());
                while !chunks.advance(&mut self.input, &mut body, bytes_max).map_err(answer)? {
                    self.input.reserve(INPUT_BYTES);
                    self.more(outgoing, transport).await?;
                }
                Ok(body.freeze())
            }
            Framing::UntilClose => {
                while !self.is_at_end(outgoing, transport).await? {
                    if self.input.len() > bytes_max {
                        return Err(answer(too_long(bytes_max)));
                    }
                }
                Ok(self.take(self.input.len()))
            }
        }
    }

    fn take(&mut self, length: usize) -> Bytes {
        if length <= COPIED_BYTES_MAX {
            let body = Bytes::copy_from_slice(&self.input[..length]);
            self.input.advance(length);
            return body;
        }
        self.input.split_to(length).freeze()
    }

    /// Reads something more; the end of the stream is an error.
    async fn more(
        &mut self,
        outgoing: &mut Outgoing<'_>,
        transport: &Transport,
    ) -> Result<(), Failure> {
        if self.is_at_end(outgoing, transport).await? {
            return Err(self.broken("closed the connection", outgoing));
        }
        Ok(())
    }

    /// Reads something more; true at the end of the stream.
    async fn is_at_end(
        &mut self,
        outgoing: &mut Outgoing<'_>,
        transport: &Transport,
    ) -> Result<bool, Failure> {
        loop {
            let (limit, doing) = if outgoing.is_done() {
                (transport.read, "nothing came for")
            } else {
                (transport.write, "nothing could be written for")
            };
            let step = self.step(outgoing);
            let step = match limit {
                None => step.await,
                Some(limit) => match timeout(limit, step).await {
                    Ok(step) => step,
                    Err(_) => return Err(connection(format!("{doing} {limit:?}"))),
                },
            };
            match step {
                Ok(Step::Wrote) => {}
                Ok(Step::Read(read)) => return Ok(read == 0),
                Err(error) => return Err(self.broken(&tls::describe(&error), outgoing)),
            }
        }
    }

    fn broken(&self, what: &str, outgoing: &Outgoing<'_>) -> Failure {
        let what = match &outgoing.error {
            Some(error) => format!("{what} while the request was written ({error})"),
            None => what.to_owned(),
        };
        if !self.input.is_empty() {
            return connection(format!("{what} in the middle of the answer"));
        }
        let kind = if self.used { FailureKind::Stale } else { FailureKind::Connection };
        Failure::new(kind, format!("{what} before it answered"))
    }

    /// Writes what can be written, else reads. Both at once, because a server may answer before it has
    /// read everything, and then read no more.
    async fn step(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<Step> {
        poll_fn(|cx| {
            let mut wrote = false;
            while !outgoing.is_done() && outgoing.error.is_none() {
                match outgoing.poll_write(&mut self.stream, cx) {
                    Poll::Ready(Ok(0)) => outgoing.error = Some(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(written)) => {
                        outgoing.written += written;
                        wrote = true;
                    }
                    Poll::Ready(Err(error)) => outgoing.error = Some(error),
                    Poll::Pending => break,
                }
            }
            if wrote {
                return Poll::Ready(Ok(Step::Wrote));
            }
            let read = pin!(self.stream.read_buf(&mut self.input));
            read.poll(cx).map_ok(Step::Read)
        })
        .await
    }
}

enum Step {
    Wrote,
    Read(usize),
}

/// How far a request has been written.
struct Outgoing<'r> {
    request: &'r Request<'r>,
    written: usize,
    /// Writing has ended early; an answer may still have come.
    error: Option<io::Error>,
}

impl<'r> Outgoing<'r> {
    fn is_done(&self) -> bool {
        let request = self.request;
        self.written == request.head.len() + request.length.len() + request.body.len()
    }

    /// Writes what is left, as far as it can be. What is short goes out in one piece: the kernel takes
    /// longer to read a list of pieces than we do to copy them.
    fn poll_write(&self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let slices = self.slices();
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        if bytes > GATHERED_BYTES_MAX {
            return Pin::new(stream).poll_write_vectored(cx, &slices);
        }
        let mut gathered = [0; GATHERED_BYTES_MAX];
        let mut rest = &mut gathered[..];
        for slice in &slices {
            rest[..slice.len()].copy_from_slice(slice);
            rest = &mut rest[slice.len()..];
        }
        Pin::new(stream).poll_write(cx, &gathered[..bytes])
    }

    fn slices(&self) -> [IoSlice<'r>; 3] {
        let mut skip = self.written;
        [self.request.head, self.request.length, self.request.body].map(|part| {
            let from = skip.min(part.len());
            skip -= from;
            IoSlice::new(&part[from..])
        })
    }
}

fn connection(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Connection, text)
}

fn answer(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Answer, text)
}
