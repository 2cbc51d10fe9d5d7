//! `dormouse scrub`: reads all of a data directory that no process uses, and names what is damaged.

use dormouse_host::store;

use crate::args::ScrubArguments;
use crate::failure::Failure;
use crate::report::{self, counted};

pub(crate) fn scrub(arguments: &ScrubArguments) -> Result<(), Failure> {
    let checked = store::scrub(&arguments.data);
    let report = checked.map_err(|error| Failure::Failed(error.to_string()))?;
    for damage in &report.damage {
        report::tell(format_args!("error: {damage}"));
    }
    report::answer(format_args!(
        "checked: {} in the log, {} of the base with {}; damage: {}",
        counted(report.commits as usize, "commit"),
        counted(report.tables, "table"),
        counted(report.table_bytes as usize, "byte"),
        report.damage.len(),
    ));
    if report.damage.is_empty() { Ok(()) } else { Err(Failure::Reported) }
}
