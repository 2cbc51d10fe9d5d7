//! Reads for the engine: all keys that a turn asks for in one batch; answered at once where the store
//! can, else by a task.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use dormouse_engine::{Event, GetFor, ScanFor, ScanRange};
use dormouse_store::{ReadFuture, Rows, StoreError};

use crate::driver::Driver;
use crate::driver::inbox::Local;

impl Driver {
    /// Starts the gets that have been collected, as one.
    pub(crate) fn start_gets(&mut self) -> Result<(), String> {
        if self.gets.is_empty() {
            return Ok(());
        }
        let mut purposes = Vec::with_capacity(self.gets.len());
        let mut all = Vec::new();
        for (purpose, keys) in self.gets.drain(..) {
            purposes.push((purpose, keys.len()));
            all.extend(keys);
        }
        let mut reading = self.store.get(all);
        match poll_once(&mut reading) {
            Poll::Ready(values) => return self.got(purposes, values),
            Poll::Pending => {
                self.pulse.store.reads.begin();
                let lane = self.lane.clone();
                tokio::task::spawn_local(async move {
                    let values = reading.await;
                    lane.push(Local::Got { purposes, values });
                });
            }
        }
        Ok(())
    }

    pub(crate) fn start_scan(&mut self, purpose: ScanFor, range: ScanRange) -> Result<(), String> {
        let ScanRange { from, to, rows_max, bytes_max } = range;
        let mut reading = self.store.scan(from, to, rows_max, bytes_max);
        match poll_once(&mut reading) {
            Poll::Ready(result) => return self.scanned(purpose, result),
            Poll::Pending => {
                self.pulse.store.reads.begin();
                let lane = self.lane.clone();
                tokio::task::spawn_local(async move {
                    let result = reading.await;
                    lane.push(Local::Scanned { purpose, result });
                });
            }
        }
        Ok(())
    }

    pub(crate) fn got(
        &mut self,
        purposes: Vec<(GetFor, usize)>,
        values: Result<Vec<Option<Bytes>>, StoreError>,
    ) -> Result<(), String> {
        let mut values = values.map_err(|error| error.to_string())?.into_iter();
        for (purpose, count) in purposes {
            let values = values.by_ref().take(count).collect();
            self.shard.handle(Event::Got { purpose, values });
        }
        Ok(())
    }

    pub(crate) fn scanned(
        &mut self,
        purpose: ScanFor,
        result: Result<(Rows, bool), StoreError>,
    ) -> Result<(), String> {
        let (rows, more) = result.map_err(|error| error.to_string())?;
        self.shard.handle(Event::Scanned { purpose, rows, more });
        Ok(())
    }
}

fn poll_once<T>(reading: &mut ReadFuture<T>) -> Poll<Result<T, StoreError>> {
    Pin::new(reading).poll(&mut Context::from_waker(Waker::noop()))
}
