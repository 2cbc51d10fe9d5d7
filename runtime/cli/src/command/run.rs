//! `dormouse run`: opens everything, serves, and stops cleanly when asked to. What can be refused is
//! refused in this order: arguments, manifests, settings, sockets, store.

mod banner;
mod signals;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dormouse_host::admin::{Admin, DeadLettersSlot, Readiness};
use dormouse_host::metrics::Metrics;
use dormouse_host::plan::Plan;
use dormouse_host::plan::open::Opened;
use dormouse_host::runtime::Running;
use dormouse_host::settings::Settings;
use dormouse_host::{runtime, store};
use dormouse_sdk::manifest::Severity;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::application::become_if_needed;
use crate::args::RunArguments;
use crate::command::plan;
use crate::command::run::banner::Banner;
use crate::command::run::signals::Signals;
use crate::descriptors;
use crate::failure::Failure;
use crate::logging;
use crate::options::settings;
use crate::paths::manifests;
use crate::report;

pub(crate) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let manifests = manifests(&arguments.paths)?;
    become_if_needed(&arguments.paths)?;
    let plan = plan(&arguments.paths, &manifests, Severity::Error, false)?;
    let first = manifests.first().map_or(Path::new(""), |first| first);
    let settings = settings(arguments, first)?;
    logging::start(&settings.log)?;
    descriptors::raise_limit();
    let control = event_loop()?;
    let ended = control.block_on(serve(plan, settings));
    // A recovery that was interrupted, or a stop that was, is not waited for.
    control.shutdown_background();
    ended
}

/// How long a process that cannot go on is given to end what can be ended.
const FAILED_STOP_MAX: Duration = Duration::from_secs(5);

/// What is open before the store is.
struct Doors {
    metrics: Arc<Metrics>,
    admin: Option<Admin>,
    opened: Vec<Opened>,
}

async fn serve(plan: Plan, settings: Settings) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(failed)?;
    let Doors { metrics, admin, opened } = open(&plan, &settings).await?;
    let ready: Arc<OnceLock<Readiness>> = Arc::default();
    let dead_letters = DeadLettersSlot::default();
    let admin_address = admin.as_ref().map(|admin| admin.address);
    if let Some(admin) = admin {
        let asked = Arc::clone(&ready);
        let readiness = move || asked.get().is_some_and(|is_ready| is_ready());
        // Answers during a long recovery too; ends with the process.
        let serving = admin.serve(Arc::clone(&metrics), Arc::new(readiness), dead_letters.clone());
        tokio::spawn(serving);
    }
    let banner = Banner { plan: &plan, opened: &opened, settings: &settings, admin: admin_address }
        .to_string();
    let running = tokio::select! {
        running = start(plan, settings, metrics) => running?,
        // Nothing is served yet, so nothing is lost by leaving at once.
        () = signals.next() => return Ok(()),
    };
    drop(ready.set(running.readiness()));
    drop(dead_letters.set(running.dead_letters()));
    report::answer(banner);
    let reason = tokio::select! {
        reason = running.failed() => Some(reason),
        () = signals.next() => None,
    };
    let Some(reason) = reason else {
        return stop(running, signals).await;
    };
    // Other shards may still settle what they have; what broke may never end.
    drop(timeout(FAILED_STOP_MAX, stop(running, signals)).await);
    Err(Failure::Failed(reason))
}

/// Binds every socket.
async fn open(plan: &Plan, settings: &Settings) -> Result<Doors, Failure> {
    let admin = match settings.admin.listen {
        Some(address) => Some(Admin::bind(address).await.map_err(failed)?),
        None => None,
    };
    let opened = plan.open().map_err(failed)?;
    let metrics = Arc::new(Metrics::new(settings.runtime.shard_count()));
    Ok(Doors { metrics, admin, opened })
}

/// Opens the store, which may take a while, and starts the shards on it.
async fn start(plan: Plan, settings: Settings, metrics: Arc<Metrics>) -> Result<Running, Failure> {
    let chosen = settings.clone();
    let scrub = metrics.scrub.clone();
    let opening = spawn_blocking(move || store::open(&chosen, scrub));
    let opened = opening.await.map_err(failed)?.map_err(failed)?;
    let starting = runtime::start(plan, &settings, metrics, opened.store, opened.partitions);
    starting.await.map_err(failed)
}

/// Nothing is in doubt when this answers. A signal meanwhile ends it at once.
async fn stop(running: Running, mut signals: Signals) -> Result<(), Failure> {
    let (ended, end) = oneshot::channel();
    // The end joins threads, so it must not stand on the thread that hears signals; and nobody waits
    // for this thread when a second one comes.
    let stopping = move || {
        let runtime = event_loop();
        let stopped = runtime.and_then(|runtime| runtime.block_on(running.stop()).map_err(failed));
        drop(ended.send(stopped));
    };
    std::thread::Builder::new().name("stop".to_owned()).spawn(stopping).map_err(failed)?;
    tokio::select! {
        stopped = end => stopped.map_err(failed)?,
        () = signals.next() => Err(Failure::Failed(
            "stopped at once; what was not finished is done again at the next start".to_owned(),
        )),
    }
}

fn event_loop() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(failed)
}

fn failed(error: impl std::error::Error) -> Failure {
    Failure::Failed(error.to_string())
}
