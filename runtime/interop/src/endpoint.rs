//! A function server in the hands of a test: it reads requests whole, keeps them, and answers what a
//! closure says. One thread per connection, so that a closure may wait.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::wire::answer::Effects;
use crate::wire::request::Batch;

/// Longest wait for a request.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// A request that has come in whole.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its number, from 1.
    pub number: usize,
    pub came: Instant,
    /// The request line and the header fields.
    pub head: String,
    pub body: Vec<u8>,
    pub batch: Batch,
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// 200, the right content type, and this body.
    Good(Vec<u8>),
    /// A status line, header fields with their line ends, and a body.
    Raw(&'static str, &'static str, Vec<u8>),
    /// The connection is closed without an answer.
    Close,
}

impl From<Effects> for Reply {
    fn from(effects: Effects) -> Self {
        Self::Good(effects.encoded())
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    requests: Mutex<Vec<Arc<Request>>>,
    open: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

/// The server; gone when dropped, with all its connections.
pub struct Endpoint {
    shared: Arc<Shared>,
    port: u16,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Listens on `port` of 127.0.0.1.
    pub fn start(
        port: u16,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            requests: Mutex::default(),
            open: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if server.is_over.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(copy) = stream.try_clone() {
                    lock(&server.open).push(copy);
                }
                let server = Arc::clone(&server);
                let serve = move || drop(serve(&server, stream));
                // Hundreds of these may wait at once.
                drop(thread::Builder::new().stack_size(256 << 10).spawn(serve));
            }
        });
        Ok(Self { shared, port })
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Arc<Request>> {
        lock(&self.shared.requests).clone()
    }

    /// The requests for one address, `namespace/name/id`, so far.
    #[must_use]
    pub fn requests_of(&self, target: &str) -> Vec<Arc<Request>> {
        let mut requests = self.requests();
        requests.retain(|request| request.batch.target == target);
        requests
    }

    /// The messages that one address got, in the order of its requests.
    #[must_use]
    pub fn texts(&self, target: &str) -> Vec<String> {
        self.requests_of(target).iter().flat_map(|request| request.batch.texts()).collect()
    }

    /// Waits until `look` finds something in the requests.
    pub fn wait_for<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&[Arc<Request>]) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(&self.requests()) {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let requests = self.requests();
                let last: Vec<_> = requests.iter().rev().take(10).map(|last| &last.batch).collect();
                bail!("waited for {what}; of {} requests the last: {last:#?}", requests.len());
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until an address has got this text; the request that brought it.
    pub fn got(&self, target: &str, text: &str) -> Result<Arc<Request>> {
        self.wait_for(&format!("`{text}` for {target}"), |requests| {
            let fits = |request: &&Arc<Request>| {
                request.batch.target == target && request.batch.texts().iter().any(|t| t == text)
            };
            requests.iter().find(fits).cloned()
        })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, so that the port is free.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        for stream in lock(&self.shared.open).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(shared: &Shared, mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some((head, body)) = read_request(&mut reader)? {
        let batch = Batch::read(&body)?;
        let request = {
            let mut requests = lock(&shared.requests);
            let number = requests.len() + 1;
            let came = Instant::now();
            requests.push(Arc::new(Request { number, came, head, body, batch }));
            Arc::clone(&requests[number - 1])
        };
        let (status, headers, body) = match (shared.handler)(&request) {
            Reply::Good(body) => ("200 OK", "content-type: application/octet-stream\r\n", body),
            Reply::Raw(status, headers, body) => (status, headers, body),
            Reply::Close => return Ok(stream.shutdown(Shutdown::Both)?),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n");
        stream.write_all(&[head.as_bytes(), &body].concat())?;
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> Result<Option<(String, Vec<u8>)>> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        if head[before..].trim_end().is_empty() {
            break;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Some((head, body)))
}
