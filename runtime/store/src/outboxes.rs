//! Which outbox entries lie in the base, per channel. Trims are not logged (the receiver's mark says
//! the same), so this is how a checkpoint knows what to delete, and a scan that it need not look.
//! Kept in rows of the store's own, written in the same step as the entries themselves.

use dormouse_engine::codec::{DecodeError, Reader, put_varint};
use dormouse_engine::keys;
use dormouse_protocol::Partition;
use rustc_hash::FxHashMap;

use crate::base::OWN_SPACE;
use crate::merge::Ranges;
use crate::state::{Channel, channel_prefix, outbox_entry};

/// Numbers `first..=last` of a channel may have rows in the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// Spans of the channels that have entries in the base.
pub(crate) type Spans = FxHashMap<Channel, Span>;

/// Entries of a channel that the next checkpoint deletes from the base.
pub(crate) type Dead = (Channel, Span);

const KIND_SPAN: u8 = b'c';

/// What of the spans is trimmed, by `trimmed` (the highest number that a channel's receiver took).
pub(crate) fn dead(spans: &Spans, trimmed: impl Fn(Channel) -> u64) -> Vec<Dead> {
    let dead = spans.iter().filter_map(|(channel, span)| {
        let last = trimmed(*channel).min(span.last);
        let dead = Span { first: span.first, last };
        (last >= span.first).then_some((*channel, dead))
    });
    dead.collect()
}

/// The spans after a checkpoint that deletes `dead` and writes the rows with `keys`; only those that
/// change, `None` for a channel that has nothing left.
pub(crate) fn changed<'a>(
    spans: &Spans,
    dead: &[Dead],
    keys: impl Iterator<Item = &'a [u8]>,
) -> FxHashMap<Channel, Option<Span>> {
    let mut changed: FxHashMap<Channel, Option<Span>> = FxHashMap::default();
    for (channel, gone) in dead {
        let rest = spans.get(channel).and_then(|span| {
            (gone.last < span.last).then(|| Span { first: gone.last + 1, last: span.last })
        });
        changed.insert(*channel, rest);
    }
    for (channel, number) in keys.filter_map(outbox_entry) {
        let span = changed.entry(channel).or_insert_with(|| spans.get(&channel).copied());
        let written = Span { first: number, last: number };
        *span = Some(span.map_or(written, |span| Span {
            first: span.first.min(number),
            last: span.last.max(number),
        }));
    }
    changed
}

/// Whether the base may hold anything in `ranges`: false only for ranges within outbox channels.
pub(crate) fn may_hold(spans: &Spans, ranges: &Ranges) -> bool {
    ranges.iter().any(|(from, to)| {
        let Some(channel) = channel_of(from, to) else {
            return true;
        };
        let first = from
            .get(5..13)
            .and_then(|number| Some(u64::from_be_bytes(number.try_into().ok()?)))
            .unwrap_or(0);
        spans.get(&channel).is_some_and(|span| span.last >= first)
    })
}

/// The one channel within which a range lies.
fn channel_of(from: &[u8], to: &[u8]) -> Option<Channel> {
    let [keys::SPACE_OUTBOX, s0, s1, r0, r1, ..] = *from else {
        return None;
    };
    let channel = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([r0, r1]));
    let end = keys::prefix_end(&channel_prefix(channel))?;
    (to <= &end[..]).then_some(channel)
}

/// The key of the row that holds a channel's span.
pub(crate) fn span_key((sender, receiver): Channel) -> Vec<u8> {
    let (sender, receiver) = (sender.to_be_bytes(), receiver.to_be_bytes());
    vec![OWN_SPACE, KIND_SPAN, sender[0], sender[1], receiver[0], receiver[1]]
}

/// The range of all such keys.
pub(crate) fn span_keys() -> (Vec<u8>, Vec<u8>) {
    (vec![OWN_SPACE, KIND_SPAN], vec![OWN_SPACE, KIND_SPAN + 1])
}

pub(crate) fn encode_span(span: Span) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_varint(&mut bytes, span.first);
    put_varint(&mut bytes, span.last);
    bytes
}

pub(crate) fn decode_span(key: &[u8], value: &[u8]) -> Result<(Channel, Span), DecodeError> {
    let mut reader = Reader::new(key.get(2..).unwrap_or_default());
    let channel = (reader.u16_be("sender")?, reader.u16_be("receiver")?);
    let mut reader = Reader::new(value);
    let span = Span { first: reader.varint("first number")?, last: reader.varint("last number")? };
    Ok((channel, span))
}

/// The keys of dead entries.
pub(crate) fn dead_keys(dead: &[Dead]) -> impl Iterator<Item = Vec<u8>> {
    dead.iter().flat_map(|((sender, receiver), span)| {
        (span.first..=span.last).map(|number| {
            let mut key = Vec::with_capacity(13);
            keys::outbox(&mut key, Partition(*sender), Partition(*receiver), number);
            key
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: Channel = (1, 2);

    fn key(number: u64) -> Vec<u8> {
        let mut key = Vec::new();
        keys::outbox(&mut key, Partition(1), Partition(2), number);
        key
    }

    fn span(first: u64, last: u64) -> Span {
        Span { first, last }
    }

    #[test]
    fn a_span_follows_what_is_written_and_deleted() {
        let mut spans = Spans::default();
        let written = [key(4), key(5), key(6)];
        let after = changed(&spans, &[], written.iter().map(|key| &key[..]));
        assert_eq!(after[&CHANNEL], Some(span(4, 6)));
        spans.insert(CHANNEL, span(4, 6));
        assert_eq!(dead(&spans, |_| 3), []);
        assert_eq!(dead(&spans, |_| 5), [(CHANNEL, span(4, 5))]);
        let gone = dead(&spans, |_| 9);
        assert_eq!(gone, [(CHANNEL, span(4, 6))]);
        assert_eq!(changed(&spans, &gone, std::iter::empty())[&CHANNEL], None);
        let written = [key(10)];
        let after = changed(&spans, &gone, written.iter().map(|key| &key[..]));
        assert_eq!(after[&CHANNEL], Some(span(10, 10)));
        let part = dead(&spans, |_| 5);
        let after = changed(&spans, &part, written.iter().map(|key| &key[..]));
        assert_eq!(after[&CHANNEL], Some(span(6, 10)));
    }

    #[test]
    fn the_base_is_spared_scans_of_channels_that_it_does_not_hold() {
        let mut spans = Spans::default();
        spans.insert(CHANNEL, span(4, 6));
        let to = keys::prefix_end(&channel_prefix(CHANNEL)).unwrap();
        assert!(may_hold(&spans, &vec![(key(6), to.clone())]));
        assert!(!may_hold(&spans, &vec![(key(7), to.clone())]));
        assert!(!may_hold(&Spans::default(), &vec![(key(1), to)]));
        assert!(may_hold(&spans, &vec![(key(7), b"p".to_vec())]));
        assert!(!may_hold(&spans, &Vec::new()));
    }

    #[test]
    fn spans_come_back() {
        let coded = decode_span(&span_key((3, 515)), &encode_span(span(1, u64::MAX)));
        assert_eq!(coded, Ok(((3, 515), span(1, u64::MAX))));
    }
}
