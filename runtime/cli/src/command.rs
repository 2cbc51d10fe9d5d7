//! The commands, one file each, and what `run` and `check` share: from paths to a plan.

pub(crate) mod check;
pub(crate) mod dead_letters;
pub(crate) mod new;
pub(crate) mod run;
pub(crate) mod scrub;

use std::path::PathBuf;

use dormouse_host::manifest;
use dormouse_host::plan::{self, Plan};
use dormouse_host::registry;
use dormouse_sdk::manifest::Diagnostics;

use crate::failure::Failure;
use crate::report;

/// Reads manifests and resolves them; everything that is wrong is printed.
fn plan(manifests: &[PathBuf], strict: bool) -> Result<Plan, Failure> {
    let linked = registry::linked().map_err(|error| Failure::Failed(error.to_string()))?;
    let mut diagnostics = Diagnostics::default();
    let manifest = manifest::read(manifests, &mut diagnostics);
    let plan = plan::resolve(&manifest, &linked, &mut diagnostics);
    report::findings(&mut diagnostics, strict)?;
    Ok(plan)
}
