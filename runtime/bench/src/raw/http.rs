//! Bare hyper servers, run as processes of their own: one that answers with the request's body, and
//! one that asks the first over kept-alive connections for every request. Two threads each, as the
//! servers that they are held against; connections are dealt out to them in turn.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::LocalSet;

use crate::process::READY;
use crate::rows::SHARDS;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4_096;

/// What a bare server does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    Echo,
    /// Asks the server at this address, and passes its answer on.
    Proxy(SocketAddr),
}

/// Serves until the process is ended.
pub(crate) fn serve(service: Service) -> Result<()> {
    let listener = listen()?;
    let mut threads = Vec::new();
    for _ in 0..SHARDS {
        let (sender, receiver) = unbounded_channel();
        std::thread::spawn(move || run_thread(service, receiver));
        threads.push(sender);
    }
    println!("bare http://{}\n{READY}", listener.local_addr()?);
    std::io::stdout().flush()?;
    for index in 0.. {
        let (stream, _) = listener.accept().context("cannot accept a connection")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let thread = &threads[index % threads.len()];
        thread.send(stream).ok().context("a thread has ended")?;
    }
    Ok(())
}

/// A free port whose queue holds all clients that connect at once: one that is turned away tries again
/// a second later, and would be measured with that.
pub(crate) fn listen() -> Result<StdListener> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        socket.listen(BACKLOG)?.into_std()
    })?;
    listener.set_nonblocking(false)?;
    Ok(listener)
}

fn run_thread(service: Service, mut streams: UnboundedReceiver<StdStream>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let backend = match service {
            Service::Echo => None,
            Service::Proxy(address) => Some(Rc::new(Backend { address, idle: RefCell::default() })),
        };
        while let Some(stream) = streams.recv().await {
            let stream = TcpStream::from_std(stream)?;
            let backend = backend.clone();
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| answer(backend.clone(), request));
                let io = TokioIo::new(stream);
                // A connection that the client closes is no failure of the server.
                drop(
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await,
                );
            });
        }
        Ok(())
    })
}

async fn answer(
    backend: Option<Rc<Backend>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let answered = async {
        let body = request.into_body().collect().await?.to_bytes();
        match backend {
            None => Ok(body),
            Some(backend) => backend.ask(body).await,
        }
    };
    Ok(match answered.await {
        Ok(body) => Response::new(Full::new(body)),
        Err(error) => {
            let error: anyhow::Error = error;
            let mut response = Response::new(Full::new(Bytes::from(format!("{error:#}"))));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    })
}

/// Connections of one thread to the server behind it; each carries one request at a time.
#[derive(Debug)]
struct Backend {
    address: SocketAddr,
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
}

impl Backend {
    async fn ask(&self, body: Bytes) -> Result<Bytes> {
        let idle = self.idle.borrow_mut().pop();
        let mut sender = match idle {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await?;
        let request = Request::post("/").header("host", "localhost").body(Full::new(body))?;
        let answer = sender.send_request(request).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        self.idle.borrow_mut().push(sender);
        Ok(body)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            // Whoever uses the connection sees its failure.
            drop(connection.await);
        });
        Ok(sender)
    }
}
