//! What an exchange runs over: a TCP connection, with or without TLS, or a Unix domain socket. Made by
//! the pool; the exchange itself does not care.

use std::io::{self, IoSlice};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::attempts::{Failure, FailureKind};
use crate::tls::TlsSettings;
use crate::url::{Authority, Place};

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
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_keepalive(true)?;
    Ok(stream)
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
