//! `dormouse run`: opens everything, serves, and stops cleanly when asked to. What can be refused is
//! refused in this order: arguments, manifests, settings, sockets, store.

use std::path::PathBuf;
use std::sync::Arc;

use dormouse_host::admin::Admin;
use dormouse_host::metrics::Metrics;
use dormouse_host::plan::Plan;
use dormouse_host::settings::Settings;

use crate::application::become_if_needed;
use crate::args::RunArguments;
use crate::command::plan;
use crate::command::run::banner::Banner;
use crate::failure::Failure;
use crate::logging;
use crate::options::settings;
use crate::paths::manifests;

mod banner;
mod signals;

pub(crate) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let manifests = manifests(&arguments.paths)?;
    become_if_needed(&arguments.paths)?;
    let plan = plan(&manifests, false)?;
    let first = manifests.first().cloned().unwrap_or_else(PathBuf::new);
    let settings = settings(arguments, &first)?;
    logging::start(&settings.log)?;
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start a thread's event loop: {error}")))?;
    control.block_on(serve(plan, settings))
}

async fn serve(plan: Plan, settings: Settings) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::Failed(error.to_string());
    let mut signals = signals::Signals::listen().map_err(|error| failed(&error))?;
    let metrics = Arc::new(Metrics::new(settings.runtime.shard_count()));
    let admin = match settings.admin.listen {
        Some(address) => Some(Admin::bind(address).await.map_err(|error| failed(&error))?),
        None => None,
    };
    let opened = plan.open().map_err(|error| failed(&error))?;
    let banner = Banner {
        plan: &plan,
        opened: &opened,
        settings: &settings,
        admin: admin.as_ref().map(|admin| admin.address),
    };
    print!("{banner}");
    let serve_admin = async {
        match admin {
            Some(admin) => admin.serve(metrics, Arc::new(|| false)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = serve_admin => {}
        () = signals.next() => {}
    }
    Ok(())
}
