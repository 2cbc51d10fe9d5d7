//! A function server that can be told to fail. Its function keeps a state `log` through the protocol's
//! handshake: each message adds itself (or, when the server only counts, one), and whoever waits gets
//! the state as the reply.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use dormouse_interop::wire::{STRING, field, fields, only, text, typed_value};

/// What the server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    /// Status 500 with a text.
    Fails,
    /// 200 and the right type, but bytes that are no answer.
    Garbage,
    /// A good answer under the type of a web page.
    WrongType,
    /// 200 with no body and no type.
    Empty,
    /// Good, but for requests with `bad` in them, which get a status 500.
    Spoilt,
    /// Takes the request and stays silent until the mood changes; then it closes.
    Hangs,
}

struct Shared {
    mood: Mutex<Mood>,
    changed: Condvar,
    /// The state is the number of messages instead of their texts.
    counts: bool,
    open: Mutex<Vec<TcpStream>>,
    requests: Mutex<usize>,
}

/// The server; gone when dropped, with all its connections.
pub(crate) struct Server {
    shared: Arc<Shared>,
    port: u16,
    is_over: Arc<Mutex<bool>>,
}

impl Server {
    pub(crate) fn start(port: u16, mood: Mood, counts: bool) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let shared = Arc::new(Shared {
            mood: Mutex::new(mood),
            changed: Condvar::new(),
            counts,
            open: Mutex::default(),
            requests: Mutex::default(),
        });
        let is_over = Arc::new(Mutex::new(false));
        let (server, over) = (Arc::clone(&shared), Arc::clone(&is_over));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if *lock(&over) {
                    return;
                }
                if let Ok(copy) = stream.try_clone() {
                    lock(&server.open).push(copy);
                }
                let server = Arc::clone(&server);
                let serve = move || drop(serve(&server, stream));
                // A thousand of these wait at once in some tests.
                drop(thread::Builder::new().stack_size(256 << 10).spawn(serve));
            }
        });
        Ok(Self { shared, port, is_over })
    }

    pub(crate) fn set(&self, mood: Mood) {
        *lock(&self.shared.mood) = mood;
        self.shared.changed.notify_all();
    }

    /// Requests that have come in whole.
    pub(crate) fn requests(&self) -> usize {
        *lock(&self.shared.requests)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        *lock(&self.is_over) = true;
        // Wakes the thread that accepts, so that the port is free.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        for stream in lock(&self.shared.open).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(shared: &Shared, mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read_request(&mut reader)? {
        *lock(&shared.requests) += 1;
        let mood = *lock(&shared.mood);
        let octets = "application/octet-stream";
        let (status, content_type, body) = match mood {
            Mood::Spoilt if is_bad(&request) => {
                ("500 Internal Server Error", "text/plain", b"it is bad".to_vec())
            }
            Mood::Good | Mood::Spoilt => ("200 OK", octets, answer(&request, shared.counts)?),
            Mood::Fails => {
                ("500 Internal Server Error", "text/plain", b"the database is away".to_vec())
            }
            Mood::Garbage => ("200 OK", octets, b"\xff\xff garbage".to_vec()),
            Mood::WrongType => ("200 OK", "text/html", answer(&request, shared.counts)?),
            Mood::Empty => ("200 OK", "", Vec::new()),
            Mood::Hangs => {
                let mut now = lock(&shared.mood);
                while *now == Mood::Hangs {
                    let waited = shared.changed.wait_timeout(now, Duration::from_secs(60));
                    now = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                // The list of open connections holds this one too, so that it does not end by itself.
                return Ok(stream.shutdown(Shutdown::Both)?);
            }
        };
        let mut head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
        if !content_type.is_empty() {
            head += &format!("content-type: {content_type}\r\n");
        }
        stream.write_all(&[head.as_bytes(), b"\r\n", &body].concat())?;
    }
    Ok(())
}

fn is_bad(request: &[u8]) -> bool {
    request.windows(3).any(|window| window == b"bad")
}

fn read_request(reader: &mut impl BufRead) -> Result<Option<Vec<u8>>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(body))
}

/// The function: `ToFunction` in, `FromFunction` out.
fn answer(request: &[u8], counts: bool) -> Result<Vec<u8>> {
    let batch = only(request, 100)?;
    let Some(state) = fields(batch, 2)?.into_iter().next() else {
        let missing = [field(1, b"log"), field(3, STRING.as_bytes())].concat();
        return Ok(field(101, &field(1, &missing)));
    };
    let mut log = match fields(state, 2)?.first() {
        Some(value) => text(value)?,
        None => String::new(),
    };
    let mut effects = Vec::new();
    for invocation in fields(batch, 3)? {
        let message = text(only(invocation, 2)?)?;
        if counts && message != "list" {
            log = (log.parse::<u64>().unwrap_or(0) + 1).to_string();
        } else if message != "list" {
            log += &format!("{message}\n");
        }
        if let Some(caller) = fields(invocation, 1)?.first() {
            let reply = field(2, &typed_value(STRING, &field(1, log.as_bytes())));
            effects.extend(field(2, &[field(1, caller), reply].concat()));
        }
    }
    let value = field(3, &typed_value(STRING, &field(1, log.as_bytes())));
    let changed = field(1, &[vec![0x08, 1], field(2, b"log"), value].concat());
    Ok(field(100, &[changed, effects].concat()))
}
