//! `dormouse check`: everything that is wrong at once, and nothing is opened or started.

use dormouse_sdk::manifest::Severity;
use dormouse_sdk::module::Side;

use crate::application::become_if_needed;
use crate::args::CheckArguments;
use crate::command::plan;
use crate::failure::Failure;
use crate::paths::manifests;
use crate::report::{self, counted};

pub(crate) fn check(arguments: &CheckArguments) -> Result<(), Failure> {
    let manifests = manifests(&arguments.paths)?;
    become_if_needed(&arguments.paths)?;
    let plan = plan(&arguments.paths, &manifests, Severity::Warning, arguments.strict)?;
    report::answer(format_args!(
        "ok: {}, {}, {}, {}",
        counted(manifests.len(), "manifest"),
        counted(plan.count(Side::Ingress), "ingress"),
        counted(plan.functions.served().len(), "function target"),
        counted(plan.count(Side::Egress), "egress"),
    ));
    Ok(())
}
