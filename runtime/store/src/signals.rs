//! What the store's threads tell the shards: that something moved, or that the store is broken for
//! good. A failed write or sync is never repeated; whoever meets one poisons the store.

use std::fmt;
use std::sync::{Mutex, OnceLock};

use crate::{StoreError, Waker};

#[derive(Default)]
pub(crate) struct Signals {
    cause: OnceLock<String>,
    wakers: Mutex<Vec<Waker>>,
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").field("cause", &self.cause).finish_non_exhaustive()
    }
}

impl Signals {
    pub(crate) fn add(&self, waker: Waker) {
        lock(&self.wakers).push(waker);
    }

    pub(crate) fn wake(&self) {
        for waker in &*lock(&self.wakers) {
            waker();
        }
    }

    /// Stops the store; the first cause stays.
    pub(crate) fn poison(&self, cause: &StoreError) {
        let cause = match cause {
            StoreError::Poisoned { cause } => cause.clone(),
            other => other.to_string(),
        };
        if self.cause.set(cause.clone()).is_ok() {
            tracing::error!(%cause, "the store stopped after a failed write");
        }
        self.wake();
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self.cause.get() {
            None => Ok(()),
            Some(cause) => Err(StoreError::Poisoned { cause: cause.clone() }),
        }
    }
}

/// Locks; a panic of another thread while it held the lock is a bug that ends this one too.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no thread of the store panics while it holds a lock")
}
