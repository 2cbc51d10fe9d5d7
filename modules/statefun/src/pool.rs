//! The connections of one shard to one authority: at most so many, the most recently used first,
//! those who wait for one served in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::attempts::{Failure, FailureKind};
use crate::connection::Connection;
use crate::transport::Transport;
use crate::url::Authority;

/// How often idle connections are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A connection lives this much longer than its time to live, so that not all end at once.
const TTL_JITTER_MS: std::ops::Range<u64> = 1_000..3_000;

/// A pool; belongs to one thread.
#[derive(Debug)]
pub struct Pool {
    authority: Authority,
    transport: Transport,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Connections and the right to make one: those idle and those leased.
    open: usize,
    /// Least recently used first.
    idle: VecDeque<Connection>,
    waiting: VecDeque<oneshot::Sender<Lease>>,
    sweeping: bool,
}

/// The right to one of the pool's connections. Dropping it closes the connection unless
/// [`Lease::keep`] was called.
#[derive(Debug)]
pub struct Lease {
    pool: Option<Rc<Pool>>,
    connection: Option<Connection>,
    keep: bool,
}

impl Pool {
    #[must_use]
    pub fn new(authority: Authority, transport: Transport) -> Self {
        Self { authority, transport, inner: RefCell::default() }
    }

    /// A connection, within `connect`. `fresh` asks for a new one.
    pub async fn acquire(self: &Rc<Self>, fresh: bool) -> Result<Lease, Failure> {
        match self.take(fresh) {
            Some(lease) if lease.connection.is_some() => Ok(lease),
            taken => self.wait_and_connect(taken).await,
        }
    }

    async fn wait_and_connect(&self, taken: Option<Lease>) -> Result<Lease, Failure> {
        let limit = self.transport.connect;
        let mut waiting = true;
        let establish = async {
            let mut lease = match taken {
                Some(lease) => lease,
                None => self.wait().await?,
            };
            waiting = false;
            if lease.connection.is_none() {
                lease.connection = Some(self.connect().await?);
            }
            Ok(lease)
        };
        match timeout(limit, establish).await {
            Ok(result) => result,
            Err(_) if waiting => Err(Failure::new(
                FailureKind::Connection,
                format!(
                    "all {} connections were busy for {limit:?} (`pool_size`, `connect`)",
                    self.transport.pool_size
                ),
            )),
            Err(_) => Err(Failure::new(
                FailureKind::Connection,
                format!("no connection to {} within {limit:?}", self.authority.host_header()),
            )),
        }
    }

    fn take(self: &Rc<Self>, fresh: bool) -> Option<Lease> {
        let mut inner = self.inner.borrow_mut();
        if !fresh && !inner.idle.is_empty() {
            let now = Instant::now();
            while let Some(connection) = inner.idle.pop_back() {
                if connection.is_usable(now, self.transport.idle) {
                    return Some(self.lease(Some(connection)));
                }
                inner.open -= 1;
            }
        }
        if inner.open < self.transport.pool_size {
            inner.open += 1;
            return Some(self.lease(None));
        }
        // A fresh connection takes the place of an idle one.
        inner.idle.pop_front().map(|_| self.lease(None))
    }

    fn lease(self: &Rc<Self>, connection: Option<Connection>) -> Lease {
        Lease { pool: Some(Rc::clone(self)), keep: connection.is_some(), connection }
    }

    async fn wait(&self) -> Result<Lease, Failure> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut inner = self.inner.borrow_mut();
            while inner.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                inner.waiting.pop_front();
            }
            inner.waiting.push_back(sender);
        }
        receiver.await.map_err(|_| Failure::new(FailureKind::Connection, "the pool is closing"))
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let Authority { host, port } = &self.authority;
        let failed = |error: std::io::Error| {
            Failure::new(
                FailureKind::Connection,
                format!("cannot connect to {}: {error}", self.authority.host_header()),
            )
        };
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        SockRef::from(&stream).set_keepalive(true).map_err(failed)?;
        let ttl = self.transport.pool_ttl;
        let expires = (!ttl.is_zero())
            .then(|| Instant::now() + ttl + Duration::from_millis(fastrand::u64(TTL_JITTER_MS)));
        Ok(Connection::new(stream, expires))
    }

    /// Takes back a lease's connection, or only the right to one.
    fn put(self: &Rc<Self>, connection: Option<Connection>) {
        let now = Instant::now();
        let mut connection =
            connection.filter(|connection| connection.is_usable(now, self.transport.idle));
        loop {
            let Some(waiter) = self.inner.borrow_mut().waiting.pop_front() else {
                break;
            };
            match waiter.send(self.lease(connection.take())) {
                Ok(()) => return,
                Err(mut refused) => {
                    refused.pool = None;
                    connection = refused.connection.take();
                }
            }
        }
        match connection {
            Some(connection) => self.park(connection),
            None => self.inner.borrow_mut().open -= 1,
        }
    }

    fn park(self: &Rc<Self>, connection: Connection) {
        let mut inner = self.inner.borrow_mut();
        inner.idle.push_back(connection);
        if inner.sweeping {
            return;
        }
        inner.sweeping = true;
        let pool = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            loop {
                sleep(SWEEP_EVERY).await;
                match pool.upgrade() {
                    Some(pool) if pool.sweep() => {}
                    _ => return,
                }
            }
        });
    }

    /// Closes idle connections that cannot be used again; false when none is left.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let inner = &mut *self.inner.borrow_mut();
        let before = inner.idle.len();
        let idle_max = self.transport.idle;
        inner.idle.retain(|connection| connection.is_usable(now, idle_max));
        inner.open -= before - inner.idle.len();
        inner.sweeping = !inner.idle.is_empty();
        inner.sweeping
    }
}

impl Lease {
    /// The connection, for one exchange.
    pub fn begin(&mut self) -> &mut Connection {
        self.keep = false;
        self.connection.as_mut().expect("a lease that was handed out has a connection")
    }

    /// Gives the connection back for others.
    pub fn keep(mut self) {
        if let Some(connection) = &mut self.connection {
            connection.rest();
            self.keep = true;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            let connection = self.connection.take().filter(|_| self.keep);
            pool.put(connection);
        }
    }
}
