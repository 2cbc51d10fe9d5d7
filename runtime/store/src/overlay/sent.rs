//! The outbox entries of a layer: a queue for each channel. A channel's numbers grow by one, and entries
//! go from the front when their receiver has taken them: neither end is searched for.

use std::collections::VecDeque;

use dormouse_engine::keys;
use rustc_hash::FxHashMap;

use crate::overlay::{Cell, Newest, entry_bytes, overwrite};
use crate::state::{Channel, channel_prefix, outbox_entry};

/// Bytes of an entry's key: space, sender, receiver, number.
const KEY_BYTES: usize = 13;

pub(crate) type SentKey = [u8; KEY_BYTES];

#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// By channel, in the order of their keys.
    channels: FxHashMap<Channel, VecDeque<(SentKey, Cell)>>,
    len: usize,
}

/// The key as that of an outbox entry, and its channel.
pub(crate) fn sent_key(key: &[u8]) -> Option<(Channel, SentKey)> {
    let (channel, _) = outbox_entry(key)?;
    Some((channel, key.try_into().ok()?))
}

fn find(queue: &VecDeque<(SentKey, Cell)>, key: &SentKey) -> Result<usize, usize> {
    queue.binary_search_by(|(other, _)| other.cmp(key))
}

impl Sent {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, channel: Channel, key: &SentKey) -> Option<&Cell> {
        let queue = self.channels.get(&channel)?;
        Some(&queue[find(queue, key).ok()?].1)
    }

    /// Puts a value or, for `None`, a tombstone; the change in bytes.
    pub(crate) fn set(
        &mut self,
        channel: Channel,
        key: &SentKey,
        value: Option<&[u8]>,
        fresh: bool,
    ) -> isize {
        let queue = self.channels.entry(channel).or_default();
        let is_last = queue.back().is_none_or(|(last, _)| last < key);
        match if is_last { Err(queue.len()) } else { find(queue, key) } {
            Ok(at) => overwrite(&mut queue[at].1, value),
            Err(at) => {
                let cell = Cell { value: value.map(<[u8]>::to_vec), fresh };
                let bytes = entry_bytes(key, cell.value.as_ref()) as isize;
                queue.insert(at, (*key, cell));
                self.len += 1;
                bytes
            }
        }
    }

    /// Takes an entry out; its bytes.
    pub(crate) fn forget(&mut self, channel: Channel, key: &SentKey) -> Option<usize> {
        let queue = self.channels.get_mut(&channel)?;
        let at = find(queue, key).ok()?;
        let (key, cell) = queue.remove(at)?;
        self.len -= 1;
        Some(entry_bytes(&key, cell.value.as_ref()))
    }

    /// Takes out all entries of a channel up to a number; their bytes.
    pub(crate) fn trim(&mut self, channel: Channel, upto: u64) -> usize {
        let Some(queue) = self.channels.get_mut(&channel) else {
            return 0;
        };
        let is_gone = |(key, _): &mut (SentKey, Cell)| {
            outbox_entry(key).is_some_and(|(_, number)| number <= upto)
        };
        let mut bytes = 0;
        while let Some((key, cell)) = queue.pop_front_if(is_gone) {
            bytes += entry_bytes(&key, cell.value.as_ref());
            self.len -= 1;
        }
        bytes
    }

    /// Channels that have entries, in no order.
    pub(crate) fn channels(&self) -> impl Iterator<Item = Channel> {
        let held = self.channels.iter().filter(|(_, queue)| !queue.is_empty());
        held.map(|(channel, _)| *channel)
    }

    /// Entries, in no order of their channels.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Newest<'_>)> {
        self.channels.values().flatten().map(|(key, cell)| (&key[..], cell.value()))
    }

    /// Entries with `from <= key < to`, in order.
    pub(crate) fn range<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = (&'a [u8], Newest<'a>)> {
        let mut channels = Vec::new();
        let is_within = [keys::SPACE_OUTBOX + 1][..] > *from && [keys::SPACE_OUTBOX][..] < *to;
        if is_within && from < to {
            // Mostly a range lies in one channel.
            let one = sent_channel(from).filter(|channel| *to <= *end_of(*channel));
            match one {
                Some(channel) => channels.extend(self.channels.get(&channel).map(|q| (channel, q))),
                None => channels.extend(self.channels.iter().map(|(channel, q)| (*channel, q))),
            }
            channels.sort_unstable_by_key(|(channel, _)| *channel);
        }
        let slices: Vec<_> = channels
            .into_iter()
            .map(|(_, queue)| {
                let first = queue.partition_point(|(key, _)| key[..] < *from);
                let end = queue.partition_point(|(key, _)| key[..] < *to);
                queue.range(first..end.max(first))
            })
            .collect();
        slices.into_iter().flatten().map(|(key, cell)| (&key[..], cell.value()))
    }
}

/// The channel that a key begins with.
fn sent_channel(key: &[u8]) -> Option<Channel> {
    let [keys::SPACE_OUTBOX, s0, s1, r0, r1, ..] = *key else {
        return None;
    };
    Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([r0, r1])))
}

/// The smallest key above all keys of a channel.
fn end_of(channel: Channel) -> Vec<u8> {
    keys::prefix_end(&channel_prefix(channel)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use dormouse_protocol::Partition;

    use super::*;

    fn key(receiver: u16, number: u64) -> SentKey {
        let mut key = Vec::new();
        keys::outbox(&mut key, Partition(1), Partition(receiver), number);
        key.try_into().unwrap()
    }

    fn put(sent: &mut Sent, receiver: u16, number: u64) -> isize {
        sent.set((1, receiver), &key(receiver, number), Some(b"message"), true)
    }

    fn numbers(sent: &Sent, from: &[u8], to: &[u8]) -> Vec<(u16, u64)> {
        let rows = sent.range(from, to).map(|(key, _)| outbox_entry(key).unwrap());
        rows.map(|((_, receiver), number)| (receiver, number)).collect()
    }

    #[test]
    fn what_is_trimmed_or_forgotten_takes_its_bytes_along() {
        let mut sent = Sent::default();
        let bytes: isize = (1..=9).map(|number| put(&mut sent, 2, number)).sum();
        assert_eq!(sent.trim((1, 2), 0), 0);
        let gone = sent.trim((1, 2), 5) + sent.forget((1, 2), &key(2, 7)).unwrap();
        assert_eq!((gone as isize, sent.len()), (bytes / 9 * 6, 3));
        assert_eq!(sent.forget((1, 2), &key(2, 7)), None);
        assert!(sent.get((1, 2), &key(2, 5)).is_none() && sent.get((1, 2), &key(2, 6)).is_some());
        assert_eq!(sent.trim((1, 2), u64::MAX) as isize, bytes / 9 * 3);
        assert_eq!((sent.len(), sent.channels().count(), sent.trim((1, 3), 9)), (0, 0, 0));
    }

    #[test]
    fn entries_are_in_order_however_they_came() {
        let mut sent = Sent::default();
        for (receiver, number) in [(4, 1), (2, 5), (2, 3), (2, 4), (3, 300), (3, 2), (2, 3)] {
            put(&mut sent, receiver, number);
        }
        assert_eq!(sent.len(), 6);
        let all = [(2, 3), (2, 4), (2, 5), (3, 2), (3, 300), (4, 1)];
        assert_eq!(numbers(&sent, b"o", b"p"), all);
        assert_eq!(numbers(&sent, &key(2, 4), &key(3, 300)), all[1..4]);
        assert_eq!(numbers(&sent, &key(2, 4), &key(2, 5)), all[1..2]);
        assert_eq!(numbers(&sent, &key(2, 6), &end_of((1, 2))), []);
        assert_eq!(numbers(&sent, &key(3, 3), &key(3, 1)), []);
        for (from, to) in [("a", "o"), ("p", "z"), ("z", "a")] {
            assert_eq!(numbers(&sent, from.as_bytes(), to.as_bytes()), []);
        }
    }
}
