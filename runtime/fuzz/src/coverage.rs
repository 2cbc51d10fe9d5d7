//! Which places of the program an input came by: counters that the compiler puts there when it is told
//! to (`cargo xtask fuzz` does; the flags are in `xtask/src/fuzz.rs`). Without them nothing is ever new.

#![allow(unsafe_code, reason = "the counters are memory that the compiler's code writes")]

use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

static START: AtomicPtr<AtomicU8> = AtomicPtr::new(std::ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// Called by each instrumented object when it is loaded; all of one program have the same range.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut AtomicU8, stop: *mut AtomicU8) {
    START.store(start, Relaxed);
    LENGTH.store((stop as usize).saturating_sub(start as usize), Relaxed);
}

fn counters() -> &'static [AtomicU8] {
    let start = START.load(Relaxed);
    if start.is_null() {
        return &[];
    }
    // SAFETY: the range is the program's section of counters, which lives as long as the program; only
    // the instrumented code writes there, single bytes, and `AtomicU8` has the layout of one.
    unsafe { std::slice::from_raw_parts(start, LENGTH.load(Relaxed)) }
}

/// The places that were ever covered, and how often in one run (rounded).
#[derive(Debug)]
pub struct Seen {
    buckets: Vec<u8>,
    /// Places covered so far.
    pub places: usize,
}

impl Seen {
    /// Nothing is covered yet.
    #[must_use]
    pub fn new() -> Self {
        for counter in counters() {
            counter.store(0, Relaxed);
        }
        Self { buckets: vec![0; counters().len()], places: 0 }
    }

    /// Takes over what was covered since the last call; whether any of it was new.
    pub fn note(&mut self) -> bool {
        // SAFETY: the same bytes, eight at a time: most of them are zero.
        let (front, words, back) = unsafe { counters().align_to::<AtomicU64>() };
        let rest = counters().len() - back.len();
        let mut is_new = self.take(0..front.len());
        for (number, word) in words.iter().enumerate() {
            if word.load(Relaxed) != 0 {
                let at = front.len() + number * 8;
                is_new |= self.take(at..at + 8);
            }
        }
        is_new | self.take(rest..counters().len())
    }

    fn take(&mut self, range: std::ops::Range<usize>) -> bool {
        let mut is_new = false;
        for (counter, seen) in counters()[range.clone()].iter().zip(&mut self.buckets[range]) {
            let count = counter.swap(0, Relaxed);
            let Some(highest) = count.checked_ilog2() else { continue };
            let bucket = 1_u8 << highest;
            if *seen & bucket == 0 {
                self.places += usize::from(*seen == 0);
                *seen |= bucket;
                is_new = true;
            }
        }
        is_new
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self::new()
    }
}
