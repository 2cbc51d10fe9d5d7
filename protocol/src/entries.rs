//! Entries of tables and buffers: rows of a state that are read one by one, while the function runs,
//! and changed when it has run. An [`EntryReader`] joins the two sides of a read: the function waits
//! for an answer, the runtime finds the question after it has polled the function.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;

/// Longest value of one entry, in bytes.
pub const ENTRY_VALUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Longest key of a row of the store, in bytes: id, function type, name of the state and key of the
/// entry share it.
pub const ROW_KEY_BYTES_MAX: usize = 65_535;

/// Most rows of one page.
pub const PAGE_ROWS_MAX: usize = 1_024;

/// What an invocation changes of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryEffects {
    /// Each key of a state at most once.
    pub changes: Vec<EntryChange>,
    /// Rows given up as a whole. They are deleted step by step, some time later.
    pub cleared: Vec<ClearedEntries>,
}

/// A change of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryChange {
    /// Index into the specs of the invocation.
    pub spec: u16,
    /// The entry's key within its state.
    pub key: Bytes,
    /// The new value; `None` deletes.
    pub value: Option<Bytes>,
}

/// All entries of a state whose keys begin with `prefix`. None of these keys is ever used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearedEntries {
    /// Index into the specs of the invocation.
    pub spec: u16,
    /// What the keys begin with.
    pub prefix: Bytes,
}

/// What a function wants to know of the entries of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRead {
    /// Index into the specs of the invocation.
    pub spec: u16,
    /// Which entries.
    pub which: Which,
}

/// The entries of one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one with this key.
    One(Bytes),
    /// Those with `from <= key < to`, in order, at most `rows_max` of them.
    Page {
        /// The lowest key.
        from: Bytes,
        /// The key behind the highest.
        to: Bytes,
        /// At least 1.
        rows_max: usize,
    },
}

/// Entries that were found and have not expired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryPage {
    /// Keys and values, in the order of the keys.
    pub rows: Vec<(Bytes, Bytes)>,
    /// From where to read on; `None` when that was all.
    pub next: Option<Bytes>,
}

/// How a running function reads entries: one read at a time. Clones are the same reader.
#[derive(Clone, Debug, Default)]
pub struct EntryReader(Arc<Mutex<Slot>>);

#[derive(Debug, Default)]
struct Slot {
    step: Step,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
enum Step {
    #[default]
    Idle,
    Asked(EntryRead),
    Reading,
    Answered(EntryPage),
}

impl EntryReader {
    /// Asks and waits for the answer. An earlier read that nobody waits for any more is waited for
    /// first, so that there is never more than one under way.
    pub async fn read(&self, read: EntryRead) -> EntryPage {
        let mut unasked = Some(read);
        poll_fn(move |cx| {
            let mut slot = self.lock();
            slot.step = match (std::mem::take(&mut slot.step), unasked.take()) {
                (Step::Reading, read) => {
                    unasked = read;
                    Step::Reading
                }
                (Step::Answered(page), None) => return Poll::Ready(page),
                (_, Some(read)) => Step::Asked(read),
                (step, None) => step,
            };
            slot.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// What the function has asked since the last call; to be answered.
    #[must_use]
    pub fn take(&self) -> Option<EntryRead> {
        let mut slot = self.lock();
        match std::mem::take(&mut slot.step) {
            Step::Asked(read) => {
                slot.step = Step::Reading;
                Some(read)
            }
            step => {
                slot.step = step;
                None
            }
        }
    }

    /// Answers what was taken, and wakes the function.
    pub fn answer(&self, page: EntryPage) {
        let waker = {
            let mut slot = self.lock();
            slot.step = Step::Answered(page);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    fn one(key: &'static str) -> EntryRead {
        EntryRead { spec: 0, which: Which::One(Bytes::from_static(key.as_bytes())) }
    }

    fn page(value: &'static str) -> EntryPage {
        let rows = vec![(Bytes::new(), Bytes::from_static(value.as_bytes()))];
        EntryPage { rows, next: None }
    }

    #[test]
    fn a_read_waits_for_its_answer() {
        let reader = EntryReader::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut read = pin!(reader.read(one("a")));
        assert_eq!(reader.take(), None);
        assert!(read.as_mut().poll(&mut cx).is_pending());
        assert_eq!(reader.take(), Some(one("a")));
        assert_eq!(reader.take(), None);
        assert!(read.as_mut().poll(&mut cx).is_pending());
        reader.answer(page("1"));
        assert_eq!(read.as_mut().poll(&mut cx), Poll::Ready(page("1")));
    }

    #[test]
    fn the_answer_to_a_read_that_was_given_up_is_not_taken_for_the_next_one() {
        let reader = EntryReader::default();
        let mut cx = Context::from_waker(Waker::noop());
        {
            let mut given_up = pin!(reader.read(one("a")));
            assert!(given_up.as_mut().poll(&mut cx).is_pending());
            assert_eq!(reader.take(), Some(one("a")));
        }
        let mut read = pin!(reader.read(one("b")));
        assert!(read.as_mut().poll(&mut cx).is_pending());
        assert_eq!(reader.take(), None, "one read at a time");
        reader.answer(page("of a"));
        assert!(read.as_mut().poll(&mut cx).is_pending());
        assert_eq!(reader.take(), Some(one("b")));
        reader.answer(page("of b"));
        assert_eq!(read.as_mut().poll(&mut cx), Poll::Ready(page("of b")));
    }
}
