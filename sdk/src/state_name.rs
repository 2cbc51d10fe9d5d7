//! Names of states that a function makes while it runs. A name lives as long as the process, like
//! those in the program's text, so that a handle stays as small and copyable; how many there are is bounded.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

/// Distinct names of states that one process makes at run time.
pub const STATE_NAMES_MAX: usize = 4_096;

/// Longest such name, in bytes.
pub const STATE_NAME_BYTES_MAX: usize = 255;

/// Why a text cannot name a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateNameError {
    /// No character.
    #[error("a state needs a name: an empty one was given")]
    Empty,
    /// Too long.
    #[error("a state's name of {0} bytes: at most {STATE_NAME_BYTES_MAX} are possible")]
    TooLong(usize),
    /// The process knows too many.
    #[error(
        "state `{0}`: this process has made {STATE_NAMES_MAX} names of states at run time already; \
         keep many values in a table, by key"
    )]
    TooMany(String),
}

static NAMES: RwLock<BTreeSet<&'static str>> = RwLock::new(BTreeSet::new());

/// The name, kept for the life of the process.
pub(crate) fn keep(name: &str) -> Result<&'static str, StateNameError> {
    if name.is_empty() {
        return Err(StateNameError::Empty);
    }
    if name.len() > STATE_NAME_BYTES_MAX {
        return Err(StateNameError::TooLong(name.len()));
    }
    if let Some(kept) = NAMES.read().unwrap_or_else(PoisonError::into_inner).get(name) {
        return Ok(kept);
    }
    let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(kept) = names.get(name) {
        return Ok(kept);
    }
    if names.len() >= STATE_NAMES_MAX {
        return Err(StateNameError::TooMany(name.to_owned()));
    }
    let kept: &'static str = Box::leak(name.into());
    names.insert(kept);
    Ok(kept)
}
