//! Accepting: one bound socket for the process, one accept loop per lane, connections spread evenly
//! over the lanes. At the bound of connections nobody accepts; clients wait in the kernel's backlog.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use dormouse_sdk::ingress::{Lane, OpenError};
use http::{Request, Response};
use hyper::body::Incoming;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{interval, sleep};

use crate::answer::Answer;
use crate::connection::{self, State};

/// Open connections of one listener, over all lanes. One takes 25 to 40 KiB once it has sent a request.
pub const CONNECTIONS_MAX: usize = 10_240;
/// Connections that the kernel holds for us while we do not accept (it may allow fewer).
pub const BACKLOG: i32 = 4_096;
/// A connection on which no request has been completed for so long is closed: one kept alive, or a
/// client that sends a request's head too slowly.
pub const QUIET_SECONDS_MAX: u64 = 60;
/// How often a stopping listener looks whether its connections have ended.
const STOP_CHECK: Duration = Duration::from_millis(20);
/// After so many looks it closes connections on which no request is being handled.
const STOP_QUIET_CHECKS: u64 = 25;
/// Pause after an error of accepting, such as too many open files, and while the bound is reached.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// How far lanes may differ in their number of connections before one is handed over.
const SPREAD: usize = 1;

/// A listener, shared by all lanes.
#[derive(Debug)]
pub struct Listener {
    /// Host and port.
    listen: String,
    quiet_seconds_max: u64,
    bound: OnceLock<TcpListener>,
    lanes: OnceLock<Lanes>,
}

#[derive(Debug)]
struct Lanes {
    open: Vec<AtomicUsize>,
    handed_over: Vec<mpsc::Sender<Accepted>>,
    inboxes: Mutex<Vec<Option<mpsc::Receiver<Accepted>>>>,
}

/// A connection on its way to another lane.
#[derive(Debug)]
struct Accepted {
    stream: TcpStream,
    slot: Slot,
}

/// Gives a lane's place back.
#[derive(Debug)]
struct Slot {
    listener: Arc<Listener>,
    lane: usize,
}

impl Listener {
    #[must_use]
    pub fn new(listen: impl Into<String>) -> Arc<Self> {
        Self::with_quiet_seconds(listen, QUIET_SECONDS_MAX)
    }

    /// With another bound than [`QUIET_SECONDS_MAX`].
    #[must_use]
    pub fn with_quiet_seconds(listen: impl Into<String>, quiet_seconds_max: u64) -> Arc<Self> {
        Arc::new(Self {
            listen: listen.into(),
            quiet_seconds_max,
            bound: OnceLock::new(),
            lanes: OnceLock::new(),
        })
    }

    /// Binds; answers where it listens, with the port that port 0 became.
    pub fn open(&self) -> Result<SocketAddr, OpenError> {
        let (socket, address) = bind(&self.listen).map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "; another process (or another component of this application) uses the port"
                }
                io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege",
                _ => "",
            };
            OpenError(format!("cannot listen on {}: {error}{advice}", self.listen))
        })?;
        if self.bound.set(socket).is_err() {
            return Err(OpenError(format!("{} is open already", self.listen)));
        }
        Ok(address)
    }

    /// Serves on this lane until it is stopped; then finishes the requests in flight.
    pub async fn serve<F, R>(self: Arc<Self>, lane: Lane, handler: F)
    where
        F: Fn(Request<Incoming>) -> R + 'static,
        R: Future<Output = Response<Answer>> + 'static,
    {
        let lanes = self.lanes.get_or_init(|| Lanes::new(lane.count()));
        let inbox = lanes.inbox(lane.index());
        // A lane without a socket of its own leaves the clients to the others.
        let (Some(mut inbox), Ok(listener)) = (inbox, self.socket()) else { return };
        let clients = Clients::new(handler);
        let mut ticks = interval(Duration::from_secs(1));
        let mut stopped = std::pin::pin!(lane.stopped());
        loop {
            let room = self.has_room();
            tokio::select! {
                _ = &mut stopped => break,
                _ = ticks.tick() => clients.tick(self.quiet_seconds_max),
                Some(accepted) = inbox.recv() => clients.take_over(accepted),
                accepted = listener.accept(), if room => match accepted {
                    Ok((stream, _)) => self.place(stream, lane.index(), &clients),
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                },
                () = sleep(ACCEPT_PAUSE), if !room => {}
            }
        }
        drop(listener);
        inbox.close();
        while let Some(accepted) = inbox.recv().await {
            clients.take_over(accepted);
        }
        clients.finish().await;
    }

    fn socket(&self) -> io::Result<tokio::net::TcpListener> {
        let bound = self.bound.get().ok_or(io::ErrorKind::NotConnected)?;
        tokio::net::TcpListener::from_std(bound.try_clone()?)
    }

    fn has_room(&self) -> bool {
        let open = self.lanes.get().map(|lanes| lanes.open.iter().map(|n| n.load(Relaxed)).sum());
        open.unwrap_or(0) < CONNECTIONS_MAX
    }

    /// Keeps an accepted connection, or hands it to a lane that has fewer.
    fn place<F, R>(
        self: &Arc<Self>,
        stream: tokio::net::TcpStream,
        own: usize,
        clients: &Clients<F>,
    ) where
        F: Fn(Request<Incoming>) -> R + 'static,
        R: Future<Output = Response<Answer>> + 'static,
    {
        let Some(lanes) = self.lanes.get() else { return };
        let open = |lane: usize| lanes.open[lane].load(Relaxed);
        let emptiest = (0..lanes.open.len()).min_by_key(|lane| open(*lane)).unwrap_or(own);
        let lane = if open(own) > open(emptiest) + SPREAD { emptiest } else { own };
        if lane == own {
            return clients.start(stream, self.slot(own));
        }
        let Ok(stream) = stream.into_std() else { return };
        let accepted = Accepted { stream, slot: self.slot(lane) };
        if let Err(refused) = lanes.handed_over[lane].try_send(accepted) {
            // That lane is stopping, or slow to take over: this one serves the client itself.
            let stream = refused.into_inner().stream;
            clients.take_over(Accepted { stream, slot: self.slot(own) });
        }
    }

    fn slot(self: &Arc<Self>, lane: usize) -> Slot {
        if let Some(lanes) = self.lanes.get() {
            lanes.open[lane].fetch_add(1, Relaxed);
        }
        Slot { listener: Arc::clone(self), lane }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(lanes) = self.listener.lanes.get() {
            lanes.open[self.lane].fetch_sub(1, Relaxed);
        }
    }
}

impl Lanes {
    fn new(count: usize) -> Self {
        let channels = (0..count).map(|_| mpsc::channel(CONNECTIONS_MAX));
        let (handed_over, inboxes): (Vec<_>, Vec<_>) =
            channels.map(|(sender, receiver)| (sender, Some(receiver))).unzip();
        Self {
            open: (0..count).map(|_| AtomicUsize::new(0)).collect(),
            handed_over,
            inboxes: Mutex::new(inboxes),
        }
    }

    fn inbox(&self, lane: usize) -> Option<mpsc::Receiver<Accepted>> {
        let mut inboxes = self.inboxes.lock().unwrap_or_else(|poison| poison.into_inner());
        inboxes.get_mut(lane)?.take()
    }
}

fn bind(listen: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in listen.to_socket_addrs()? {
        match bind_to(address) {
            Ok(listener) => {
                let address = listener.local_addr()?;
                return Ok((listener, address));
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a restarted process bind while old connections linger; two listeners still exclude each
    // other.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The connections of one lane.
struct Clients<F> {
    handler: Rc<F>,
    /// Counts seconds.
    clock: Rc<Cell<u64>>,
    stopping: Rc<Notify>,
    open: RefCell<Vec<(Rc<State>, AbortHandle)>>,
}

impl<F, R> Clients<F>
where
    F: Fn(Request<Incoming>) -> R + 'static,
    R: Future<Output = Response<Answer>> + 'static,
{
    fn new(handler: F) -> Self {
        Self {
            handler: Rc::new(handler),
            clock: Rc::default(),
            stopping: Rc::default(),
            open: RefCell::default(),
        }
    }

    fn take_over(&self, accepted: Accepted) {
        if let Ok(stream) = tokio::net::TcpStream::from_std(accepted.stream) {
            self.start(stream, accepted.slot);
        }
    }

    fn start(&self, stream: tokio::net::TcpStream, slot: Slot) {
        if stream.set_nodelay(true).is_err() {
            return; // The client has gone already.
        }
        let state = State::new(&self.clock);
        let served = connection::serve(
            stream,
            Rc::clone(&state),
            Rc::clone(&self.stopping),
            Rc::clone(&self.handler),
        );
        let task = tokio::task::spawn_local(async move {
            served.await;
            drop(slot);
        });
        self.open.borrow_mut().push((state, task.abort_handle()));
    }

    /// Another second has passed.
    fn tick(&self, quiet_seconds_max: u64) {
        self.clock.set(self.clock.get() + 1);
        self.close_quiet(quiet_seconds_max);
    }

    /// Closes connections that have been quiet for longer than so many seconds.
    fn close_quiet(&self, seconds: u64) {
        self.open.borrow_mut().retain(|(state, task)| {
            if state.quiet_for().is_some_and(|quiet| quiet >= seconds) {
                task.abort();
            }
            !task.is_finished()
        });
    }

    /// Lets requests in flight end; connections without one get a moment to write what is left.
    async fn finish(&self) {
        self.stopping.notify_waiters();
        let mut checks = interval(STOP_CHECK);
        while !self.open.borrow().is_empty() {
            checks.tick().await;
            self.clock.set(self.clock.get() + 1);
            self.close_quiet(STOP_QUIET_CHECKS);
        }
    }
}
