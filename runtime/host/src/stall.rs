//! What accepts work and finishes none: a shard, a function, an egress, the store. The shards count what
//! they do (`pulse`), a thread of its own looks at it (`watchdog`), and what stands still is named
//! here, for the log, the metrics and the readiness.

pub(crate) mod pulse;
pub(crate) mod watchdog;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What can stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StallKind {
    /// A thread that serves nobody.
    Shard,
    /// Nothing becomes durable, or nothing is read.
    Store,
    /// A function, in-process or behind an endpoint, none of whose calls succeeds.
    Function,
    /// Records that nobody takes.
    Egress,
}

/// One thing that stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    pub kind: StallKind,
    /// The shard's number, the function type, the egress's id, `commits`.
    pub name: String,
    /// What is known of why, and where to look.
    pub cause: String,
    pub since: Instant,
}

/// Everything that stands still at the moment.
#[derive(Debug, Default)]
pub struct Stalls {
    current: Mutex<Vec<Stall>>,
}

impl StallKind {
    pub const ALL: [Self; 4] = [Self::Shard, Self::Store, Self::Function, Self::Egress];

    /// Whether the process as a whole serves badly, so that requests should go elsewhere. Functions and
    /// egresses hold up their own addresses only.
    #[must_use]
    pub fn is_of_process(self) -> bool {
        matches!(self, Self::Shard | Self::Store)
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shard => "shard",
            Self::Store => "store",
            Self::Function => "function",
            Self::Egress => "egress",
        }
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, cause, since } = self;
        let seconds = since.elapsed().as_secs_f64();
        write!(f, "{} {name} has finished nothing for {seconds:.1} s: {cause}", kind.as_str())
    }
}

impl Stalls {
    /// Everything that stands still, in the order in which it was noticed.
    #[must_use]
    pub fn list(&self) -> Vec<Stall> {
        self.lock().clone()
    }

    /// Whether the process as a whole is held up.
    #[must_use]
    pub fn hold_up_the_process(&self) -> bool {
        self.lock().iter().any(|stall| stall.kind.is_of_process())
    }

    pub(crate) fn begin(&self, stall: Stall) {
        self.lock().push(stall);
    }

    /// How long it stood still, if it was known to.
    pub(crate) fn end(&self, kind: StallKind, name: &str) -> Option<Duration> {
        let mut current = self.lock();
        let found = current.iter().position(|stall| stall.kind == kind && stall.name == name)?;
        Some(current.remove(found).since.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Stall>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
