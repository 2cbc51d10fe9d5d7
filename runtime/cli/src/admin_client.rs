//! Asks the admin listener of a running process. One request per connection: HTTP/1.1 with known
//! lengths is all that the listener speaks to us.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::failure::Failure;

/// Longest wait for the listener to say something.
const PATIENCE: Duration = Duration::from_secs(60);

/// Posts JSON; the body of a good answer.
pub(crate) fn post(admin: SocketAddr, path: &str, body: &str) -> Result<String, Failure> {
    let unreachable = |error: std::io::Error| {
        Failure::Failed(format!(
            "the admin listener at {admin} does not answer: {error}; is the process running, and with \
             this --admin address?"
        ))
    };
    let answer = exchange(admin, path, body).map_err(unreachable)?;
    let text = String::from_utf8_lossy(&answer);
    let strange = || Failure::Failed(format!("{admin} is not the admin listener of a dormouse"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(strange)?;
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|head| head.get(..3));
    match status {
        Some("200") => Ok(body.to_owned()),
        Some("404") => Err(strange()),
        Some("400") => Err(Failure::Input(body.trim_end().to_owned())),
        Some(_) => Err(Failure::Failed(format!("{admin}: {}", body.trim_end()))),
        None => Err(strange()),
    }
}

fn exchange(admin: SocketAddr, path: &str, body: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {admin}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
