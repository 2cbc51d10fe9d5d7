//! A client that writes bytes and reads one answer, so that tests decide about every byte.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Head fields, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value, or the empty string.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let address = SocketAddr::new([127, 0, 0, 1].into(), address.port());
        Self { stream: TcpStream::connect(address).await.expect("a connection"), read: Vec::new() }
    }

    /// Writes a request (`headers` are lines without their ends) and reads its answer.
    pub async fn send(&mut self, line: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Answer {
        self.write(line, headers, body.as_ref()).await;
        self.answer().await.expect("an answer")
    }

    pub async fn write(&mut self, line: &str, headers: &[&str], body: &[u8]) {
        let mut request = format!("{line} HTTP/1.1\r\nhost: test\r\n");
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        let mut request = format!("{request}content-length: {}\r\n\r\n", body.len()).into_bytes();
        request.extend_from_slice(body);
        // A server may refuse and close before it has read all.
        let _ = self.stream.write_all(&request).await;
    }

    /// The next answer, or `None` when the server closes.
    pub async fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, length)) = parse(&self.read) {
                self.read.drain(..length);
                return Some(answer);
            }
            if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

/// One request on a connection of its own.
pub async fn send(
    address: SocketAddr,
    line: &str,
    headers: &[&str],
    body: impl AsRef<[u8]>,
) -> Answer {
    Client::connect(address).await.send(line, headers, body).await
}

fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head in UTF-8");
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
    let fields = lines.filter_map(|line| line.split_once(": "));
    let headers: Vec<_> =
        fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut answer = Answer { status, headers, body: Vec::new() };
    let length: usize = answer.header("content-length").parse().unwrap_or(0);
    let body = bytes.get(end..end + length)?;
    answer.body = body.to_vec();
    Some((answer, end + length))
}
