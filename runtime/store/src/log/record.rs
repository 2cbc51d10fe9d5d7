//! A record of the log: a header of 32 bytes, the commit's partition metas and operations, padding to
//! 8 bytes. `docs/format.md` has it byte by byte. A header is valid only in the segment and epoch
//! that it was written for, so what a recycled file still holds never reads as new.

use crc32fast::Hasher;
use dormouse_engine::codec::{DecodeError, Reader, put_varint};
use dormouse_engine::{Fence, PartMeta};
use dormouse_protocol::Partition;

pub(crate) const HEADER_BYTES: usize = 32;
/// Records begin at multiples of this, so a search for the next one has few places to look at.
pub(crate) const ALIGNMENT: usize = 8;
/// Bytes of metas and operations of one commit at most.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 30;
/// Bytes of a [`PartMeta`] without its partition.
pub(crate) const META_BYTES: usize = 48;

const KIND_COMMIT: u8 = 1;
const KIND_MARK: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Commit,
    /// Says only how far the log was durable: written when the log goes idle.
    Mark,
}

/// The header of a record. `durable` is what was known to be durable when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) lsn: u64,
    pub(crate) durable: u64,
    pub(crate) body_bytes: u32,
    pub(crate) body_crc: u32,
    pub(crate) shard: u16,
    pub(crate) kind: Kind,
}

/// What the checksums of the headers of one segment begin with: its number and the log's epoch.
#[derive(Clone, Debug)]
pub(crate) struct Seed(Hasher);

impl Seed {
    pub(crate) fn new(segment: u64, epoch: u64) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(&segment.to_be_bytes());
        hasher.update(&epoch.to_be_bytes());
        Self(hasher)
    }

    fn checksum(&self, header: &[u8]) -> u32 {
        let mut hasher = self.0.clone();
        hasher.update(header);
        hasher.finalize()
    }
}

impl Header {
    /// Bytes of the whole record: header, body, padding.
    pub(crate) fn record_bytes(&self) -> usize {
        record_bytes(self.body_bytes as usize)
    }

    /// The header without durable position and checksum, which [`seal`] adds.
    pub(crate) fn unsealed(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[4..8].copy_from_slice(&self.body_bytes.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.lsn.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.body_crc.to_be_bytes());
        bytes[28..30].copy_from_slice(&self.shard.to_be_bytes());
        bytes[30] = match self.kind {
            Kind::Commit => KIND_COMMIT,
            Kind::Mark => KIND_MARK,
        };
        bytes
    }

    /// The header at the front of `bytes`, if it is one of this segment.
    pub(crate) fn read(bytes: &[u8], seed: &Seed) -> Option<Self> {
        let header = bytes.get(..HEADER_BYTES)?;
        let kind = match (header[30], header[31]) {
            (KIND_COMMIT, 0) => Kind::Commit,
            (KIND_MARK, 0) => Kind::Mark,
            _ => return None,
        };
        if seed.checksum(&header[4..]) != u32_at(header, 0) {
            return None;
        }
        Some(Self {
            lsn: u64_at(header, 8),
            durable: u64_at(header, 16),
            body_bytes: u32_at(header, 4),
            body_crc: u32_at(header, 24),
            shard: u16::from_be_bytes([header[28], header[29]]),
            kind,
        })
    }

    /// The body that follows the header at the front of `bytes`, if it is whole.
    pub(crate) fn body<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let end = HEADER_BYTES.checked_add(self.body_bytes as usize)?;
        let body = bytes.get(HEADER_BYTES..end)?;
        (crc32fast::hash(body) == self.body_crc).then_some(body)
    }
}

pub(crate) fn record_bytes(body_bytes: usize) -> usize {
    (HEADER_BYTES + body_bytes).next_multiple_of(ALIGNMENT)
}

/// Puts durable position and checksum into an unsealed header.
pub(crate) fn seal(header: &mut [u8], durable: u64, seed: &Seed) {
    header[16..24].copy_from_slice(&durable.to_be_bytes());
    let checksum = seed.checksum(&header[4..HEADER_BYTES]);
    header[..4].copy_from_slice(&checksum.to_be_bytes());
}

/// Bytes of the whole record that begins at the front of `bytes` with an unsealed header of ours.
pub(crate) fn unsealed_record(bytes: &[u8]) -> (usize, u64) {
    (record_bytes(u32_at(bytes, 4) as usize), u64_at(bytes, 8))
}

/// Overwrites `out` with the front of a body: how many metas, and the metas. Operations follow.
pub(crate) fn encode_metas(out: &mut Vec<u8>, metas: &[PartMeta]) {
    out.clear();
    put_varint(out, metas.len() as u64);
    for meta in metas {
        out.extend_from_slice(&meta.partition.0.to_be_bytes());
        out.extend_from_slice(&encode_meta(meta));
    }
}

/// Takes a body apart: its metas, and the bytes of its operations.
pub(crate) fn decode_body(body: &[u8]) -> Result<(Vec<PartMeta>, &[u8]), DecodeError> {
    let mut reader = Reader::new(body);
    let count = reader.varint("number of partitions")?;
    let mut metas = Vec::new();
    for _ in 0..count {
        let partition = Partition(reader.u16_be("partition")?);
        metas.push(decode_meta(partition, reader.take(META_BYTES, "partition meta")?)?);
    }
    Ok((metas, reader.rest()))
}

/// A meta without its partition, as in the log and as the value of its row.
pub(crate) fn encode_meta(meta: &PartMeta) -> [u8; META_BYTES] {
    let mut bytes = [0; META_BYTES];
    bytes[..8].copy_from_slice(&meta.fence.counter.to_be_bytes());
    bytes[8..24].copy_from_slice(&meta.fence.nonce.to_be_bytes());
    bytes[24..32].copy_from_slice(&meta.seq.to_be_bytes());
    bytes[32..40].copy_from_slice(&meta.time_ms.to_be_bytes());
    bytes[40..].copy_from_slice(&meta.arrival.to_be_bytes());
    bytes
}

pub(crate) fn decode_meta(partition: Partition, bytes: &[u8]) -> Result<PartMeta, DecodeError> {
    let mut reader = Reader::new(bytes);
    let counter = reader.u64_be("fence counter")?;
    let high = reader.u64_be("fence nonce")?;
    let low = reader.u64_be("fence nonce")?;
    Ok(PartMeta {
        partition,
        fence: Fence { counter, nonce: (u128::from(high) << 64) | u128::from(low) },
        seq: reader.u64_be("sequence number")?,
        time_ms: reader.u64_be("partition time")?,
        arrival: reader.u64_be("arrival number")?,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    (u64::from(u32_at(bytes, at)) << 32) | u64::from(u32_at(bytes, at + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seed: &Seed) -> Vec<u8> {
        let body = b"body";
        let header = Header {
            lsn: 7,
            durable: 0,
            body_bytes: body.len() as u32,
            body_crc: crc32fast::hash(body),
            shard: 3,
            kind: Kind::Commit,
        };
        let mut bytes = header.unsealed().to_vec();
        bytes.extend_from_slice(body);
        bytes.resize(header.record_bytes(), 0);
        seal(&mut bytes, 6, seed);
        bytes
    }

    #[test]
    fn the_bytes_of_a_record_never_change() {
        let hex: String =
            record(&Seed::new(1, 1)).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    // Computed by another implementation, from docs/format.md.
    const GOLDEN: &str =
        "fc4834f10000000400000000000000070000000000000006dba80bb200030100626f647900000000";

    #[test]
    fn a_record_is_read_only_in_its_own_segment_and_epoch() {
        let bytes = record(&Seed::new(5, 2));
        let header = Header::read(&bytes, &Seed::new(5, 2)).unwrap();
        assert_eq!((header.lsn, header.durable, header.shard), (7, 6, 3));
        assert_eq!(header.body(&bytes), Some(&b"body"[..]));
        assert_eq!(Header::read(&bytes, &Seed::new(5, 3)), None);
        assert_eq!(Header::read(&bytes, &Seed::new(6, 2)), None);
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let seed = Seed::new(1, 1);
        let bytes = record(&seed);
        for bit in 0..(HEADER_BYTES + 4) * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let body = Header::read(&changed, &seed).and_then(|header| {
                header.body(&changed)?;
                Some(())
            });
            assert_eq!(body, None, "bit {bit}");
        }
    }

    #[test]
    fn metas_come_back() {
        let meta = PartMeta {
            partition: Partition(513),
            fence: Fence { counter: 1, nonce: u128::MAX - 5 },
            seq: 2,
            time_ms: 3,
            arrival: u64::MAX,
        };
        let mut body = Vec::new();
        encode_metas(&mut body, &[meta, meta]);
        body.extend_from_slice(b"ops");
        assert_eq!(decode_body(&body), Ok((vec![meta, meta], &b"ops"[..])));
        assert!(decode_body(&body[..20]).is_err());
    }
}
