//! One client: requests one after the other on a kept-alive connection, and what the listener has to
//! know about it to show it out.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::answer::{Answer, OnWritten};

/// Longest head of a request, and bytes read ahead of a body, per connection.
pub const BUFFER_BYTES_MAX: usize = 128 * 1024;

/// Answers up to this length, head and body together, are copied into one piece: the kernel takes longer to
/// read a list of pieces.
const GATHERED_BYTES_MAX: usize = 1_024;

/// What is known of a connection; belongs to its lane's thread.
#[derive(Debug)]
pub(crate) struct State {
    /// A request is being handled.
    busy: Cell<bool>,
    /// The lane's clock when the connection became quiet.
    quiet_since: Cell<u64>,
    clock: Rc<Cell<u64>>,
    written: Rc<Written>,
}

/// What is to be done when everything written so far has been flushed.
#[derive(Default)]
pub(crate) struct Written {
    waiting: Cell<bool>,
    closed: Cell<bool>,
    actions: RefCell<Vec<OnWritten>>,
}

impl State {
    pub(crate) fn new(clock: &Rc<Cell<u64>>) -> Rc<Self> {
        Rc::new(Self {
            busy: Cell::new(false),
            quiet_since: Cell::new(clock.get()),
            clock: Rc::clone(clock),
            written: Rc::default(),
        })
    }

    /// No request is being handled, since so many ticks of the lane's clock.
    pub(crate) fn quiet_for(&self) -> Option<u64> {
        (!self.busy.get()).then(|| self.clock.get() - self.quiet_since.get())
    }

    fn begin(&self) {
        self.busy.set(true);
    }

    fn end(&self) {
        self.busy.set(false);
        self.quiet_since.set(self.clock.get());
    }
}

impl Written {
    pub(crate) fn after_flush(&self, action: OnWritten) {
        if self.closed.get() {
            return;
        }
        self.actions.borrow_mut().push(action);
        self.waiting.set(true);
    }

    /// Nothing will be flushed any more: what still waits is dropped undone.
    fn close(&self) {
        self.closed.set(true);
        self.actions.take();
    }

    fn flushed(&self) {
        if self.waiting.replace(false) {
            let actions = self.actions.take();
            actions.into_iter().for_each(|action| action());
        }
    }
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Written({} waiting)", self.actions.borrow().len())
    }
}

/// Serves a client until it leaves, breaks the rules, or `stopping` is notified.
pub(crate) async fn serve<F, R>(
    stream: TcpStream,
    state: Rc<State>,
    stopping: Rc<Notify>,
    handler: Rc<F>,
) where
    F: Fn(Request<Incoming>) -> R + 'static,
    R: Future<Output = Response<Answer>> + 'static,
{
    // The machinery of a connection takes some 16 KiB, which a client that says nothing need not have.
    tokio::select! {
        biased;
        () = stopping.notified() => return,
        readable = stream.readable() => if readable.is_err() { return },
    }
    let io = Flushing { stream: TokioIo::new(stream), written: Rc::clone(&state.written) };
    let service = service_fn(move |request| {
        state.begin();
        let handled = handler(request);
        let state = Rc::clone(&state);
        async move {
            let response = handled.await.map(|answer| answer.on(&state.written));
            state.end();
            Ok::<_, Infallible>(response)
        }
    });
    let connection =
        http1::Builder::new().max_buf_size(BUFFER_BYTES_MAX).serve_connection(io, service);
    let mut connection = pin!(connection);
    // A client that breaks off or talks nonsense has been answered as far as it can be.
    tokio::select! {
        biased;
        _ = connection.as_mut() => {}
        () = stopping.notified() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// A stream that tells when everything has been written: hyper flushes it only then.
struct Flushing {
    stream: TokioIo<TcpStream>,
    written: Rc<Written>,
}

impl Drop for Flushing {
    fn drop(&mut self) {
        self.written.close();
    }
}

impl Read for Flushing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Flushing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.written.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        if bytes <= GATHERED_BYTES_MAX {
            let mut gathered = [0; GATHERED_BYTES_MAX];
            let mut rest = &mut gathered[..];
            for slice in slices {
                rest[..slice.len()].copy_from_slice(slice);
                rest = &mut rest[slice.len()..];
            }
            return Pin::new(&mut self.stream).poll_write(cx, &gathered[..bytes]);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}
