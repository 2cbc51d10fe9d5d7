//! SIGTERM and SIGINT: the first asks to stop cleanly, a later one stops at once.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What comes so soon after the first signal means the same: a terminal, a supervisor or `timeout` sends
/// one to the process and another to its group.
const SAME_WITHIN: Duration = Duration::from_secs(1);

/// The two signals that stop a process.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    first: Option<Instant>,
}

impl Signals {
    /// From now on neither ends the process by itself.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            first: None,
        })
    }

    /// Resolves at the next signal that means something new.
    pub(crate) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            if self.first.is_none_or(|first| first.elapsed() > SAME_WITHIN) {
                self.first.get_or_insert_with(Instant::now);
                return;
            }
        }
    }
}
