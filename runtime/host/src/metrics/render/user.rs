//! The metrics that functions have of their own, with the function's type as a label.

use dormouse_sdk::metrics::{FamilySnapshot, MetricKind, Reading, snapshot};

use super::{Page, escaped, names::USER_PREFIX};

/// All of them, sorted by name.
pub(super) fn families(page: &mut Page<'_>) {
    for family in snapshot() {
        show(page, &family);
    }
}

fn show(page: &mut Page<'_>, family: &FamilySnapshot) {
    let name = format!("{USER_PREFIX}{}", family.name);
    let (kind, bounds): (_, &[f64]) = match family.kind {
        MetricKind::Counter => ("counter", &[]),
        MetricKind::Gauge => ("gauge", &[]),
        MetricKind::Histogram(bounds) => ("histogram", bounds),
    };
    // A help text is one line.
    page.head(&name, kind, &family.help.replace('\\', "\\\\").replace('\n', "\\n"));
    for (function, reading) in &family.series {
        let label = format!("function=\"{}\"", escaped(function));
        match reading {
            Reading::Count(count) => page.line(format_args!("{name}{{{label}}} {count}")),
            Reading::Value(value) => page.line(format_args!("{name}{{{label}}} {value}")),
            Reading::Histogram { counts, sum } => {
                let mut below = 0;
                for (index, count) in counts.iter().enumerate() {
                    below += count;
                    let bound = bounds.get(index).map_or("+Inf".to_owned(), f64::to_string);
                    page.line(format_args!("{name}_bucket{{{label},le=\"{bound}\"}} {below}"));
                }
                page.line(format_args!("{name}_sum{{{label}}} {sum}"));
                page.line(format_args!("{name}_count{{{label}}} {below}"));
            }
        }
    }
}
