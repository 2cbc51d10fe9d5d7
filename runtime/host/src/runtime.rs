//! The running application: a store, one thread per shard, and the ingresses and egresses on them.
//! Started and stopped by the command line.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dormouse_engine::Limits;
use dormouse_sdk::egress::Egress;
use dormouse_sdk::ingress::{Ingress, Lane};
use dormouse_store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::dead_letters::DeadLetters;
use crate::driver::Driver;
use crate::driver::gate::Gate;
use crate::driver::inbox::{Inbox, Incoming};
use crate::driver::lane::ShardLane;
use crate::driver::process::{Process, QUEUE_SEPARATOR};
use crate::driver::room::Room;
use crate::metrics::Metrics;
use crate::plan::Plan;
use crate::settings::memory::Shares;
use crate::settings::{PARTITIONS_DEFAULT, Settings};
use crate::stall::watchdog::Watchdog;

/// What a partition has at least of the memory for delayed messages, in bytes.
const TIMERS_BYTES_MIN: u64 = 16 << 10;

/// What calls of functions under way get of the time to stop. Those that are retried because their
/// endpoint is away would use all of it; what is not finished is done again at the next start.
const CALLS_GRACE: Duration = Duration::from_secs(2);

/// Threads per shard for blocking work of functions (`spawn_blocking`); more of it waits for one.
const BLOCKING_THREADS_MAX: usize = 64;

/// The last part of the time to stop is for writing answers: who waits for a reply is told before.
const ANSWERING_SHARE: u32 = 10;

/// Why an application cannot start: one clear line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    #[error(
        "egress `{egress}` is no longer in the manifest, but {records} of its records have not left; \
         bind it again, or start with --allow-orphans (they stay in the store)"
    )]
    Orphans { egress: String, records: u64 },
    #[error(
        "egress `{egress}` no longer has `{queue}` in the manifest, but {records} of its records have not \
         left; name it again, or start with --allow-orphans (they stay in the store)"
    )]
    OrphanQueue { egress: String, queue: String, records: u64 },
    #[error("a shard ended while it was opened: {0}")]
    Ended(String),
}

/// An application that runs.
#[derive(Debug)]
pub struct Running {
    process: Arc<Process>,
    store: Arc<dyn Store>,
    threads: Vec<JoinHandle<()>>,
    watchdog: Option<Watchdog>,
    is_ready: Arc<AtomicBool>,
    /// Closed when every shard's ingresses and egresses have ended.
    serving: mpsc::Receiver<()>,
    failed: watch::Receiver<Option<String>>,
    stop_timeout: Duration,
}

/// What a shard says when its partitions are open: egress queues with unconfirmed records.
type ShardOpened = Result<Vec<(String, u64)>, StoreError>;

/// What a shard's thread is given.
struct ShardStart {
    index: usize,
    process: Arc<Process>,
    store: Arc<dyn Store>,
    limits: Limits,
    reads_bytes_max: usize,
    ingresses: Vec<Arc<dyn Ingress>>,
    egresses: Vec<Arc<dyn Egress>>,
    opened: oneshot::Sender<ShardOpened>,
    go: oneshot::Receiver<()>,
    serving: mpsc::Sender<()>,
}

/// Starts the shards on a store that is open, with ingresses and egresses that are open, and serves.
/// `partitions` is what the store was made with.
pub async fn start(
    plan: Plan,
    settings: &Settings,
    metrics: Arc<Metrics>,
    store: Arc<dyn Store>,
    partitions: u16,
) -> Result<Running, StartError> {
    let shards = metrics.shards().len();
    let (failing, failed) = watch::channel(None);
    let process = Arc::new(Process {
        name: Process::new_name(),
        reply_type: Process::reply_type(),
        partitions,
        inboxes: (0..shards).map(|_| Arc::new(Inbox::default())).collect(),
        gate: Gate::new(shards, settings.limits.backlog_bytes),
        room: Room::new(settings.limits.bodies_bytes),
        functions: plan.functions,
        egresses: plan.egresses.iter().map(|e| (e.id.clone(), e.egress.clone())).collect(),
        egress_counts: plan
            .egresses
            .iter()
            .map(|e| (e.id.to_string(), Default::default()))
            .collect(),
        metrics,
        pulses: (0..shards).map(|_| Arc::default()).collect(),
        stopping: watch::channel(None).0,
        failed: failing,
    });
    let (serving_sender, serving) = mpsc::channel(1);
    let mut running = Running {
        process: process.clone(),
        store: store.clone(),
        threads: Vec::new(),
        watchdog: None,
        is_ready: Arc::default(),
        serving,
        failed,
        stop_timeout: settings.runtime.stop_timeout,
    };
    let mut openings = Vec::new();
    let mut goes = Vec::new();
    for index in 0..shards {
        let (opened, opening) = oneshot::channel();
        let (go_sender, go) = oneshot::channel();
        let start = ShardStart {
            index,
            process: process.clone(),
            store: store.clone(),
            limits: limits(settings, shards, partitions),
            reads_bytes_max: Shares::of(settings.runtime.memory_bytes).reads as usize / shards,
            ingresses: plan.ingresses.iter().map(|i| i.ingress.clone()).collect(),
            egresses: plan.egresses.iter().map(|e| e.egress.clone()).collect(),
            opened,
            go,
            serving: serving_sender.clone(),
        };
        let thread = std::thread::Builder::new().name(format!("shard-{index}"));
        running.threads.push(thread.spawn(move || run_thread(start))?);
        openings.push(opening);
        goes.push(go_sender);
    }
    drop(serving_sender);
    if let Err(error) = await_open(openings, &process, settings.store.allow_orphans).await {
        drop(goes);
        running.end(Instant::now()).ok();
        return Err(error);
    }
    for (go, inbox) in goes.into_iter().zip(&process.inboxes) {
        inbox.push(Incoming::Start);
        if go.send(()).is_err() {
            process.fail("a shard ended before it could serve");
        }
    }
    if let Some(after) = settings.runtime.stall_after {
        running.watchdog = Some(Watchdog::start(process, after)?);
    }
    running.is_ready.store(true, Ordering::Release);
    Ok(running)
}

/// The partitions of an application that is started for the first time with these settings.
#[must_use]
pub fn partitions_chosen(settings: &Settings) -> u16 {
    settings.runtime.partitions.unwrap_or(PARTITIONS_DEFAULT)
}

async fn await_open(
    openings: Vec<oneshot::Receiver<ShardOpened>>,
    process: &Process,
    allow_orphans: bool,
) -> Result<(), StartError> {
    let mut unconfirmed: BTreeMap<String, u64> = BTreeMap::new();
    for opening in openings {
        let opened = opening.await.map_err(|_| {
            let reason = process.failed.borrow().clone();
            StartError::Ended(reason.unwrap_or_else(|| "see standard error".to_owned()))
        })?;
        for (outbox, records) in opened? {
            *unconfirmed.entry(outbox).or_default() += records;
        }
    }
    if allow_orphans { Ok(()) } else { refuse_orphans(&unconfirmed, process) }
}

/// Records that would stay in the store for ever, since nobody takes them any more. Keys are outboxes.
fn refuse_orphans(
    unconfirmed: &BTreeMap<String, u64>,
    process: &Process,
) -> Result<(), StartError> {
    let outboxes = unconfirmed.iter().map(|(outbox, records)| {
        let (egress, queue) = outbox.split_once(QUEUE_SEPARATOR).unwrap_or((outbox, ""));
        (egress, queue, *records)
    });
    for (egress, queue, records) in outboxes.clone() {
        let bound = process.egresses.iter().find(|(id, _)| id.to_string() == egress);
        let Some((_, bound)) = bound else {
            let of_egress = outboxes.filter(|(other, ..)| *other == egress);
            let records = of_egress.map(|(.., records)| records).sum();
            return Err(StartError::Orphans { egress: egress.to_owned(), records });
        };
        if !bound.has_queue(queue) {
            let (egress, queue) = (egress.to_owned(), queue.to_owned());
            return Err(StartError::OrphanQueue { egress, queue, records });
        }
    }
    Ok(())
}

fn limits(settings: &Settings, shards: usize, partitions: u16) -> Limits {
    let shares = Shares::of(settings.runtime.memory_bytes);
    let timers_bytes = shares.timers / u64::from(partitions);
    let chosen = &settings.limits;
    let defaults = Limits::default();
    let millis = |duration: Duration| duration.as_millis() as u64;
    Limits {
        mailbox_len_max: chosen.mailbox_messages,
        mailbox_bytes_max: chosen.mailbox_bytes as usize,
        batch_len_max: chosen.batch_messages,
        batch_bytes_max: chosen.batch_bytes as usize,
        in_flight_max: chosen.in_flight,
        memory_bytes_max: shares.awake as usize / shards,
        // The other half of what closes the gate is for addresses that are not stuck.
        mailboxes_bytes_max: (chosen.backlog_bytes / 2) as usize / shards,
        idle_ms: millis(settings.runtime.idle_sleep),
        channel_window_bytes: chosen.channel_window_bytes as usize,
        egress_window_len: chosen.egress_window,
        timers_near_bytes_max: timers_bytes.max(TIMERS_BYTES_MIN) as usize,
        retry_delay_ms_min: millis(chosen.retry_delay_min),
        retry_delay_ms_max: millis(chosen.retry_delay_max),
        dead_letters_max: chosen.dead_letter_messages,
        dead_letter_bytes_max: chosen.dead_letter_bytes,
        ..defaults
    }
}

/// A shard's thread. A failed assertion of the engine ends it, and with it the process, before anything
/// is committed that rests on it.
fn run_thread(start: ShardStart) {
    let process = start.process.clone();
    let index = start.index;
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let store = start.store.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .on_thread_park(move || store.rests(index))
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build();
        match runtime {
            Ok(runtime) => {
                LocalSet::new().block_on(&runtime, run_shard(start));
                // Blocking work of functions that is still under way holds up nobody: its messages are
                // pending, and are done again after the next start.
                runtime.shutdown_background();
            }
            Err(error) => process.fail(&format!("shard {index}: no event loop: {error}")),
        }
    }));
    if ran.is_err() {
        process.fail(&format!("shard {index} stopped at a failed assertion; see standard error"));
    }
}

async fn run_shard(start: ShardStart) {
    let ShardStart { index, process, store, limits, reads_bytes_max, .. } = start;
    let ShardStart { ingresses, egresses, opened, go, serving, .. } = start;
    let inbox = process.inboxes[index].clone();
    let waker = Arc::new(move || inbox.wake());
    let handle = match store.open_shard(index, &process.partitions_of(index), waker) {
        Ok(handle) => handle,
        Err(error) => return drop(opened.send(Err(error))),
    };
    let mut driver = Driver::new(index, process, handle, limits, reads_bytes_max);
    let result = driver.open().await;
    let is_open = result.is_ok();
    drop(opened.send(result));
    if !is_open || go.await.is_err() {
        return;
    }
    let lane = Lane::new(std::rc::Rc::new(ShardLane(driver.lane.clone())));
    let mut served = JoinSet::new();
    for ingress in ingresses {
        served.spawn_local(ingress.serve(lane.clone()));
    }
    for egress in egresses {
        served.spawn_local(egress.serve(lane.clone()));
    }
    tokio::task::spawn_local(async move {
        while served.join_next().await.is_some() {}
        drop(serving);
    });
    driver.run().await;
}

impl Running {
    /// Whether messages are served, from data that are not known to be damaged.
    #[must_use]
    pub fn readiness(&self) -> Arc<dyn Fn() -> bool + Send + Sync> {
        let (is_ready, failed) = (self.is_ready.clone(), self.failed.clone());
        let (scrub, stalls) =
            (self.process.metrics.scrub.clone(), self.process.metrics.stalls.clone());
        Arc::new(move || {
            is_ready.load(Ordering::Acquire)
                && failed.borrow().is_none()
                && scrub.damaged() == 0
                && !stalls.hold_up_the_process()
        })
    }

    /// The messages that were given up.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.process.clone())
    }

    /// Resolves with the reason when the process cannot go on.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        let reason = failed.wait_for(Option::is_some).await;
        reason
            .map_or_else(|_| "the runtime has ended".to_owned(), |r| r.clone().unwrap_or_default())
    }

    /// Stops taking, lets the requests in flight finish (for a bounded time), settles what is under
    /// way, and closes the store: nothing is in doubt afterwards.
    pub async fn stop(mut self) -> Result<(), StoreError> {
        self.is_ready.store(false, Ordering::Release);
        let stops_at = Instant::now() + self.stop_timeout;
        let answer_by = stops_at - self.stop_timeout / ANSWERING_SHARE;
        self.process.stopping.send_replace(Some(answer_by));
        let ended = tokio::time::timeout(self.stop_timeout, self.serving.recv()).await;
        if ended.is_err() {
            tracing::warn!("requests still in flight are given up: what they sent is durable");
        }
        self.end(stops_at.min(Instant::now() + CALLS_GRACE))
    }

    fn end(&mut self, stops_at: Instant) -> Result<(), StoreError> {
        for inbox in &self.process.inboxes {
            inbox.push(Incoming::Stop { stops_at });
        }
        for thread in self.threads.drain(..) {
            // A panic was caught and reported inside.
            drop(thread.join());
        }
        drop(self.watchdog.take());
        self.store.close()
    }
}
