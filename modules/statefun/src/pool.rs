//! The connections of one shard to one authority: at most so many, the most recently used first,
//! those who wait for one served in order. Where the endpoint speaks HTTP/2 there is one connection, and
//! as many calls may be under way on it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, sleep, timeout};

use crate::attempts::{Failure, FailureKind};
use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::http2::Http2;
use crate::stream::Stream;
use crate::transport::{HttpVersion, Retries};
use crate::url::Authority;

/// How often idle connections are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A connection lives this much longer than its time to live, so that not all end at once.
const TTL_JITTER_MS: std::ops::Range<u64> = 1_000..3_000;

/// A pool; belongs to one thread.
#[derive(Debug)]
pub struct Pool {
    authority: Authority,
    endpoint: Arc<Endpoint>,
    inner: RefCell<Inner>,
    /// Held while a connection is made that may become everybody's.
    connecting: Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Connections and the right to make one, idle and leased; with HTTP/2, leases.
    open: usize,
    /// Least recently used first.
    idle: VecDeque<Connection>,
    /// The connection of HTTP/2, if that is what the endpoint speaks.
    shared: Option<Rc<Http2>>,
    /// The endpoint was asked, and speaks HTTP/1.1.
    is_http1: bool,
    waiting: VecDeque<oneshot::Sender<Lease>>,
    sweeping: bool,
}

/// The right to one of the pool's connections. Dropping it closes the connection unless
/// [`Lease::keep`] was called.
#[derive(Debug)]
pub struct Lease {
    pool: Option<Rc<Pool>>,
    line: Option<Line>,
    keep: bool,
}

/// What a lease is for.
#[derive(Debug)]
pub enum Line {
    /// A connection of one's own.
    Http1(Connection),
    /// A part in everybody's.
    Http2(Rc<Http2>),
}

impl Pool {
    #[must_use]
    pub fn new(authority: Authority, endpoint: Arc<Endpoint>) -> Self {
        Self { authority, endpoint, inner: RefCell::default(), connecting: Mutex::default() }
    }

    /// A connection, within `connect`. `fresh` asks for a new one.
    pub async fn acquire(self: &Rc<Self>, fresh: bool) -> Result<Lease, Failure> {
        match self.take(fresh) {
            Some(lease) if lease.line.is_some() => Ok(lease),
            // Rare, and too large to be a part of every call.
            taken => Box::pin(self.wait_and_connect(taken)).await,
        }
    }

    async fn wait_and_connect(self: &Rc<Self>, taken: Option<Lease>) -> Result<Lease, Failure> {
        let limit = self.endpoint.transport.connect;
        let lease = match taken {
            Some(lease) => Ok(lease),
            // OkHttp has no bound of connections, so there this wait is part of the call.
            None if self.endpoint.transport.retries == Retries::OkHttp => self.wait().await,
            None => return self.wait_within(limit).await,
        };
        self.connect_within(limit, lease?).await
    }

    async fn wait_within(self: &Rc<Self>, limit: Duration) -> Result<Lease, Failure> {
        let begun = Instant::now();
        let Ok(lease) = timeout(limit, self.wait()).await else {
            return Err(Failure::new(
                FailureKind::Connection,
                format!(
                    "all {} connections were busy for {limit:?} (`pool_size`, `connect`)",
                    self.endpoint.transport.pool_size
                ),
            ));
        };
        self.connect_within(limit.saturating_sub(begun.elapsed()), lease?).await
    }

    async fn connect_within(
        self: &Rc<Self>,
        limit: Duration,
        mut lease: Lease,
    ) -> Result<Lease, Failure> {
        if lease.line.is_none() {
            let line = timeout(limit, self.connect()).await.map_err(|_| {
                Failure::new(
                    FailureKind::Connection,
                    format!("no connection to {} within {limit:?}", self.authority),
                )
            })??;
            lease.set_line(line);
        }
        Ok(lease)
    }

    fn take(self: &Rc<Self>, fresh: bool) -> Option<Lease> {
        let mut inner = self.inner.borrow_mut();
        if !fresh && !inner.idle.is_empty() {
            let now = Instant::now();
            while let Some(mut connection) = inner.idle.pop_back() {
                if connection.is_usable(now, self.endpoint.transport.idle) {
                    return Some(self.lease(Some(Line::Http1(connection))));
                }
                inner.open -= 1;
            }
        }
        if inner.open < self.endpoint.transport.pool_size {
            inner.open += 1;
            let shared = self.shared(&inner);
            return Some(self.lease(shared.map(Line::Http2)));
        }
        // A fresh connection takes the place of an idle one.
        inner.idle.pop_front().map(|_| self.lease(None))
    }

    fn lease(self: &Rc<Self>, line: Option<Line>) -> Lease {
        let mut lease = Lease { pool: Some(Rc::clone(self)), keep: line.is_some(), line: None };
        if let Some(line) = line {
            lease.set_line(line);
        }
        lease
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

    async fn connect(self: &Rc<Self>) -> Result<Line, Failure> {
        let may_be_http2 = match self.endpoint.transport.http_version {
            HttpVersion::Negotiated => self.authority.is_tls,
            HttpVersion::One => false,
            HttpVersion::Two => true,
        };
        if !may_be_http2 || self.inner.borrow().is_http1 {
            return self.connect_one().await;
        }
        // The others wait: what is made now is probably theirs too.
        let connecting = self.connecting.lock().await;
        if let Some(shared) = self.shared(&self.inner.borrow()) {
            return Ok(Line::Http2(shared));
        }
        if self.inner.borrow().is_http1 {
            drop(connecting);
        }
        self.connect_one().await
    }

    /// Everybody's connection. One that has failed somebody is not usable, so it is always fresh.
    fn shared(&self, inner: &Inner) -> Option<Rc<Http2>> {
        let shared = inner.shared.as_ref()?;
        shared.is_usable(Instant::now(), self.endpoint.transport.idle).then(|| Rc::clone(shared))
    }

    /// Makes a connection, and remembers what it turned out to be.
    async fn connect_one(self: &Rc<Self>) -> Result<Line, Failure> {
        let transport = &self.endpoint.transport;
        let stream = if self.authority.is_tls {
            let config = self.endpoint.tls_config()?;
            Stream::connect_tls(&self.authority, &transport.tls, config).await?
        } else {
            Stream::connect(&self.authority).await?
        };
        let ttl = transport.pool_ttl;
        let expires = (!ttl.is_zero())
            .then(|| Instant::now() + ttl + Duration::from_millis(fastrand::u64(TTL_JITTER_MS)));
        let is_http2 = match transport.http_version {
            HttpVersion::One => false,
            HttpVersion::Two if self.authority.is_tls && !stream.has_chosen_http2() => {
                return Err(Failure::new(
                    FailureKind::Connection,
                    format!("{} offers no HTTP/2; leave `http_version` out", self.authority),
                ));
            }
            HttpVersion::Two => true,
            HttpVersion::Negotiated => stream.has_chosen_http2(),
        };
        if !is_http2 {
            self.inner.borrow_mut().is_http1 = true;
            return Ok(Line::Http1(Connection::new(stream, expires)));
        }
        let shared = Rc::new(Http2::begin(stream, expires).await?);
        let inner = &mut *self.inner.borrow_mut();
        inner.is_http1 = false;
        inner.shared = Some(Rc::clone(&shared));
        self.keep_sweeping(inner);
        Ok(Line::Http2(shared))
    }

    /// Takes back a lease's connection, or only the right to one.
    fn put(self: &Rc<Self>, connection: Option<Connection>) {
        let now = Instant::now();
        let mut line = connection
            .and_then(|mut connection| {
                connection.is_usable(now, self.endpoint.transport.idle).then_some(connection)
            })
            .map(Line::Http1);
        loop {
            let Some(waiter) = self.inner.borrow_mut().waiting.pop_front() else {
                break;
            };
            match waiter.send(self.lease(line.take())) {
                Ok(()) => return,
                Err(mut refused) => {
                    refused.pool = None;
                    line = refused.line.take();
                }
            }
        }
        match line {
            Some(Line::Http1(connection)) => self.park(connection),
            Some(Line::Http2(_)) | None => self.inner.borrow_mut().open -= 1,
        }
    }

    fn park(self: &Rc<Self>, connection: Connection) {
        let inner = &mut *self.inner.borrow_mut();
        inner.idle.push_back(connection);
        self.keep_sweeping(inner);
    }

    fn keep_sweeping(self: &Rc<Self>, inner: &mut Inner) {
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
        let idle_max = self.endpoint.transport.idle;
        inner.idle.retain_mut(|connection| connection.is_usable(now, idle_max));
        inner.open -= before - inner.idle.len();
        // Calls that are under way keep a connection of HTTP/2 open to their end.
        inner.shared = inner.shared.take().filter(|shared| shared.is_usable(now, idle_max));
        inner.sweeping = !inner.idle.is_empty() || inner.shared.is_some();
        inner.sweeping
    }
}

impl Lease {
    fn set_line(&mut self, line: Line) {
        if let Line::Http2(shared) = &line {
            shared.enter();
        }
        self.line = Some(line);
    }

    /// The connection, for one exchange.
    pub fn begin(&mut self) -> &mut Line {
        self.keep = false;
        self.line.as_mut().expect("a lease that was handed out has a connection")
    }

    /// Gives the connection back for others.
    pub fn keep(mut self) {
        if let Some(Line::Http1(connection)) = &mut self.line {
            connection.rest();
        }
        self.keep = self.line.is_some();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let line = self.line.take();
        let connection = match line {
            Some(Line::Http1(connection)) => Some(connection).filter(|_| self.keep),
            Some(Line::Http2(shared)) => {
                shared.leave(self.keep);
                None
            }
            None => None,
        };
        if let Some(pool) = self.pool.take() {
            pool.put(connection);
        }
    }
}
