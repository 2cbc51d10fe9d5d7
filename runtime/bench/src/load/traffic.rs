//! What a connection asks, and what it expects as the answer. Counting functions are held to their
//! counts: an answer that a lost or doubled message would give is an error.

use std::io::Write as _;

use crate::load::connection::Response;

/// The content type under which payloads travel; its typename is [`crate::functions::PAYLOAD`].
const CONTENT_TYPE: &str = "application/vnd.bench/payload";

/// Bytes of a message.
pub(crate) const PAYLOAD_BYTES: usize = 100;

/// The payload of every message.
pub(crate) const PAYLOAD: [u8; PAYLOAD_BYTES] = [b'x'; PAYLOAD_BYTES];

/// One connection's requests and checks.
pub(crate) trait Traffic: 'static {
    /// Appends the next request's bytes.
    fn request(&mut self, bytes: &mut Vec<u8>);

    /// Judges its answer.
    fn check(&mut self, response: &Response<'_>) -> Result<(), String>;
}

/// A POST of the payload to `path`.
pub(crate) fn post(path: &str) -> Vec<u8> {
    let mut bytes = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {CONTENT_TYPE}\r\n\
         content-length: {PAYLOAD_BYTES}\r\n\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(&PAYLOAD);
    bytes
}

/// The same request all the time; the answer is `status`, and the body is the payload if so asked.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    pub(crate) request: Vec<u8>,
    pub(crate) status: u16,
    pub(crate) is_echo: bool,
}

impl Traffic for Fixed {
    fn request(&mut self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.request);
    }

    fn check(&mut self, response: &Response<'_>) -> Result<(), String> {
        expect_status(response, self.status)?;
        if self.is_echo && response.body != PAYLOAD {
            return Err(format!("an echo of {} other bytes", response.body.len()));
        }
        Ok(())
    }
}

/// A counting function asked for keys that only this connection uses: each answer must be the next
/// number of its key.
#[derive(Debug)]
pub(crate) struct OwnKeys {
    function: &'static str,
    first: usize,
    step: usize,
    /// Of this connection's keys.
    counts: Vec<u64>,
    next: usize,
}

impl OwnKeys {
    /// `keys` keys shared out among `connections` connections. Keys are told apart by `round`, so that
    /// counts begin at zero.
    pub(crate) fn shared_out(
        function: &'static str,
        round: usize,
        keys: usize,
        connections: usize,
    ) -> Vec<Self> {
        let of = |connection: usize| Self {
            function,
            first: round * keys + connection,
            step: connections,
            counts: vec![0; (keys - connection).div_ceil(connections)],
            next: 0,
        };
        (0..connections).map(of).collect()
    }
}

impl OwnKeys {
    /// Requests that were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Traffic for OwnKeys {
    fn request(&mut self, bytes: &mut Vec<u8>) {
        // A stride that is coprime to most lengths: neighbours are not asked one after the other.
        self.next = (self.next + 7_919) % self.counts.len();
        let key = self.first + self.next * self.step;
        write_post(bytes, self.function, key);
    }

    fn check(&mut self, response: &Response<'_>) -> Result<(), String> {
        expect_status(response, 200)?;
        let count = count(response)?;
        let expected = &mut self.counts[self.next];
        *expected += 1;
        if count != *expected {
            return Err(format!("a count of {count} where {expected} was due"));
        }
        Ok(())
    }
}

/// A counting function with one key for all connections: counts that a connection sees must grow.
#[derive(Debug)]
pub(crate) struct HotKey {
    pub(crate) function: &'static str,
    pub(crate) answered: u64,
    last: u64,
}

impl HotKey {
    pub(crate) fn new(function: &'static str) -> Self {
        Self { function, answered: 0, last: 0 }
    }

    /// The highest count that it has seen.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }
}

impl Traffic for HotKey {
    fn request(&mut self, bytes: &mut Vec<u8>) {
        write_post(bytes, self.function, 0);
    }

    fn check(&mut self, response: &Response<'_>) -> Result<(), String> {
        expect_status(response, 200)?;
        let count = count(response)?;
        if count <= self.last {
            return Err(format!("a count of {count} after one of {}", self.last));
        }
        self.last = count;
        self.answered += 1;
        Ok(())
    }
}

fn write_post(bytes: &mut Vec<u8>, function: &str, key: usize) {
    // Writing to a `Vec` cannot fail.
    let _ = write!(
        bytes,
        "POST /{function}/k{key:06}?wait=30s HTTP/1.1\r\nhost: localhost\r\n\
         content-type: {CONTENT_TYPE}\r\ncontent-length: {PAYLOAD_BYTES}\r\n\r\n"
    );
    bytes.extend_from_slice(&PAYLOAD);
}

fn expect_status(response: &Response<'_>, status: u16) -> Result<(), String> {
    if response.status == status {
        return Ok(());
    }
    let body = String::from_utf8_lossy(response.body);
    Err(format!("status {} instead of {status}: {body}", response.status))
}

fn count(response: &Response<'_>) -> Result<u64, String> {
    let text = std::str::from_utf8(response.body).ok();
    text.and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| format!("no count: {}", String::from_utf8_lossy(response.body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Response<'_> {
        Response { status, body: body.as_bytes() }
    }

    #[test]
    fn keys_are_shared_out_without_a_rest() {
        let all = OwnKeys::shared_out("a/b", 2, 10, 3);
        let mut keys: Vec<usize> = Vec::new();
        for one in &all {
            keys.extend((0..one.counts.len()).map(|i| one.first + i * one.step));
        }
        keys.sort_unstable();
        assert_eq!(keys, (20..30).collect::<Vec<_>>());
    }

    #[test]
    fn a_lost_or_doubled_count_is_an_error() {
        let mut keys = OwnKeys::shared_out("a/b", 0, 1, 1).remove(0);
        let mut bytes = Vec::new();
        keys.request(&mut bytes);
        assert!(bytes.starts_with(b"POST /a/b/k000000?wait=30s HTTP/1.1\r\n"));
        assert_eq!(keys.check(&answer(200, "1")), Ok(()));
        assert!(keys.check(&answer(200, "1")).is_err());
        assert!(keys.check(&answer(503, "no")).unwrap_err().contains("503"));
        let mut hot = HotKey::new("a/b");
        assert_eq!(hot.check(&answer(200, "5")), Ok(()));
        assert!(hot.check(&answer(200, "5")).is_err());
        assert_eq!(hot.answered, 1);
    }

    #[test]
    fn an_echo_is_compared() {
        let mut echo = Fixed { request: post("/"), status: 200, is_echo: true };
        assert!(echo.check(&Response { status: 200, body: &PAYLOAD }).is_ok());
        assert!(echo.check(&answer(200, "x")).is_err());
        assert!(echo.check(&answer(202, "")).is_err());
    }
}
