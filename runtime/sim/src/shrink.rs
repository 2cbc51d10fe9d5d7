//! Makes a failure small: fewer messages, faults, shards and partitions, as long as the seed still
//! fails. What is left is named by overrides of the scenario, `name=value`, which replay it.

use std::fmt::{self, Display, Formatter};

use crate::scenario::Scenario;
use crate::{Outcome, run_with};

/// Values that replace what the seed drew, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(pub Vec<(String, u64)>);

/// Other schedules of the same scenario that are tried for each reduction.
const SALTS: u64 = 12;

/// Runs that shrinking one failure takes at most.
const RUNS_MAX: usize = 1_500;

impl Overrides {
    /// Reads `name=value,name=value`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, value) =
                part.split_once('=').ok_or(format!("`{part}` is not name=value"))?;
            let value = value.parse().map_err(|_| format!("{name}: `{value}` is not a number"))?;
            if !Scenario::NAMES.contains(&name) {
                let names = Scenario::NAMES.join(", ");
                return Err(format!("unknown name `{name}`: one of {names}"));
            }
            all.push((name.to_owned(), value));
        }
        Ok(Self(all))
    }

    /// The same with one value set.
    #[must_use]
    fn with(&self, name: &str, value: u64) -> Self {
        let mut all: Vec<_> = self.0.iter().filter(|(known, _)| known != name).cloned().collect();
        all.push((name.to_owned(), value));
        Self(all)
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

impl Display for Overrides {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

/// The smallest failure found below that of `seed`, and the overrides that lead to it.
#[must_use]
pub fn shrink(seed: u64, overrides: &Overrides) -> (Overrides, Outcome) {
    let mut best = (overrides.clone(), run_with(seed, overrides, false));
    let mut runs = 0;
    loop {
        let before = best.0.clone();
        let scenario = Scenario::of(seed, &best.0);
        for (name, value) in scenario.values() {
            // Nothing of it, then half of it, then one less.
            for smaller in [least(name), value / 2, value.saturating_sub(1)] {
                if smaller < value && smaller >= least(name) && runs < RUNS_MAX {
                    let found = fails(seed, &best.0.with(name, smaller), &mut runs);
                    if let Some(found) = found {
                        best = found;
                        break;
                    }
                }
            }
        }
        if best.0 == before || runs >= RUNS_MAX {
            return best;
        }
    }
}

/// The least value that makes sense.
fn least(name: &str) -> u64 {
    u64::from(matches!(name, "partitions" | "shards" | "ids" | "submits" | "ttl_ms"))
}

fn fails(seed: u64, overrides: &Overrides, runs: &mut usize) -> Option<(Overrides, Outcome)> {
    let salt = overrides.get("salt").unwrap_or(0);
    for other in std::iter::once(salt).chain((1..SALTS).map(|step| salt + step)) {
        let overrides = overrides.with("salt", other);
        *runs += 1;
        let outcome = run_with(seed, &overrides, false);
        if outcome.result.is_err() {
            return Some((overrides, outcome));
        }
    }
    None
}
