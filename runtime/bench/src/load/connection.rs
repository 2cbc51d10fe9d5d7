//! One kept-alive HTTP/1.1 connection of the load generator, and single requests for set-up and
//! checks. A response must say its length: the servers that are measured do.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Header lines of a response that are understood.
const HEADERS_MAX: usize = 32;

/// Bytes of a response that are waited for at most.
const RESPONSE_BYTES_MAX: usize = 16 << 20;

/// How long the answer of a single request is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer; its body lies in the connection's buffer.
#[derive(Debug)]
pub(crate) struct Response<'c> {
    pub(crate) status: u16,
    pub(crate) body: &'c [u8],
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address);
        let stream = stream.await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(4_096) })
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Response<'_>> {
        self.received.clear();
        self.stream.write_all(request).await.context("cannot send a request")?;
        loop {
            let read = self.stream.read_buf(&mut self.received).await;
            let read = read.context("cannot read an answer")?;
            ensure!(read > 0, "the server closed the connection before it answered");
            ensure!(self.received.len() <= RESPONSE_BYTES_MAX, "an answer of more than 16 MB");
            if let Some((status, head, length)) = parse_head(&self.received)?
                && self.received.len() >= head + length
            {
                ensure!(self.received.len() == head + length, "more bytes than one answer has");
                let body = &self.received[head..];
                return Ok(Response { status, body });
            }
        }
    }
}

/// Status, bytes of the head, bytes of the body; `None` while the head is incomplete.
fn parse_head(received: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(received).context("no HTTP answer")?
    else {
        return Ok(None);
    };
    let status = response.code.unwrap_or(0);
    let length = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let Some(length) = length else {
        bail!("an answer {status} without a content length");
    };
    let length = std::str::from_utf8(length.value).ok().and_then(|text| text.parse().ok());
    Ok(Some((status, head, length.context("a content length that is no number")?)))
}

/// One request on a connection of its own: status and body as text. Waits on this thread.
pub(crate) fn request(address: &str, request: &[u8]) -> Result<(u16, String)> {
    let mut stream = std::net::TcpStream::connect(address)
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request).context("cannot send a request")?;
    let mut received = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = stream.read(&mut chunk).with_context(|| format!("no answer of {address}"))?;
        ensure!(read > 0, "{address} closed the connection before it answered");
        received.extend_from_slice(&chunk[..read]);
        if let Some((status, head, length)) = parse_head(&received)?
            && received.len() >= head + length
        {
            let body = String::from_utf8_lossy(&received[head..]).into_owned();
            return Ok((status, body));
        }
    }
}

/// A GET's body; any other status than 200 is an error.
pub(crate) fn get(address: &str, path: &str) -> Result<String> {
    let text = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let (status, body) = request(address, text.as_bytes())?;
    ensure!(status == 200, "GET http://{address}{path}: {status} {body}");
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_parsed() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(parse_head(whole).unwrap(), Some((202, whole.len() - 3, 3)));
        assert_eq!(parse_head(&whole[..20]).unwrap(), None);
        assert!(parse_head(b"HTTP/1.1 200 OK\r\n\r\n").unwrap_err().to_string().contains("length"));
        assert!(parse_head(b"SMTP 1\r\n\r\n").is_err());
    }
}
