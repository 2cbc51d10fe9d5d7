//! Log lines on standard error: quiet when all is well.

use dormouse_host::settings::{LogFormat, LogSettings};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry;

use crate::failure::Failure;

/// Starts logging for the rest of the process.
pub(crate) fn start(settings: &LogSettings) -> Result<(), Failure> {
    let filter: Targets = settings.filter.parse().map_err(|error| {
        Failure::Input(format!(
            "log.filter: expected directives such as `warn` or `info,dormouse_store=debug`, found \
             `{}` ({error})",
            settings.filter
        ))
    })?;
    let lines = match settings.format {
        LogFormat::Text => layer().with_writer(std::io::stderr).with_ansi(false).boxed(),
        LogFormat::Json => layer().json().with_writer(std::io::stderr).boxed(),
    };
    let subscriber = registry().with(lines.with_filter(filter));
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|error| Failure::Failed(format!("logging: {error}")))
}
