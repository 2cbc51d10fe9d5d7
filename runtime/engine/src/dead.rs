//! Dead letters: messages that were given up, kept in their target's partition until somebody replays
//! or discards them. Written by the commit that takes the message out of its mailbox; deleted by the one
//! that puts it back.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::partition::placement_hash;
use dormouse_protocol::{InvokeError, Message, Partition};

use crate::action::Action;
use crate::breakage::{Breakage, breaks};
use crate::codec::{DecodeError, Reader};
use crate::event::{Redeem, SubmitToken};
use crate::keys::{self, Key};
use crate::record::{get_dead, put_dead};
use crate::shard::Shard;

/// Longest cause that is kept, in bytes.
const CAUSE_BYTES_MAX: usize = 4 << 10;

/// A message that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// When its first and its last call were made, in milliseconds since 1970.
    pub first_ms: u64,
    pub died_ms: u64,
    /// Calls that failed since it was the first of its address.
    pub attempts: u32,
    /// Of the last failure.
    pub cause: String,
    pub message: Message,
}

/// The dead letters of a partition.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dead {
    pub(crate) count: u64,
    /// Of keys and values.
    pub(crate) bytes: u64,
    /// The commit that holds the last change that was asked for.
    pub(crate) commit: u64,
}

impl DeadLetter {
    /// Reads a row: the number of the letter in its partition, and the letter.
    pub fn read(key: &[u8], value: &[u8]) -> Result<(Partition, u64, Self), DecodeError> {
        let (partition, Key::Dead { arrival }) = keys::parse(key)? else {
            return Err(DecodeError { expected: "the key of a dead letter" });
        };
        Ok((partition, arrival, get_dead(&mut Reader::new(value))?))
    }
}

impl Shard {
    /// Dead letters of a partition; 0 for one that this shard does not own.
    #[must_use]
    pub fn dead_letters(&self, partition: Partition) -> u64 {
        let part = self.parts.get(usize::from(partition.0)).and_then(Option::as_deref);
        part.map_or(0, |part| part.dead.count)
    }

    /// The highest arrival number that a partition has given out; no dead letter has a higher one.
    #[must_use]
    pub fn arrival(&self, partition: Partition) -> u64 {
        let part = self.parts.get(usize::from(partition.0)).and_then(Option::as_deref);
        part.map_or(0, |part| part.arrival)
    }

    /// Writes the one message of the batch as a dead letter: its number, or why there is no room.
    pub(crate) fn bury(
        &mut self,
        slot: u32,
        error: &InvokeError,
        attempts: u32,
    ) -> Result<u64, String> {
        let activation = self.activations.get(slot);
        let partition = activation.partition;
        let entry = activation.batch.first().expect("one message is given up");
        let (number, message) = (entry.arrival, entry.message.clone());
        let first_ms = activation.tried_ms;
        let limits = &self.config.limits;
        let (count_max, bytes_max) = (limits.dead_letters_max, limits.dead_letter_bytes_max);
        let dead = self.part(partition).dead;
        if dead.count >= count_max || dead.bytes >= bytes_max {
            self.stats.burials_refused += 1;
            return Err(format!(
                "it stays, because there are {} dead letters of {} bytes in its partition, {partition} \
                 (bounds: {count_max}, {bytes_max}); replay or discard some",
                dead.count, dead.bytes
            ));
        }
        keys::dead(&mut self.key, partition, number);
        self.value.clear();
        let cause = shortened(&error.message);
        put_dead(&mut self.value, (first_ms, self.now_ms, attempts), cause, &message);
        let bytes = (self.key.len() + self.value.len()) as u64;
        if !breaks(Breakage::LoseDeadLetter) {
            self.put_scratch(partition);
        }
        self.stats.dead_letters += 1;
        let dead = &mut self.part(partition).dead;
        dead.count += 1;
        dead.bytes += bytes;
        self.put_tally(partition);
        Ok(number)
    }

    /// Takes dead letters out, and puts their messages back if they are replayed. The rows are as read
    /// after the last change was readable.
    pub(crate) fn redeem(
        &mut self,
        partition: Partition,
        rows: &[(Bytes, Bytes)],
        redeem: Redeem,
        token: SubmitToken,
    ) -> Result<(), DecodeError> {
        if self.parts[usize::from(partition.0)].is_none() {
            return Ok(());
        }
        let Dead { mut count, mut bytes, commit } = self.part(partition).dead;
        let visible = self.scope(partition).visible;
        assert!(
            commit <= visible,
            "partition {partition}: dead letters are changed as of commit {visible}, before the last change, \
             in commit {commit}"
        );
        let mut messages = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            let (of, _, letter) = DeadLetter::read(key, value)?;
            assert_eq!(of, partition, "the letters of one partition are changed at a time");
            let expected = "no more dead letters than the partition has";
            count = count.checked_sub(1).ok_or(DecodeError { expected })?;
            let row = (key.len() + value.len()) as u64;
            bytes = bytes.checked_sub(row).ok_or(DecodeError { expected })?;
            self.key.clear();
            self.key.extend_from_slice(key);
            if !breaks(Breakage::KeepReplayed) {
                self.delete(partition);
            }
            messages.push(letter.message);
        }
        self.stats.dead_letters -= rows.len() as u64;
        let commit = self.scope(partition).number;
        self.part(partition).dead = Dead { count, bytes, commit };
        self.put_tally(partition);
        self.scope(partition).release_when_durable(Action::Redeemed(token));
        if redeem == Redeem::Replay {
            for message in messages {
                let hash = placement_hash(&message.target);
                self.enqueue(partition, hash, Arc::new(message));
            }
        }
        Ok(())
    }

    fn put_tally(&mut self, partition: Partition) {
        let Dead { count, bytes, .. } = self.part(partition).dead;
        keys::dead_tally(&mut self.key, partition);
        self.put_numbers(partition, &[count, bytes]);
    }
}

/// The beginning of a cause, cut where a character ends.
fn shortened(cause: &str) -> &str {
    &cause[..cause.floor_char_boundary(CAUSE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cause_is_cut_between_characters() {
        let long = "ж".repeat(CAUSE_BYTES_MAX);
        assert_eq!(shortened(&long).len(), CAUSE_BYTES_MAX);
        let odd = format!("x{long}");
        assert_eq!(shortened(&odd).len(), CAUSE_BYTES_MAX - 1);
        assert_eq!(shortened("short"), "short");
    }
}
