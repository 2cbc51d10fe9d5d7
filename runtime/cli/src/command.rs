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
use crate::paths::{jars, passed_over};
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
    report_passed_over(paths, &mut diagnostics);
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

/// How many manifests a warning names.
const NAMED_MAX: usize = 5;

fn report_passed_over(paths: &[PathBuf], diagnostics: &mut Diagnostics) {
    for (own, others) in passed_over(paths) {
        let mut named: Vec<String> =
            others.iter().take(NAMED_MAX).map(|other| other.display().to_string()).collect();
        if others.len() > NAMED_MAX {
            named.push(format!("{} more", others.len() - NAMED_MAX));
        }
        let span = Span { file: Arc::from(own.as_path()), line: 1, column: 1 };
        let message = format!(
            "this one alone is read, and not {}: name those that belong to the application, or move \
             this one into a directory beside them",
            named.join(", ")
        );
        diagnostics.warning(&span, message);
    }
}
