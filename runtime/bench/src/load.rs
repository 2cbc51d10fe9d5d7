//! The load generator: kept-alive connections, each with one request under way, prebuilt bytes, and a
//! parser that looks at nothing but status and length. It runs on one thread of the bench process, so
//! that what it costs is small and never counted as the server's.

pub(crate) mod connection;
pub(crate) mod traffic;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::task::{JoinSet, LocalSet};

use crate::histogram::Histogram;
use crate::load::connection::Connection;
use crate::load::traffic::Traffic;
use crate::process::{Process, Usage};
use crate::report::Row;

/// After the end, requests under way get so long.
const GRACE: Duration = Duration::from_secs(20);

/// Distinct errors that are kept to be shown.
const ERRORS_SHOWN: usize = 3;

/// What is asked of whom, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) address: String,
    pub(crate) connections: usize,
    /// Between two requests of one connection.
    pub(crate) pause: Option<Duration>,
    /// Not measured.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Answers within the measured time.
    pub(crate) answers: u64,
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Histogram,
    /// What the server used within the measured time.
    pub(crate) usage: Usage,
    pub(crate) peak_bytes: u64,
}

#[derive(Debug)]
struct Shared {
    is_measuring: Cell<bool>,
    is_over: Cell<bool>,
    failed: Cell<u64>,
    errors: RefCell<Vec<String>>,
    latencies: RefCell<Histogram>,
}

impl Load {
    /// Requests as fast as they are answered, for so long.
    pub(crate) fn closed(address: &str, connections: usize, measured: Duration) -> Self {
        let warm_up = measured.div_f64(4.0).min(Duration::from_secs(1));
        Self { address: address.to_owned(), connections, pause: None, warm_up, measured }
    }

    /// Runs the load against `server`. One `traffic` per connection; they come back as they ended.
    /// Any answer that is not as it should be is an error of the whole run.
    pub(crate) fn run<T: Traffic>(
        &self,
        server: &Process,
        traffic: Vec<T>,
    ) -> Result<(Outcome, Vec<T>)> {
        self.run_watched(server, traffic, &mut || Ok(()))
    }

    /// Like [`Load::run`]; `look` is called when the measured time begins, and when it ends.
    pub(crate) fn run_watched<T: Traffic>(
        &self,
        server: &Process,
        traffic: Vec<T>,
        look: &mut dyn FnMut() -> Result<()>,
    ) -> Result<(Outcome, Vec<T>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, self.drive(server, traffic, look))
    }

    async fn drive<T: Traffic>(
        &self,
        server: &Process,
        traffic: Vec<T>,
        look: &mut dyn FnMut() -> Result<()>,
    ) -> Result<(Outcome, Vec<T>)> {
        let shared = Rc::new(Shared {
            is_measuring: Cell::new(false),
            is_over: Cell::new(false),
            failed: Cell::new(0),
            errors: RefCell::default(),
            latencies: RefCell::new(Histogram::new()),
        });
        let mut tasks = JoinSet::new();
        for (index, traffic) in traffic.into_iter().enumerate() {
            let connection = Connection::open(&self.address).await?;
            let offset =
                self.pause.map(|pause| pause.mul_f64(index as f64 / self.connections as f64));
            let client = Client { connection, traffic, shared: shared.clone(), pause: self.pause };
            tasks.spawn_local(client.run(offset));
        }
        tokio::time::sleep(self.warm_up).await;
        server.forget_peak();
        look()?;
        let before = server.usage()?;
        let began = Instant::now();
        shared.is_measuring.set(true);
        tokio::time::sleep(self.measured).await;
        shared.is_measuring.set(false);
        let elapsed = began.elapsed();
        let usage = before.until(&server.usage()?);
        look()?;
        let peak_bytes = server.peak_bytes()?;
        shared.is_over.set(true);
        let traffic = collect(tasks, &shared).await?;
        let latencies = shared.latencies.replace(Histogram::new());
        let answers = latencies.total();
        Ok((Outcome { answers, elapsed, latencies, usage, peak_bytes }, traffic))
    }
}

async fn collect<T: Traffic>(mut tasks: JoinSet<Option<T>>, shared: &Shared) -> Result<Vec<T>> {
    let mut traffic = Vec::new();
    let deadline = tokio::time::Instant::now() + GRACE;
    while !tasks.is_empty() {
        match tokio::time::timeout_at(deadline, tasks.join_next()).await {
            Ok(Some(ended)) => traffic.extend(ended.context("a connection's task")?),
            Ok(None) => break,
            Err(_) => bail!("{} requests were not answered within {GRACE:?}", tasks.len()),
        }
    }
    let failed = shared.failed.get();
    if failed > 0 {
        bail!("{failed} requests failed: {}", shared.errors.borrow().join("; "));
    }
    Ok(traffic)
}

/// One connection's loop.
struct Client<T> {
    connection: Connection,
    traffic: T,
    shared: Rc<Shared>,
    pause: Option<Duration>,
}

impl<T: Traffic> Client<T> {
    /// Gives its traffic back; `None` when the connection failed.
    async fn run(mut self, offset: Option<Duration>) -> Option<T> {
        if let Some(offset) = offset {
            tokio::time::sleep(offset).await;
        }
        let mut request = Vec::new();
        while !self.shared.is_over.get() {
            request.clear();
            self.traffic.request(&mut request);
            let began = Instant::now();
            let checked = match self.connection.exchange(&request).await {
                Ok(response) => self.traffic.check(&response),
                Err(error) => {
                    self.fail(&error.to_string());
                    return None;
                }
            };
            match checked {
                Err(error) => self.fail(&error),
                Ok(()) if self.shared.is_measuring.get() => {
                    self.shared.latencies.borrow_mut().record(began.elapsed());
                }
                Ok(()) => {}
            }
            if let Some(pause) = self.pause {
                tokio::time::sleep(pause).await;
            }
        }
        Some(self.traffic)
    }

    fn fail(&self, error: &str) {
        self.shared.failed.set(self.shared.failed.get() + 1);
        let mut errors = self.shared.errors.borrow_mut();
        if errors.len() < ERRORS_SHOWN && !errors.iter().any(|known| known == error) {
            errors.push(error.to_owned());
        }
    }
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }

    /// A row of these figures.
    pub(crate) fn row(&self, name: &str, title: &str) -> Row {
        let mut row = Row::new(name, title);
        row.per_second = Some(self.per_second());
        row.latency = self.latencies.latency();
        row.peak_bytes = Some(self.peak_bytes);
        row.cpu_micros = Some(self.cpu_micros());
        row
    }

    /// Processor time of the server per answer, in microseconds.
    pub(crate) fn cpu_micros(&self) -> f64 {
        self.usage.cpu_seconds * 1e6 / (self.answers.max(1) as f64)
    }
}
