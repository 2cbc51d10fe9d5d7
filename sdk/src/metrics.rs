//! Metrics of functions: counters, gauges and histograms that are declared once, as a `const` or
//! `static`, and used through [`crate::Context`]. The runtime exports them with the function's type as
//! a label. What a failed call counted is forgotten with its other effects.
//!
//! ```
//! use dormouse_sdk::metrics::{Counter, Gauge, Histogram};
//! use dormouse_sdk::{Context, FunctionError, function};
//!
//! const ORDERS: Counter = Counter::new("orders_total", "Orders taken.");
//! const LAST: Gauge = Gauge::new("last_order_cents", "What the last order cost.");
//! const CENTS: Histogram =
//!     Histogram::new("order_cents", "What orders cost.", &[100.0, 1_000.0, 10_000.0]);
//!
//! async fn till(ctx: &mut Context, cents: i64) -> Result<(), FunctionError> {
//!     ctx.count(&ORDERS, 1)?;
//!     ctx.gauge(&LAST, cents as f64)?;
//!     ctx.observe(&CENTS, cents as f64)?;
//!     Ok(())
//! }
//!
//! function! { "shop/till", till }
//! ```

mod registry;

use std::sync::{Arc, Mutex, PoisonError};

use dormouse_protocol::FunctionType;

use registry::Cell;
pub use registry::{FamilySnapshot, Reading, snapshot};

/// Metrics that the functions of one process may have.
pub const METRICS_MAX: usize = 1_000;

/// Pairs of metric and function that one process keeps apart; further functions share the label
/// [`OTHERS`].
pub const SERIES_MAX: usize = 10_000;

/// The label of functions that came when there were [`SERIES_MAX`] already.
pub const OTHERS: &str = "(others)";

/// Longest name of a metric, in bytes.
pub const NAME_BYTES_MAX: usize = 100;

/// Buckets of a histogram, beside the one for all that is larger.
pub const BUCKETS_MAX: usize = 64;

/// A number that only grows.
#[derive(Clone, Copy, Debug)]
pub struct Counter(Declared);

/// A number that goes up and down.
#[derive(Clone, Copy, Debug)]
pub struct Gauge(Declared);

/// How many values fell below which bounds.
#[derive(Clone, Copy, Debug)]
pub struct Histogram(Declared);

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricKind {
    /// A [`Counter`].
    Counter,
    /// A [`Gauge`].
    Gauge,
    /// A [`Histogram`] with these upper bounds.
    Histogram(&'static [f64]),
}

#[derive(Clone, Copy, Debug)]
struct Declared {
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
}

/// Why a metric cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// Declared twice, as different things.
    #[error(
        "metric `{name}` is declared as {declared} and as {used}: give one of the two another name"
    )]
    OtherKind {
        /// The metric's name.
        name: &'static str,
        /// As it was used first.
        declared: String,
        /// As it is used now.
        used: String,
    },
    /// The process has too many.
    #[error("metric `{0}` is one too many: functions of one process have at most {METRICS_MAX}")]
    TooMany(&'static str),
}

/// What a batch has counted: it counts when the batch succeeds.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    list: Vec<Change>,
    /// Of a test: takes the changes instead of the process.
    pub(crate) noted: Option<Noted>,
}

/// Where a test finds what was counted: names, and what happened to them.
pub(crate) type Noted = Arc<Mutex<Vec<(&'static str, Op)>>>;

#[derive(Debug)]
struct Change {
    name: &'static str,
    cell: Arc<Cell>,
    op: Op,
}

/// What happens to a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    Count(u64),
    Set(f64),
    Adjust(f64),
    Observe(f64),
}

impl Counter {
    /// A counter that is exported as `dormouse_user_<name>`. By Prometheus's custom the name ends with
    /// `_total`.
    ///
    /// # Panics
    /// When the name is not made of small letters, digits and `_`, or is too long (at compile time, for a
    /// `const`).
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self(Declared { name: metric_name(name), help, kind: MetricKind::Counter })
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.0.name
    }
}

impl Gauge {
    /// A gauge that is exported as `dormouse_user_<name>`.
    ///
    /// # Panics
    /// As [`Counter::new`].
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self(Declared { name: metric_name(name), help, kind: MetricKind::Gauge })
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.0.name
    }
}

impl Histogram {
    /// A histogram that is exported as `dormouse_user_<name>`, with these upper bounds of its buckets.
    ///
    /// # Panics
    /// As [`Counter::new`], and when the bounds do not grow, or are more than [`BUCKETS_MAX`].
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str, bounds: &'static [f64]) -> Self {
        assert!(bounds.len() <= BUCKETS_MAX, "a histogram has at most 64 buckets");
        let mut at = 1;
        while at < bounds.len() {
            assert!(bounds[at - 1] < bounds[at], "the bounds of a histogram's buckets must grow");
            at += 1;
        }
        Self(Declared { name: metric_name(name), help, kind: MetricKind::Histogram(bounds) })
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.0.name
    }
}

const fn metric_name(name: &'static str) -> &'static str {
    let bytes = name.as_bytes();
    assert!(
        !bytes.is_empty() && bytes.len() <= NAME_BYTES_MAX,
        "a metric's name has 1 to 100 bytes"
    );
    assert!(bytes[0].is_ascii_lowercase(), "a metric's name begins with a small letter");
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let fits = byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(fits, "a metric's name is made of small letters, digits and `_`");
        at += 1;
    }
    // Histograms are exported under names of this kind.
    let is_free =
        !(ends_with(bytes, b"_bucket") || ends_with(bytes, b"_sum") || ends_with(bytes, b"_count"));
    assert!(is_free, "a metric's name must not end with `_bucket`, `_sum` or `_count`");
    name
}

const fn ends_with(text: &[u8], end: &[u8]) -> bool {
    if text.len() < end.len() {
        return false;
    }
    let mut at = 0;
    while at < end.len() {
        if text[text.len() - end.len() + at] != end[at] {
            return false;
        }
        at += 1;
    }
    true
}

impl Changes {
    pub(crate) fn count(
        &mut self,
        counter: &Counter,
        function_type: FunctionType,
        more: u64,
    ) -> Result<(), MetricError> {
        self.push(&counter.0, function_type, Op::Count(more))
    }

    pub(crate) fn set(
        &mut self,
        gauge: &Gauge,
        function_type: FunctionType,
        value: f64,
    ) -> Result<(), MetricError> {
        self.push(&gauge.0, function_type, Op::Set(value))
    }

    pub(crate) fn adjust(
        &mut self,
        gauge: &Gauge,
        function_type: FunctionType,
        more: f64,
    ) -> Result<(), MetricError> {
        self.push(&gauge.0, function_type, Op::Adjust(more))
    }

    pub(crate) fn observe(
        &mut self,
        histogram: &Histogram,
        function_type: FunctionType,
        value: f64,
    ) -> Result<(), MetricError> {
        self.push(&histogram.0, function_type, Op::Observe(value))
    }

    fn push(
        &mut self,
        declared: &Declared,
        function_type: FunctionType,
        op: Op,
    ) -> Result<(), MetricError> {
        let cell = registry::cell(declared, function_type)?;
        self.list.push(Change { name: declared.name, cell, op });
        Ok(())
    }

    pub(crate) fn apply(self) {
        if let Some(noted) = self.noted {
            let changes = self.list.iter().map(|change| (change.name, change.op));
            noted.lock().unwrap_or_else(PoisonError::into_inner).extend(changes);
            return;
        }
        for change in self.list {
            change.cell.change(change.op);
        }
    }
}

impl MetricKind {
    fn describe(&self) -> String {
        match self {
            Self::Counter => "a counter".to_owned(),
            Self::Gauge => "a gauge".to_owned(),
            Self::Histogram(bounds) => format!("a histogram with the bounds {bounds:?}"),
        }
    }
}
