//! Metrics as Prometheus text. Every metric's name stands in [`names`], and nowhere else.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use dormouse_protocol::FunctionType;

use crate::metrics::histogram::{BUCKETS, Histogram};
use crate::metrics::process::ProcessUsage;
use crate::metrics::{Metrics, ShardMetrics};

mod user;

/// The names of all metrics. Part of the product: dashboards and alerts use them.
pub mod names {
    pub const MESSAGES: &str = "dormouse_messages_processed_total";
    pub const INVOCATIONS: &str = "dormouse_invocations_total";
    pub const INVOCATION_FAILURES: &str = "dormouse_invocation_failures_total";
    pub const UNSERVED: &str = "dormouse_messages_unserved_total";
    pub const INVOCATION_SECONDS: &str = "dormouse_invocation_seconds";
    pub const EFFECTS: &str = "dormouse_effects_total";
    pub const REPLIES_DROPPED: &str = "dormouse_replies_dropped_total";
    pub const COMMITS: &str = "dormouse_commits_total";
    pub const COMMIT_BYTES: &str = "dormouse_commit_bytes_total";
    pub const COMMIT_OPERATIONS: &str = "dormouse_commit_operations_total";
    pub const COMMIT_SIZE_BYTES: &str = "dormouse_commit_size_bytes";
    pub const DURABLE_LAG_SECONDS: &str = "dormouse_store_durable_lag_seconds";
    pub const DAMAGED_FILES: &str = "dormouse_store_damaged_files";
    pub const SCRUBBED_BYTES: &str = "dormouse_store_scrubbed_bytes_total";
    pub const SCRUB_PASSES: &str = "dormouse_store_scrub_passes_total";
    pub const INGRESS_ACCEPTED: &str = "dormouse_ingress_accepted_total";
    pub const INGRESS_REJECTED: &str = "dormouse_ingress_rejected_total";
    pub const REQUEST_DURABLE_SECONDS: &str = "dormouse_request_durable_seconds";
    pub const BACKLOG_MESSAGES: &str = "dormouse_backlog_messages";
    pub const BACKLOG_BYTES: &str = "dormouse_backlog_bytes";
    pub const AWAKE_INSTANCES: &str = "dormouse_awake_instances";
    pub const BLOCKED_ADDRESSES: &str = "dormouse_blocked_addresses";
    pub const DEAD_LETTERS: &str = "dormouse_dead_letters";
    pub const DEAD_LETTERS_REFUSED: &str = "dormouse_dead_letters_refused_total";
    pub const IN_FLIGHT: &str = "dormouse_invocations_in_flight";
    pub const EGRESS_UNCONFIRMED: &str = "dormouse_egress_unconfirmed_records";
    pub const FUNCTION_INVOCATIONS: &str = "dormouse_function_invocations_total";
    pub const FUNCTION_MESSAGES: &str = "dormouse_function_messages_total";
    pub const FUNCTION_FAILURES: &str = "dormouse_function_failures_total";
    pub const FUNCTION_DEAD_LETTERS: &str = "dormouse_function_dead_letters_total";
    pub const FUNCTION_DROPPED: &str = "dormouse_function_dropped_messages_total";
    pub const STALLED_SECONDS: &str = "dormouse_stalled_seconds";
    pub const RESIDENT_BYTES: &str = "process_resident_memory_bytes";
    pub const PEAK_RESIDENT_BYTES: &str = "dormouse_process_peak_resident_memory_bytes";
    pub const CPU_SECONDS: &str = "process_cpu_seconds_total";
    pub const INFO: &str = "dormouse_info";
    /// What the names of functions' own metrics begin with.
    pub const USER_PREFIX: &str = "dormouse_user_";
}

/// The whole page.
#[must_use]
pub fn render(metrics: &Metrics, process: Option<ProcessUsage>) -> String {
    let mut page = Page { metrics, text: String::new() };
    work(&mut page);
    commits(&mut page);
    scrub(&mut page);
    ingress_and_load(&mut page);
    functions(&mut page);
    user::families(&mut page);
    stalls(&mut page);
    if let Some(usage) = process {
        page.single(names::RESIDENT_BYTES, "gauge", "Resident memory.", usage.resident_bytes);
        let help = "Highest resident memory so far.";
        page.single(names::PEAK_RESIDENT_BYTES, "gauge", help, usage.peak_resident_bytes);
        page.single(names::CPU_SECONDS, "counter", "Processor time used.", usage.cpu_seconds);
    }
    page.head(names::INFO, "gauge", "The running version.");
    let version = env!("CARGO_PKG_VERSION");
    page.line(format_args!("{}{{version=\"{version}\"}} 1", names::INFO));
    page.text
}

fn work(page: &mut Page<'_>) {
    let help = "Messages whose effects were committed.";
    page.per_shard(names::MESSAGES, help, |s| s.work.messages.get());
    let help = "Calls of functions.";
    page.per_shard(names::INVOCATIONS, help, |s| s.work.invocations.get());
    let help = "Calls of functions that failed.";
    page.per_shard(names::INVOCATION_FAILURES, help, |s| s.work.invocation_failures.get());
    let help =
        "Messages for types that nobody serves: new ones, and addresses of old ones at a start.";
    page.per_shard(names::UNSERVED, help, |s| s.work.unserved.get());
    let help =
        "Time from a call of a function to its answer; calls that answer at once are not timed.";
    page.histogram(names::INVOCATION_SECONDS, help, Unit::Nanos, |s| &s.work.invocation_nanos);
    effects(page);
    let help = "Replies that came too late, twice, or after a restart.";
    page.per_shard(names::REPLIES_DROPPED, help, |s| s.effects.replies_dropped.get());
}

fn effects(page: &mut Page<'_>) {
    page.head(names::EFFECTS, "counter", "What functions asked for.");
    for (shard, counts) in page.metrics.shards().iter().enumerate() {
        let effects = &counts.effects;
        let kinds = [
            ("message", effects.messages.get()),
            ("delayed", effects.delayed.get()),
            ("cancellation", effects.cancellations.get()),
            ("egress", effects.egress_records.get()),
            ("reply", effects.replies.get()),
        ];
        for (kind, count) in kinds {
            let name = names::EFFECTS;
            page.line(format_args!("{name}{{shard=\"{shard}\",kind=\"{kind}\"}} {count}"));
        }
    }
}

fn commits(page: &mut Page<'_>) {
    let help = "Atomic batches handed to the store.";
    page.per_shard(names::COMMITS, help, |s| s.commits.commits.get());
    let help = "Bytes handed to the store.";
    page.per_shard(names::COMMIT_BYTES, help, |s| s.commits.bytes.get());
    let help = "Changes of single keys handed to the store.";
    page.per_shard(names::COMMIT_OPERATIONS, help, |s| s.commits.operations.get());
    let help = "Size of atomic batches.";
    page.histogram(names::COMMIT_SIZE_BYTES, help, Unit::Bytes, |s| &s.commits.size);
    let help = "Age of the oldest commit that is not durable yet.";
    page.per_shard(names::DURABLE_LAG_SECONDS, help, |s| {
        Unit::Nanos.scale(s.commits.durable_lag_nanos.get())
    });
}

fn scrub(page: &mut Page<'_>) {
    let scrub = &page.metrics.scrub;
    let help = "Files of the base that are damaged: restore the data directory from a copy.";
    page.single(names::DAMAGED_FILES, "gauge", help, scrub.damaged());
    let help = "Bytes of the base read and checked for damage.";
    page.single(names::SCRUBBED_BYTES, "counter", help, scrub.bytes());
    let help = "Times that the whole base was checked for damage.";
    page.single(names::SCRUB_PASSES, "counter", help, scrub.passes());
}

fn ingress_and_load(page: &mut Page<'_>) {
    let help = "Messages accepted from outside.";
    page.per_shard(names::INGRESS_ACCEPTED, help, |s| s.ingress.accepted.get());
    let help = "Messages from outside that were refused.";
    page.per_shard(names::INGRESS_REJECTED, help, |s| s.ingress.rejected.get());
    let help = "Time from the acceptance of a message until it is durable.";
    page.histogram(names::REQUEST_DURABLE_SECONDS, help, Unit::Nanos, |s| &s.ingress.durable_nanos);
    let help = "Messages accepted and not finished.";
    page.per_shard(names::BACKLOG_MESSAGES, help, |s| s.load.backlog_messages.get());
    let help = "Bytes of messages accepted and not finished.";
    page.per_shard(names::BACKLOG_BYTES, help, |s| s.load.backlog_bytes.get());
    let help = "Instances in memory.";
    page.per_shard(names::AWAKE_INSTANCES, help, |s| s.load.awake_instances.get());
    let help = "Addresses whose last call failed: they wait, or are being tried again.";
    page.per_shard(names::BLOCKED_ADDRESSES, help, |s| s.load.blocked_addresses.get());
    let help = "Dead letters that wait to be replayed or discarded.";
    page.per_shard(names::DEAD_LETTERS, help, |s| s.load.dead_letters.get());
    let help =
        "Failed calls after which there was no room for a dead letter: the address is blocked.";
    page.per_shard(names::DEAD_LETTERS_REFUSED, help, |s| s.work.burials_refused.get());
    let help = "Calls of functions under way.";
    page.per_shard(names::IN_FLIGHT, help, |s| s.load.in_flight.get());
    let help = "Records that an egress has not confirmed.";
    page.per_shard(names::EGRESS_UNCONFIRMED, help, |s| s.load.egress_unconfirmed.get());
}

fn functions(page: &mut Page<'_>) {
    let mut sums: BTreeMap<FunctionType, [u64; 5]> = BTreeMap::new();
    for shard in page.metrics.shards() {
        shard.each_function(|function_type, counts| {
            let sum = sums.entry(function_type).or_default();
            sum[0] += counts.invocations.get();
            sum[1] += counts.messages.get();
            sum[2] += counts.failures.get();
            sum[3] += counts.dead_letters.get();
            sum[4] += counts.dropped.get();
        });
    }
    let families = [
        (names::FUNCTION_INVOCATIONS, "Calls by function type."),
        (names::FUNCTION_MESSAGES, "Messages by function type."),
        (names::FUNCTION_FAILURES, "Failed calls by function type."),
        (names::FUNCTION_DEAD_LETTERS, "Messages that became dead letters, by function type."),
        (names::FUNCTION_DROPPED, "Messages given up and not kept, by function type."),
    ];
    for (index, (name, help)) in families.into_iter().enumerate() {
        page.head(name, "counter", help);
        for (function_type, sum) in &sums {
            let function = escaped(function_type.as_str());
            page.line(format_args!("{name}{{function=\"{function}\"}} {}", sum[index]));
        }
    }
}

/// One line for each thing that stands still: none when all goes on.
fn stalls(page: &mut Page<'_>) {
    let name = names::STALLED_SECONDS;
    page.head(name, "gauge", "For how long what has work has finished none of it.");
    for stall in page.metrics.stalls.list() {
        let (kind, what) = (stall.kind.as_str(), escaped(&stall.name));
        let seconds = stall.since.elapsed().as_secs_f64();
        page.line(format_args!("{name}{{kind=\"{kind}\",name=\"{what}\"}} {seconds}"));
    }
}

/// A label's value as the format wants it.
fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// How a histogram's integers are shown.
#[derive(Clone, Copy)]
enum Unit {
    /// Recorded in nanoseconds, shown in seconds; buckets from 1 microsecond on.
    Nanos,
    /// Shown as recorded; buckets from 64 bytes on.
    Bytes,
}

impl Unit {
    #[allow(clippy::cast_precision_loss, reason = "a metric needs no 53 bits")]
    fn scale(self, value: u64) -> f64 {
        match self {
            Self::Nanos => value as f64 / 1e9,
            Self::Bytes => value as f64,
        }
    }

    /// Smaller buckets are of no interest: they are summed into this one.
    fn first_bucket(self) -> usize {
        match self {
            Self::Nanos => 10,
            Self::Bytes => 6,
        }
    }
}

struct Page<'m> {
    metrics: &'m Metrics,
    text: String,
}

impl Page<'_> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a string takes every line");
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.line(format_args!("{name} {value}"));
    }

    /// One line per shard. What counts up has a name that says so.
    fn per_shard<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        value: impl Fn(&ShardMetrics) -> V,
    ) {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        self.head(name, kind, help);
        for (shard, counts) in self.metrics.shards().iter().enumerate() {
            let value = value(counts);
            self.line(format_args!("{name}{{shard=\"{shard}\"}} {value}"));
        }
    }

    /// One histogram for the process: latencies of shards are not told apart.
    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        of: impl Fn(&ShardMetrics) -> &Histogram,
    ) {
        let mut counts = [0u64; BUCKETS];
        let mut sum = 0u64;
        for shard in self.metrics.shards() {
            let histogram = of(shard);
            sum = sum.wrapping_add(histogram.sum());
            for (total, count) in counts.iter_mut().zip(histogram.counts()) {
                *total += count;
            }
        }
        self.head(name, "histogram", help);
        let mut below = 0;
        for (bucket, count) in counts.iter().enumerate() {
            below += count;
            if (unit.first_bucket()..BUCKETS - 1).contains(&bucket) {
                let bound = unit.scale(1 << bucket);
                self.line(format_args!("{name}_bucket{{le=\"{bound}\"}} {below}"));
            }
        }
        self.line(format_args!("{name}_bucket{{le=\"+Inf\"}} {below}"));
        let sum = unit.scale(sum);
        self.line(format_args!("{name}_sum {sum}"));
        self.line(format_args!("{name}_count {below}"));
    }
}
