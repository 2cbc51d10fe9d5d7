//! Servers to call: a real hyper server with a handler, and raw sockets for what no server would do.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) type Answer = http::Response<Full<Bytes>>;

/// What a server has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: Cell<usize>,
    pub(crate) open: Cell<usize>,
    pub(crate) requests: RefCell<Vec<Bytes>>,
}

/// Serves with `handler`, which gets the number of the request, from 1.
pub(crate) async fn hyper_server<F, R>(handler: F) -> (SocketAddr, Rc<Seen>)
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
            outer.connections.update(|n| n + 1);
            outer.open.update(|n| n + 1);
            let (handler, seen) = (Rc::clone(&handler), Rc::clone(&outer));
            tokio::task::spawn_local(async move {
                let counted = Rc::clone(&seen);
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let (handler, seen) = (Rc::clone(&handler), Rc::clone(&seen));
                    async move {
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        seen.requests.borrow_mut().push(body);
                        let number = seen.requests.borrow().len();
                        Ok::<_, Infallible>(handler(number).await)
                    }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                counted.open.update(|n| n - 1);
            });
        }
    });
    (address, seen)
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
pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
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
pub(crate) async fn answer_raw(stream: &mut TcpStream, answer: &[u8]) -> bool {
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
