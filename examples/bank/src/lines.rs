//! The ingress `example.bank.v1/lines`: each line over a TCP connection is a record. It goes through all
//! routers of the ingress, and is answered with `ok` once every message that they made of it is durable,
//! or with `refused: REASON`. A client that gets no answer sends the line again.

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dormouse_sdk::ingress::{Ingress, Lane, LocalFuture, OpenError, SubmitError};
use dormouse_sdk::manifest::{Diagnostics, Fields, values};
use dormouse_sdk::module::{Binder, Bindings, Component, IngressBinding};
use dormouse_sdk::register_binder;
use dormouse_sdk::router::Routers;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The kind's name.
pub const KIND: &str = "example.bank.v1/lines";

/// Longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 4 << 10;

/// Connections of one lane; more wait in the kernel.
pub const CONNECTIONS_MAX: usize = 256;

/// How long a client may take to send a line that it has begun, and to take its answer.
pub const LINE_TIME_MAX: Duration = Duration::from_secs(10);

/// Memory that a line needs: itself and the messages that are made of it.
const LINE_MEMORY_BYTES: usize = 4 * LINE_BYTES_MAX;

/// Pause after an error of accepting, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

register_binder!(Binder { kind: KIND, summary: "payments as lines over TCP", bind });

/// Listens for lines.
#[derive(Debug)]
pub struct Lines {
    listen: String,
    routers: Routers,
    bound: OnceLock<TcpListener>,
}

fn bind(component: &Component, bindings: &mut Bindings, diagnostics: &mut Diagnostics) {
    let strict = component.is_strict();
    let Some(mut fields) = Fields::of(&component.spec, "spec", strict, diagnostics) else {
        return;
    };
    let id = fields.required_id(diagnostics);
    let listen = fields.required("listen", "`host:port`", diagnostics);
    let listen = listen.and_then(|node| values::text(node, "listen", diagnostics));
    fields.finish(diagnostics);
    let (Some(id), Some(listen)) = (id, listen) else {
        return;
    };
    let routers = Routers::of(&id);
    if routers.is_empty() {
        let message =
            format!("no router of `{id}` is linked into this binary: its lines would get lost");
        diagnostics.error(&component.span, message);
        return;
    }
    let ingress = Lines { listen: listen.to_owned(), routers, bound: OnceLock::new() };
    let span = component.span.clone();
    bindings.ingresses.push(IngressBinding { span, id, ingress: Arc::new(ingress) });
}

impl Ingress for Lines {
    fn open(&self) -> Result<Option<String>, OpenError> {
        let cannot =
            |error: io::Error| OpenError(format!("cannot listen on {}: {error}", self.listen));
        let listener = TcpListener::bind(&self.listen).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        self.bound.set(listener).map_err(|_| OpenError("it is open already".to_owned()))?;
        Ok(Some(format!("tcp://{address}")))
    }

    fn serve(self: Arc<Self>, lane: Lane) -> LocalFuture<()> {
        Box::pin(async move {
            // Each lane accepts from the one socket: connections spread over the shards.
            let socket = self.bound.get().and_then(|bound| bound.try_clone().ok());
            let listener = socket.and_then(|socket| tokio::net::TcpListener::from_std(socket).ok());
            let Some(listener) = listener else {
                tracing::error!(lane = lane.index(), "cannot accept on this lane; others can");
                return;
            };
            let mut connections = JoinSet::new();
            let mut stopped = std::pin::pin!(lane.stopped());
            loop {
                tokio::select! {
                    _ = &mut stopped => break,
                    Some(_) = connections.join_next() => {}
                    accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                        match accepted {
                            Ok((stream, _)) => {
                                let connection = Connection::new(stream, lane.clone(), Arc::clone(&self));
                                connections.spawn_local(connection.serve());
                            }
                            Err(_) => sleep(ACCEPT_PAUSE).await,
                        }
                    }
                }
            }
            drop(listener);
            while connections.join_next().await.is_some() {}
        })
    }
}

struct Connection {
    stream: BufReader<TcpStream>,
    lane: Lane,
    lines: Arc<Lines>,
}

impl Connection {
    fn new(stream: TcpStream, lane: Lane, lines: Arc<Lines>) -> Self {
        // Answers are small and waited for. A socket that does not take the option still serves.
        let _ = stream.set_nodelay(true);
        Self { stream: BufReader::new(stream), lane, lines }
    }

    /// Takes lines until the client goes away, breaks the rules, or the process stops.
    async fn serve(mut self) {
        while let Ok(true) = self.is_line_coming().await {
            // Only now is memory taken: connections on which nothing comes hold none.
            let Ok(room) = self.lane.admit(LINE_MEMORY_BYTES).await else { return };
            let Ok(Ok(line)) = timeout(LINE_TIME_MAX, self.read_line()).await else { return };
            let (answer, goes_on) = match line {
                Line::Whole(line) => match self.lines.routers.route(line) {
                    Ok(messages) => match self.lane.submit_all(messages, &room).await {
                        Ok(()) => ("ok\n".to_owned(), true),
                        Err(error @ SubmitError::Unserved(_)) => (refusal(&error), true),
                        // Some of it may have been accepted: the client has to send it again.
                        Err(_) => return,
                    },
                    Err(error) => (refusal(&error), true),
                },
                Line::Bad(reason) => (refusal(&reason), false),
                Line::Cut => return,
            };
            drop(room);
            let stream = self.stream.get_mut();
            let written = timeout(LINE_TIME_MAX, stream.write_all(answer.as_bytes())).await;
            if !goes_on || !matches!(written, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// Waits for the first bytes of a line.
    async fn is_line_coming(&mut self) -> io::Result<bool> {
        let lane = self.lane.clone();
        tokio::select! {
            biased;
            _ = lane.stopped() => Ok(false),
            bytes = self.stream.fill_buf() => Ok(!bytes?.is_empty()),
        }
    }

    async fn read_line(&mut self) -> io::Result<Line> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.stream).take(LINE_BYTES_MAX as u64 + 1);
        limited.read_until(b'\n', &mut bytes).await?;
        if bytes.pop() != Some(b'\n') {
            let is_too_long = bytes.len() >= LINE_BYTES_MAX;
            let reason = || format!("a line has at most {LINE_BYTES_MAX} bytes");
            return Ok(if is_too_long { Line::Bad(reason()) } else { Line::Cut });
        }
        let text = String::from_utf8(bytes);
        Ok(text.map_or_else(|error| Line::Bad(error.to_string()), Line::Whole))
    }
}

enum Line {
    Whole(String),
    /// It cannot be told where the next one begins, or the client speaks something else.
    Bad(String),
    /// The client went away within it: it was never sent.
    Cut,
}

fn refusal(reason: &impl std::fmt::Display) -> String {
    format!("refused: {}\n", reason.to_string().replace('\n', " "))
}
