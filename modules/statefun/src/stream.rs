//! What an exchange runs over: a TCP connection, with or without TLS, or a Unix domain socket. Made by
//! the pool; the exchange itself does not care.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::attempts::{Failure, FailureKind};
use crate::tls::TlsSettings;
use crate::url::{Authority, Place};

/// How long an address of a host may be silent until the next one is tried beside it.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// Most addresses of a host that are tried.
const ADDRESSES_MAX: usize = 16;

/// A connection without any protocol yet.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects in plain.
    pub async fn connect(authority: &Authority) -> Result<Self, Failure> {
        match &authority.place {
            Place::Host(host, port) => tcp(host, *port).await.map(Self::Tcp),
            Place::Socket(path) => UnixStream::connect(path).await.map(Self::Unix),
        }
        .map_err(|error| {
            let what = match &authority.place {
                Place::Socket(path) => missing(path, &error),
                Place::Host(..) => error.to_string(),
            };
            failure(format!("cannot connect to {authority}: {what}"))
        })
    }

    /// Connects with TLS.
    pub async fn connect_tls(
        authority: &Authority,
        settings: &TlsSettings,
        config: Arc<ClientConfig>,
    ) -> Result<Self, Failure> {
        let Place::Host(host, port) = &authority.place else {
            return Self::connect(authority).await;
        };
        let name = ServerName::try_from(host.clone()).map_err(|_| {
            failure(format!("`{host}` is no host name that a certificate can be for"))
        })?;
        let stream = tcp(host, *port)
            .await
            .map_err(|error| failure(format!("cannot connect to {authority}: {error}")))?;
        let connected = TlsConnector::from(config).connect(name, stream).await;
        connected
            .map(|stream| Self::Tls(Box::new(stream)))
            .map_err(|error| failure(settings.explain(&authority.to_string(), &error)))
    }

    /// Whether the other side has chosen HTTP/2 during the handshake.
    #[must_use]
    pub fn has_chosen_http2(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            Self::Tcp(_) | Self::Unix(_) => false,
        }
    }

    /// Whether the other side has neither closed nor said anything. Makes no system call unless the
    /// socket has become readable.
    pub fn is_silent(&mut self) -> bool {
        let would_block = |read: io::Result<usize>| {
            read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        match self {
            Self::Tcp(stream) => would_block(stream.try_read(&mut [0])),
            Self::Unix(stream) => would_block(stream.try_read(&mut [0])),
            // Tickets and the like may have come, which are nothing to us; the end of TLS is an end.
            Self::Tls(stream) => {
                let mut byte = [0];
                let mut context = Context::from_waker(Waker::noop());
                let mut read = ReadBuf::new(&mut byte);
                Pin::new(stream).poll_read(&mut context, &mut read).is_pending()
            }
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = tokio::net::lookup_host((host, port)).await?;
    let stream = connect_first(addresses.take(ADDRESSES_MAX)).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_keepalive(true)?;
    Ok(stream)
}

/// A connection to the first address that takes one. An address that is silent holds up the next one only
/// for a moment: a host may well have one that leads nowhere from here.
async fn connect_first(mut addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut tries = JoinSet::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    loop {
        let limit = match addresses.next() {
            Some(address) => {
                tries.spawn(TcpStream::connect(address));
                NEXT_ADDRESS_AFTER
            }
            // Whoever asks for the connection has a limit of their own.
            None => Duration::MAX,
        };
        match timeout(limit, tries.join_next()).await {
            Ok(Some(tried)) => match tried.map_err(io::Error::other).flatten() {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            },
            Ok(None) => return Err(failed),
            Err(_) => {}
        }
    }
}

fn missing(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket; does the function run?".to_owned(),
        io::ErrorKind::ConnectionRefused if path.exists() => {
            "nobody listens on this socket; does the function run?".to_owned()
        }
        _ => error.to_string(),
    }
}

fn failure(text: String) -> Failure {
    Failure::new(FailureKind::Connection, text)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => {
                // What was written may still wait in the session. When it cannot be sent, the answer
                // may be there all the same; if not, reading fails too.
                let _ = Pin::new(&mut **stream).poll_flush(cx);
                Pin::new(stream).poll_read(cx, buffer)
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// A listener that takes no connection any more, as if nobody were there, and what fills it.
    fn silent() -> (Socket, Vec<Socket>, SocketAddr) {
        let new = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = new();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let fill = |_| {
            let socket = new();
            socket.set_nonblocking(true).unwrap();
            // It is under way; nobody waits for it.
            let _ = socket.connect(&address);
            socket
        };
        let filled = (0..8).map(fill).collect();
        (listener, filled, address.as_socket().unwrap())
    }

    fn connected(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connect = connect_first(addresses.iter().copied());
        runtime.block_on(async { timeout(Duration::from_secs(20), connect).await.unwrap() })
    }

    #[test]
    fn an_address_that_is_silent_or_refuses_does_not_keep_others_from_being_tried() {
        let (_listener, _filled, silent) = silent();
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = server.local_addr().unwrap();
        let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for addresses in
            [[silent, refusing, good], [refusing, silent, good], [good, silent, silent]]
        {
            let stream = connected(&addresses).unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good);
        }
        let error = connected(&[refusing, refusing]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(connected(&[]).unwrap_err().to_string().contains("no address"));
    }
}
