//! The threads that read the base, so that no shard ever waits for the disk. Each job is one `get`,
//! `scan` or `open`; how many are in flight is bounded by the shards, which wait for the answers.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::signals::lock;
use crate::{ReadFuture, StoreError};

type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Readers {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    base: PathBuf,
}

#[derive(Default)]
struct Queue {
    /// What is to be read, and whether the threads end.
    jobs: Mutex<(VecDeque<Job>, bool)>,
    changed: Condvar,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl Readers {
    /// Starts `threads` threads that read the base in `base`.
    pub(crate) fn start(threads: usize, base: &Path) -> Result<Self, StoreError> {
        let readers =
            Self { queue: Arc::default(), threads: Mutex::default(), base: base.to_path_buf() };
        for number in 0..threads.max(1) {
            let queue = Arc::clone(&readers.queue);
            let thread =
                crate::embedded::spawn(&format!("store-read-{number}"), base, move || {
                    queue.work();
                })?;
            lock(&readers.threads).push(thread);
        }
        Ok(readers)
    }

    /// Runs `read` on one of the threads.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> ReadFuture<T> {
        let (sender, receiver) = oneshot::channel();
        let base = self.base.clone();
        let job = Box::new(move || {
            // The tree takes some kinds of damage for impossible and panics.
            let answer = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
                Err(StoreError::DamagedFile {
                    path: base,
                    problem: String::from(
                        "a read panicked (see the message before); restore the directory from a copy",
                    ),
                })
            });
            let _ = sender.send(answer);
        });
        {
            let mut jobs = lock(&self.queue.jobs);
            // Dropped instead when nobody will run it: its answer is then that the store is closed.
            if !jobs.1 {
                jobs.0.push_back(job);
            }
        }
        self.queue.changed.notify_one();
        Box::pin(async move {
            receiver.await.unwrap_or_else(|_| {
                Err(StoreError::Poisoned { cause: String::from("it was closed") })
            })
        })
    }

    /// Ends the threads; reads that were not begun answer that the store is closed.
    pub(crate) fn stop(&self) {
        {
            let mut jobs = lock(&self.queue.jobs);
            jobs.1 = true;
            jobs.0.clear();
        }
        self.queue.changed.notify_all();
        for thread in lock(&self.threads).drain(..) {
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut jobs = lock(&self.jobs);
        loop {
            if jobs.1 {
                return None;
            }
            if let Some(job) = jobs.0.pop_front() {
                return Some(job);
            }
            jobs = self
                .changed
                .wait(jobs)
                .expect("no thread of the store panics while it holds a lock");
        }
    }
}
