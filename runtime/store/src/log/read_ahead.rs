//! Reads the next segment of the log on a second thread while a replay applies the one before, and syncs
//! what was read: after `kill -9` it may never have been. Two buffers go back and forth, so a replay
//! holds two segments in memory, however long the log is.

use std::fs::OpenOptions;
use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::StoreError;
use crate::log::chain::Found;

/// The segments of a replay, one of them being read.
#[derive(Debug)]
pub(crate) struct ReadAhead<'a> {
    pub(crate) segments: &'a [Found],
    wanted: Sender<(usize, Vec<u8>)>,
    done: Receiver<Result<Vec<u8>, StoreError>>,
    /// Which segment is being read.
    reading: Option<usize>,
    free: Vec<Vec<u8>>,
}

impl<'a> ReadAhead<'a> {
    /// Runs `replay` with a thread that reads for it, until it returns.
    pub(crate) fn within<T>(
        segments: &'a [Found],
        replay: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (wanted, orders) = channel::<(usize, Vec<u8>)>();
        let (answers, done) = channel();
        std::thread::scope(|scope| {
            let reader = move || {
                for (at, buffer) in orders {
                    if answer(&segments[at].path, buffer, &answers).is_none() {
                        return;
                    }
                }
            };
            std::thread::Builder::new()
                .name(String::from("store-replay"))
                .spawn_scoped(scope, reader)
                .map_err(|error| StoreError::io(&segments[0].path, error))?;
            replay(&mut Self { segments, wanted, done, reading: None, free: Vec::new() })
        })
    }

    /// The bytes of segment `at`; the one after it is read from now on. All that were taken before are
    /// synced.
    pub(crate) fn take(&mut self, at: usize) -> Result<Vec<u8>, StoreError> {
        // The one that was read ahead is not the one that the log goes on with.
        if self.reading.is_some_and(|reading| reading != at) {
            let unwanted = self.receive()?;
            self.give_back(unwanted);
        }
        if self.reading.is_none() {
            self.order(at);
        }
        let bytes = self.receive()?;
        if at + 1 < self.segments.len() {
            self.order(at + 1);
        }
        Ok(bytes)
    }

    /// Gives a buffer back for a later segment.
    pub(crate) fn give_back(&mut self, buffer: Vec<u8>) {
        self.free.push(buffer);
    }

    fn order(&mut self, at: usize) {
        self.reading = Some(at);
        // Whoever reads lives as long as this: if it does not, `receive` says so.
        let _ = self.wanted.send((at, self.free.pop().unwrap_or_default()));
    }

    fn receive(&mut self) -> Result<Vec<u8>, StoreError> {
        self.reading = None;
        self.done.recv().unwrap_or_else(|_| {
            Err(StoreError::Poisoned { cause: String::from("the thread that reads the log ended") })
        })
    }
}

/// Reads a file, hands it over, and syncs it; `None` after an error, and when nobody wants it.
fn answer(
    path: &Path,
    mut buffer: Vec<u8>,
    answers: &Sender<Result<Vec<u8>, StoreError>>,
) -> Option<()> {
    let refuse = |error| {
        let _ = answers.send(Err(StoreError::io(path, error)));
    };
    buffer.clear();
    // Open for writing, as syncing wants it on some systems.
    let read = OpenOptions::new().read(true).write(true).open(path).and_then(|mut file| {
        file.read_to_end(&mut buffer)?;
        Ok(file)
    });
    let file = read.map_err(refuse).ok()?;
    answers.send(Ok(buffer)).ok()?;
    file.sync_all().map_err(refuse).ok()
}
