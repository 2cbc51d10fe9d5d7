//! Says what happens, with the time since the run began: on standard output, as it happens.

use std::time::Instant;

/// When the run began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline(Instant);

impl Timeline {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn say(self, text: impl AsRef<str>) {
        println!("{:>9.3} s  {}", self.0.elapsed().as_secs_f64(), text.as_ref());
    }

    pub(crate) fn minutes(self) -> f64 {
        self.0.elapsed().as_secs_f64() / 60.0
    }
}
