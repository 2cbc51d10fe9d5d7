//! Open files and sockets: ten thousand clients need as many descriptors, and shells start programs
//! with about a thousand. A process may raise its own limit up to the hard one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Fewer are worth a word: connections beyond them would be refused.
const DESCRIPTORS_WANTED: u64 = 16_384;

/// Raises the limit as far as it goes.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let reached = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    if let Some(reached) = reached.filter(|reached| *reached < DESCRIPTORS_WANTED) {
        tracing::warn!(
            reached,
            "this process may open only {reached} files and sockets; raise the hard limit \
             (`ulimit -Hn`) to serve more clients at once"
        );
    }
}
