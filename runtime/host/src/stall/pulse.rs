//! What a shard's thread counts as it goes, for others to see that it goes on, and at what. Relaxed
//! stores of one writer: a reader that finds a count unchanged for long finds the rest unchanged too.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use compact_str::CompactString;
use dormouse_protocol::{Address, FunctionType};

/// Bytes of an address's id that are noted.
const ID_WORDS: usize = 8;
const WORD: usize = size_of::<u64>();

/// Counts of one shard.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Turns taken and functions polled.
    beats: AtomicU64,
    /// The index of the function type that runs on the thread, and one; 0: none does.
    function: AtomicU64,
    id_len: AtomicU64,
    id: [AtomicU64; ID_WORDS],
    pub(crate) store: StorePulse,
    /// The thread has come to its end.
    has_ended: AtomicBool,
    /// The call that has waited longest, of the function type that was asked for last.
    pub(crate) longest: Mutex<Option<LongestCall>>,
}

/// Of what was asked of the store.
#[derive(Debug, Default)]
pub(crate) struct StorePulse {
    /// Commits handed over, and those that are durable.
    pub(crate) commits: Progress,
    pub(crate) reads: Progress,
}

/// Things begun and ended, both growing. One writer.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A call under way.
#[derive(Clone, Debug)]
pub(crate) struct LongestCall {
    pub(crate) function_type: FunctionType,
    pub(crate) id: CompactString,
}

impl Pulse {
    /// A turn began.
    pub(crate) fn turn(&self) {
        self.beats.store(self.beats.load(Relaxed) + 1, Relaxed);
    }

    /// The function of this address runs on the thread from here on.
    pub(crate) fn enter(&self, address: &Address) {
        self.enter_id(address.function_type, address.id.as_bytes());
    }

    pub(crate) fn enter_id(&self, function_type: FunctionType, id: &[u8]) {
        for (word, bytes) in self.id.iter().zip(id.chunks(WORD)) {
            let mut padded = [0; WORD];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(padded), Relaxed);
        }
        self.id_len.store(id.len() as u64, Relaxed);
        self.function.store(function_type.index() as u64 + 1, Relaxed);
        self.beats.store(self.beats.load(Relaxed) + 1, Relaxed);
    }

    /// The function has given the thread back.
    pub(crate) fn leave(&self) {
        self.function.store(0, Relaxed);
    }

    pub(crate) fn end(&self) {
        self.has_ended.store(true, Relaxed);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Relaxed)
    }

    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Relaxed)
    }

    /// The index of the function type that runs on the thread.
    pub(crate) fn function_index(&self) -> Option<usize> {
        self.function.load(Relaxed).checked_sub(1).map(|index| index as usize)
    }

    /// The id that was entered last, as far as it was noted.
    pub(crate) fn id(&self) -> CompactString {
        let len = self.id_len.load(Relaxed) as usize;
        let mut bytes = [0; ID_WORDS * WORD];
        for (bytes, word) in bytes.chunks_exact_mut(WORD).zip(&self.id) {
            bytes.copy_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        let mut id = CompactString::from_utf8_lossy(&bytes[..len.min(bytes.len())]);
        if len > ID_WORDS * WORD {
            id.push('…');
        }
        id
    }
}

impl Progress {
    pub(crate) fn begin(&self) {
        self.begun.store(self.begun.load(Relaxed) + 1, Relaxed);
    }

    pub(crate) fn end(&self, count: usize) {
        self.ended.store(self.ended.load(Relaxed) + count as u64, Relaxed);
    }

    /// How many are under way.
    pub(crate) fn open(&self) -> u64 {
        let ended = self.ended.load(Relaxed);
        self.begun.load(Relaxed).saturating_sub(ended)
    }

    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_seen_with_as_much_of_its_id_as_fits() {
        let pulse = Pulse::default();
        assert_eq!(pulse.function_index(), None);
        let function_type = FunctionType::new("test", "pulse");
        for id in ["", "a", "exactly8", "more than eight", "ein längerer Name"] {
            pulse.enter(&Address::new(function_type, id));
            assert_eq!(pulse.id(), id);
        }
        assert_eq!(pulse.function_index(), Some(function_type.index()));
        pulse.enter(&Address::new(function_type, "x".repeat(100)));
        assert_eq!(pulse.id(), format!("{}…", "x".repeat(64)));
        pulse.leave();
        assert_eq!(pulse.function_index(), None);
        assert_eq!(pulse.beats(), 6);
    }
}
