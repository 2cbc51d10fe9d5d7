//! Entries that tables and buffers have given up as a whole: a row says so from the commit that gives
//! them up until the last of them is deleted. They go in bounded steps, one commit after the other,
//! when the driver has room for it ([`Shard::clean`]); a start goes on where the last life stopped.

use bytes::Bytes;
use dormouse_protocol::Partition;

use crate::action::{Action, ScanFor, ScanRange};
use crate::breakage::{Breakage, breaks};
use crate::codec::DecodeError;
use crate::keys;
use crate::scope::Awaiting;
use crate::shard::Shard;

/// Entries deleted in one step.
const CLEARED_ROWS_PER_STEP: usize = 256;

impl Shard {
    /// Takes one step, if there is something to delete. Called once a turn, when there is room.
    pub fn clean(&mut self) {
        let Some(partition) = self.cleanings.pop_front() else {
            return;
        };
        let commit = self.part(partition).cleaning.commit;
        let scope = self.scope(partition);
        if commit > scope.visible && !breaks(Breakage::CleanEarly) {
            scope.awaiting.push_back((commit, Awaiting::Cleared(partition)));
            return;
        }
        self.part(partition).cleaning.has_new = false;
        let from = keys::space_prefix(keys::SPACE_CLEARED, partition);
        let to = keys::prefix_end(&from).expect("keys begin with a space below 0xff");
        let bytes_max = self.config.limits.scan_bytes_max;
        let range = ScanRange { from, to, rows_max: 1, bytes_max };
        self.actions.push(Action::Scan { purpose: ScanFor::Cleared { partition }, range });
    }

    /// Whether [`Shard::clean`] has something to do.
    #[must_use]
    pub fn has_cleaning(&self) -> bool {
        !self.cleanings.is_empty()
    }

    /// Whether something that was given up is not deleted yet.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.parts.iter().flatten().all(|part| !part.cleaning.is_busy)
    }

    /// The open commit gives something up.
    pub(crate) fn note_cleared(&mut self, partition: Partition) {
        let commit = self.scope(partition).number;
        let cleaning = &mut self.part(partition).cleaning;
        cleaning.commit = commit;
        cleaning.has_new = true;
        self.look_for_cleared(partition);
    }

    /// Plans a step, unless one is planned or under way.
    pub(crate) fn look_for_cleared(&mut self, partition: Partition) {
        let cleaning = &mut self.part(partition).cleaning;
        if !std::mem::replace(&mut cleaning.is_busy, true) {
            self.cleanings.push_back(partition);
        }
    }

    pub(crate) fn cleared_found(
        &mut self,
        partition: Partition,
        rows: &[(Bytes, Bytes)],
    ) -> Result<(), DecodeError> {
        let Some((note, _)) = rows.first() else {
            let cleaning = &mut self.part(partition).cleaning;
            cleaning.is_busy = false;
            if cleaning.has_new {
                self.look_for_cleared(partition);
            }
            return Ok(());
        };
        // The keys of the entries differ from that of the note in the space alone.
        let mut from = note.to_vec();
        from[0] = keys::SPACE_ENTRY;
        let to = keys::prefix_end(&from).ok_or(DecodeError { expected: "a known space" })?;
        let rows_max = CLEARED_ROWS_PER_STEP.min(self.config.limits.scan_rows_max);
        let bytes_max = self.config.limits.scan_bytes_max;
        let range = ScanRange { from, to, rows_max, bytes_max };
        let purpose = ScanFor::ClearedEntries { partition, note: note.clone() };
        self.actions.push(Action::Scan { purpose, range });
        Ok(())
    }

    pub(crate) fn delete_cleared(
        &mut self,
        partition: Partition,
        note: &Bytes,
        rows: &[(Bytes, Bytes)],
        more: bool,
    ) {
        for (key, _) in rows {
            self.key.clear();
            self.key.extend_from_slice(key);
            self.delete(partition);
        }
        if !more {
            self.key.clear();
            self.key.extend_from_slice(note);
            self.delete(partition);
        }
        let commit = self.scope(partition).number;
        self.part(partition).cleaning.commit = commit;
        self.cleanings.push_back(partition);
    }
}
