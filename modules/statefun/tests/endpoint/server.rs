//! Servers to call: a real hyper server with a handler, and raw sockets for what no server would do.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use http::request::Parts;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) type Answer = http::Response<Full<Bytes>>;

/// What a server has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: Cell<usize>,
    pub(crate) open: Cell<usize>,
    pub(crate) requests: RefCell<Vec<Bytes>>,
    /// The heads of the requests.
    pub(crate) heads: RefCell<Vec<Parts>>,
    /// Requests that are being answered, and the most that ever were.
    pub(crate) busy: Cell<usize>,
    pub(crate) busiest: Cell<usize>,
}

/// Which version a server speaks on a connection, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spoken {
    pub(crate) http2: bool,
    /// Most requests at once on a connection.
    pub(crate) streams: Option<u32>,
    /// Asks a client to leave after so many requests.
    pub(crate) requests: Option<usize>,
}

pub(crate) const HTTP1: Spoken = Spoken { http2: false, streams: None, requests: None };
pub(crate) const HTTP2: Spoken = Spoken { http2: true, ..HTTP1 };

/// hyper's tasks run on the test's thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local;

impl<F: Future + 'static> Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}

/// Serves with `handler`, which gets the number of the request, from 1.
pub(crate) async fn hyper_server<F, R>(handler: F) -> (SocketAddr, Rc<Seen>)
where
    F: Fn(usize) -> R + 'static,
    R: Future<Output = Answer> + 'static,
{
    plain_server(HTTP1, handler).await
}

/// The same in the version that is asked for.
pub(crate) async fn plain_server<F, R>(spoken: Spoken, handler: F) -> (SocketAddr, Rc<Seen>)
where
    F: Fn(usize) -> R + 'static,
    R: Future<Output = Answer> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Rc::new(Seen::default());
    let (handler, outer) = (Rc::new(handler), Rc::clone(&seen));
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(serve(stream, spoken, Rc::clone(&handler), Rc::clone(&outer)));
        }
    });
    (address, seen)
}

/// Serves one connection to its end.
pub(crate) async fn serve<S, F, R>(stream: S, spoken: Spoken, handler: Rc<F>, seen: Rc<Seen>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Fn(usize) -> R + 'static,
    R: Future<Output = Answer> + 'static,
{
    seen.connections.update(|n| n + 1);
    seen.open.update(|n| n + 1);
    let (outer, served) = (Rc::clone(&seen), Rc::new(Cell::new(0)));
    let counted = Rc::clone(&served);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (handler, seen) = (Rc::clone(&handler), Rc::clone(&seen));
        counted.update(|n| n + 1);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            seen.heads.borrow_mut().push(head);
            seen.requests.borrow_mut().push(body);
            seen.busy.update(|n| n + 1);
            seen.busiest.update(|n| n.max(seen.busy.get()));
            let number = seen.requests.borrow().len();
            let answer = handler(number).await;
            seen.busy.update(|n| n - 1);
            Ok::<_, Infallible>(answer)
        }
    });
    if spoken.http2 {
        let mut builder = http2::Builder::new(Local);
        builder.max_concurrent_streams(spoken.streams);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut is_leaving = false;
        poll_fn(|cx| {
            if !is_leaving && spoken.requests.is_some_and(|most| served.get() >= most) {
                is_leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(cx).map(drop)
        })
        .await;
    } else {
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
    outer.open.update(|n| n - 1);
}

/// Gives each connection, with its number from 1, to `handler`.
pub(crate) async fn raw_server<F, R>(handler: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> R + 'static,
    R: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        for number in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(handler(number, stream));
        }
    });
    address
}

/// Reads one request: its head as text, and its body.
pub(crate) async fn read_request<S>(stream: &mut S) -> Option<(String, Vec<u8>)>
where
    S: AsyncRead + Unpin,
{
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if bytes.len() >= end + 4 + length {
                return Some((head, bytes[end + 4..].to_vec()));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Reads a request and writes `answer` as it is.
pub(crate) async fn answer_raw<S>(stream: &mut S, answer: &[u8]) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if read_request(stream).await.is_none() {
        return false;
    }
    stream.write_all(answer).await.is_ok()
}

/// A good answer with this body.
pub(crate) fn good(body: &'static [u8]) -> Answer {
    http::Response::builder()
        .header("Content-Type", "application/octet-stream")
        .body(Full::from(body))
        .unwrap()
}

/// An answer with a status and nothing else.
pub(crate) fn status(code: u16) -> Answer {
    http::Response::builder().status(code).body(Full::default()).unwrap()
}
