//! Requests as `curl` sends them, one connection each.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Longest wait for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this name, without regard to case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.lines().filter_map(|line| line.split_once(':'));
        let mut fitting = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        fitting.next().map(|(_, value)| value.trim())
    }

    /// The body as text.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.body).context("the body is no UTF-8")
    }
}

/// One request to 127.0.0.1; `headers` are names and values.
pub fn request(
    method: &str,
    port: u16,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("nobody listens on port {port}"))?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n")?;
    }
    write!(head, "Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .with_context(|| format!("{method} http://127.0.0.1:{port}{path}: the connection broke"))?;
    parse(&answer).with_context(|| format!("{method} http://127.0.0.1:{port}{path}"))
}

/// The sum of a metric over its labels, on a page of metrics.
pub fn metric(page: &str, name: &str) -> Result<f64> {
    let mut found = false;
    let mut sum = 0.0;
    for line in page.lines() {
        let Some(rest) = line.strip_prefix(name) else { continue };
        if rest.starts_with(['{', ' '])
            && let Some((_, value)) = line.rsplit_once(' ')
        {
            found = true;
            sum += value.parse::<f64>()?;
        }
    }
    ensure!(found, "no metric {name}");
    Ok(sum)
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        bail!("no complete answer: {:?}", String::from_utf8_lossy(bytes));
    };
    let head = std::str::from_utf8(&bytes[..end]).context("the head is no UTF-8")?;
    let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let mut answer = Answer {
        status: status.with_context(|| format!("no status in '{first}'"))?,
        headers: headers.to_owned(),
        body: bytes[end + 4..].to_vec(),
    };
    if answer.header("transfer-encoding").is_some() {
        answer.body = joined_chunks(&answer.body).context("broken chunks")?;
    } else if let Some(length) = answer.header("content-length") {
        let length: usize = length.parse().context("no number in Content-Length")?;
        if answer.body.len() != length {
            bail!("{length} bytes announced, {} came", answer.body.len());
        }
    }
    Ok(answer)
}

fn joined_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut joined = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(joined);
        }
        let chunk = rest.get(end + 2..end + 2 + size)?;
        joined.extend_from_slice(chunk);
        rest = rest.get(end + 2 + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_in_both_framings() {
        let plain =
            parse(b"HTTP/1.1 200 OK\r\nStatus: 404\r\nContent-Length: 2\r\n\r\nok").unwrap();
        assert_eq!((plain.status, plain.header("status")), (200, Some("404")));
        assert_eq!(plain.body, b"ok");
        let chunked =
            b"HTTP/1.1 500 E\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap().body, b"abc");
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\n").is_err());
    }
}
