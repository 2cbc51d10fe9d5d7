//! The values of all metrics of functions of this process. Shards write to them with atomics; a lock is
//! only taken for writing when a function first uses a metric.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use dormouse_protocol::FunctionType;

use super::{Declared, METRICS_MAX, MetricError, MetricKind, OTHERS, Op, SERIES_MAX};

/// One metric with its values, as they are now.
#[derive(Clone, Debug, PartialEq)]
pub struct FamilySnapshot {
    /// The metric's name, as it was declared.
    pub name: &'static str,
    /// What it tells people.
    pub help: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// By function type, sorted.
    pub series: Vec<(&'static str, Reading)>,
}

/// A value as it is now.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Of a counter.
    Count(u64),
    /// Of a gauge.
    Value(f64),
    /// Of a histogram.
    Histogram {
        /// Values per bucket, one more than there are bounds: not summed up.
        counts: Vec<u64>,
        /// All values together.
        sum: f64,
    },
}

#[derive(Debug)]
struct Registry {
    families: BTreeMap<&'static str, Family>,
    series: usize,
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: MetricKind,
    series: BTreeMap<FunctionType, Arc<Cell>>,
    others: Arc<Cell>,
    has_others: bool,
}

/// One value.
#[derive(Debug)]
pub(crate) enum Cell {
    Counter(AtomicU64),
    /// The bits of a float.
    Gauge(AtomicU64),
    Histogram {
        bounds: &'static [f64],
        counts: Box<[AtomicU64]>,
        sum: AtomicU64,
    },
}

static REGISTRY: RwLock<Registry> = RwLock::new(Registry { families: BTreeMap::new(), series: 0 });

/// All metrics that functions of this process have used, sorted by name.
#[must_use]
pub fn snapshot() -> Vec<FamilySnapshot> {
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    let families = registry.families.iter();
    families.map(|(name, family)| family.snapshot(name)).collect()
}

/// The value of a metric for a function.
pub(super) fn cell(
    declared: &Declared,
    function_type: FunctionType,
) -> Result<Arc<Cell>, MetricError> {
    let known = {
        let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
        registry.known(declared, function_type)?
    };
    if let Some(cell) = known {
        return Ok(cell);
    }
    REGISTRY.write().unwrap_or_else(PoisonError::into_inner).add(declared, function_type)
}

impl Registry {
    fn known(
        &self,
        declared: &Declared,
        function_type: FunctionType,
    ) -> Result<Option<Arc<Cell>>, MetricError> {
        let Some(family) = self.families.get(declared.name) else {
            return Ok(None);
        };
        if family.kind != declared.kind {
            return Err(MetricError::OtherKind {
                name: declared.name,
                declared: family.kind.describe(),
                used: declared.kind.describe(),
            });
        }
        Ok(family.series.get(&function_type).cloned())
    }

    fn add(
        &mut self,
        declared: &Declared,
        function_type: FunctionType,
    ) -> Result<Arc<Cell>, MetricError> {
        if let Some(cell) = self.known(declared, function_type)? {
            return Ok(cell);
        }
        if self.families.len() >= METRICS_MAX && !self.families.contains_key(declared.name) {
            return Err(MetricError::TooMany(declared.name));
        }
        let family = self.families.entry(declared.name).or_insert_with(|| Family::new(declared));
        if self.series >= SERIES_MAX {
            family.has_others = true;
            return Ok(Arc::clone(&family.others));
        }
        self.series += 1;
        let cell = Arc::new(Cell::new(declared.kind));
        family.series.insert(function_type, Arc::clone(&cell));
        Ok(cell)
    }
}

impl Family {
    fn new(declared: &Declared) -> Self {
        Self {
            help: declared.help,
            kind: declared.kind,
            series: BTreeMap::new(),
            others: Arc::new(Cell::new(declared.kind)),
            has_others: false,
        }
    }

    fn snapshot(&self, name: &'static str) -> FamilySnapshot {
        let series = self.series.iter().map(|(of, cell)| (of.as_str(), cell.read()));
        let others = self.has_others.then(|| (OTHERS, self.others.read()));
        let series = series.chain(others).collect();
        FamilySnapshot { name, help: self.help, kind: self.kind, series }
    }
}

impl Cell {
    fn new(kind: MetricKind) -> Self {
        match kind {
            MetricKind::Counter => Self::Counter(AtomicU64::new(0)),
            MetricKind::Gauge => Self::Gauge(AtomicU64::new(0)),
            MetricKind::Histogram(bounds) => Self::Histogram {
                bounds,
                counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
                sum: AtomicU64::new(0),
            },
        }
    }

    pub(super) fn change(&self, op: Op) {
        match (self, op) {
            (Self::Counter(count), Op::Count(more)) => {
                count.fetch_add(more, Relaxed);
            }
            (Self::Gauge(bits), Op::Set(value)) => bits.store(value.to_bits(), Relaxed),
            (Self::Gauge(bits), Op::Adjust(more)) => add(bits, more),
            (Self::Histogram { bounds, counts, sum }, Op::Observe(value)) => {
                // What is no number is larger than every bound.
                let bucket = bounds.iter().position(|bound| value <= *bound);
                counts[bucket.unwrap_or(bounds.len())].fetch_add(1, Relaxed);
                add(sum, value);
            }
            // The handles of each kind allow no other pair.
            _ => {}
        }
    }

    fn read(&self) -> Reading {
        let float = |bits: &AtomicU64| f64::from_bits(bits.load(Relaxed));
        match self {
            Self::Counter(count) => Reading::Count(count.load(Relaxed)),
            Self::Gauge(bits) => Reading::Value(float(bits)),
            Self::Histogram { counts, sum, .. } => Reading::Histogram {
                counts: counts.iter().map(|count| count.load(Relaxed)).collect(),
                sum: float(sum),
            },
        }
    }
}

fn add(bits: &AtomicU64, more: f64) {
    // Never fails: the closure always answers with a value.
    let _ =
        bits.fetch_update(Relaxed, Relaxed, |bits| Some((f64::from_bits(bits) + more).to_bits()));
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: Declared = Declared { name: "count", help: "", kind: MetricKind::Counter };

    #[test]
    fn functions_beyond_the_bound_share_a_series() {
        let mut registry = Registry { families: BTreeMap::new(), series: SERIES_MAX - 1 };
        let [a, b, c] = ["a", "b", "c"].map(|name| FunctionType::new("metrics", name));
        registry.add(&COUNT, a).unwrap().change(Op::Count(1));
        registry.add(&COUNT, b).unwrap().change(Op::Count(2));
        registry.add(&COUNT, c).unwrap().change(Op::Count(3));
        registry.add(&COUNT, a).unwrap().change(Op::Count(10));
        let series = registry.families["count"].snapshot("count").series;
        assert_eq!(series, [("metrics/a", Reading::Count(11)), (OTHERS, Reading::Count(5))]);
    }

    #[test]
    fn a_metric_too_many_is_refused_and_known_ones_go_on() {
        let mut registry = Registry { families: BTreeMap::new(), series: 0 };
        let function_type = FunctionType::new("metrics", "a");
        for number in 0..METRICS_MAX {
            let name: &'static str = Box::leak(format!("m{number}").into_boxed_str());
            registry.add(&Declared { name, ..COUNT }, function_type).unwrap();
        }
        let refused = registry.add(&COUNT, function_type).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "metric `count` is one too many: functions of one process have at most 1000"
        );
        registry.add(&Declared { name: "m7", ..COUNT }, function_type).unwrap();
    }

    #[test]
    fn values_fall_into_the_lowest_bucket_that_holds_them() {
        let cell = Cell::new(MetricKind::Histogram(&[1.0, 10.0]));
        for value in [0.5, 1.0, 1.5, 10.0, 11.0] {
            cell.change(Op::Observe(value));
        }
        assert_eq!(cell.read(), Reading::Histogram { counts: vec![2, 2, 1], sum: 24.0 });
    }
}
