//! One kept-alive connection, and what is told apart when it fails: whether the other side can have got
//! the request.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// Longest wait for an answer; longer than any pause of the process.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// A connection to a port of this machine, opened when it is needed.
#[derive(Debug)]
pub(crate) struct Connection {
    port: u16,
    open: Option<BufReader<TcpStream>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Lost {
    /// Nobody listens: nothing was sent.
    Unsent,
    /// The connection broke after the request was begun.
    Unanswered,
}

impl Connection {
    pub(crate) fn new(port: u16) -> Self {
        Self { port, open: None }
    }

    /// Sends a request and waits for its answer: status and body.
    pub(crate) fn request(&mut self, head: &str, body: &[u8]) -> Result<(u16, String), Lost> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.connect().map_err(|_| Lost::Unsent)?,
        };
        let answer = exchange(&mut open, head, body).map_err(|_| Lost::Unanswered)?;
        self.open = Some(open);
        Ok(answer)
    }

    fn connect(&self) -> std::io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        Ok(BufReader::new(stream))
    }
}

/// `head` is the first line with further headers, each ended by CR LF.
fn exchange(
    open: &mut BufReader<TcpStream>,
    head: &str,
    body: &[u8],
) -> std::io::Result<(u16, String)> {
    let head = format!("{head}host: chaos\r\ncontent-length: {}\r\n\r\n", body.len());
    open.get_mut().write_all(&[head.as_bytes(), body].concat())?;
    let first = line(open)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no status in {first:?}")))?;
    let mut length = 0;
    loop {
        let header = line(open)?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    open.read_exact(&mut body)?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn line(open: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    open.read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
