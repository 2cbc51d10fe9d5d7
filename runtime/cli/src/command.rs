//! The commands, one file each, and what `run` and `check` share: from paths to a plan.

pub(crate) mod check;
pub(crate) mod dead_letters;
pub(crate) mod new;
pub(crate) mod run;
pub(crate) mod scrub;

use std::path::PathBuf;
use std::sync::Arc;

use dormouse_host::manifest;
use dormouse_host::plan::{self, Plan};
use dormouse_host::registry;
use dormouse_sdk::manifest::{Diagnostics, Severity, Span};

use crate::failure::Failure;
use crate::paths::jars;
use crate::report;

/// Reads manifests and resolves them; everything that is wrong is printed. `unavailable` says how bad it
/// is when a component cannot be run yet; `strict` takes warnings for errors.
fn plan(
    paths: &[PathBuf],
    manifests: &[PathBuf],
    unavailable: Severity,
    strict: bool,
) -> Result<Plan, Failure> {
    let linked = registry::linked().map_err(|error| Failure::Failed(error.to_string()))?;
    let mut diagnostics = Diagnostics::default();
    let manifest = manifest::read(manifests, &mut diagnostics);
    let plan = plan::resolve(&manifest, &linked, &mut diagnostics);
    plan.report_unavailable(unavailable, &mut diagnostics);
    report_jars(paths, &mut diagnostics);
    report::findings(&mut diagnostics, strict)?;
    Ok(plan)
}

fn report_jars(paths: &[PathBuf], diagnostics: &mut Diagnostics) {
    for jar in jars(paths) {
        let span = Span { file: Arc::from(jar.as_path()), line: 1, column: 1 };
        diagnostics.warning(
            &span,
            "Java modules are not run in this process: serve their functions over HTTP, and name them in \
             an endpoint",
        );
    }
}
