//! What the machine itself can do, measured in the same run as the rows that are held against it:
//! the disk, bare HTTP, and the smallest loops that do a row's work without a runtime around it.

pub(crate) mod base;
pub(crate) mod counter;
pub(crate) mod disk;
pub(crate) mod fan_out;
pub(crate) mod http;
pub(crate) mod ring;

use std::time::Duration;

use crate::process::Usage;

/// What a bare loop came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bare {
    pub(crate) messages: u64,
    pub(crate) elapsed: Duration,
    /// Of the process that ran it.
    pub(crate) cpu_seconds: f64,
}

impl Bare {
    pub(crate) fn per_second(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn cpu_micros(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.messages.max(1) as f64
    }
}

/// Processor time between two looks at the process, with the messages in between.
pub(crate) fn bare(messages: u64, elapsed: Duration, before: Usage, after: Usage) -> Bare {
    Bare { messages, elapsed, cpu_seconds: before.until(&after).cpu_seconds }
}
