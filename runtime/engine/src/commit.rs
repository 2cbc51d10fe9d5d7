//! The atomic batch that a shard hands to its store, in the form in which it is logged.

use bytes::Bytes;
use dormouse_protocol::Partition;

use crate::breakage::{Breakage, breaks};
use crate::codec::{Reader, put_bytes, put_varint};

/// Who may write a partition: compared for equality in each commit. The counter alone could come back,
/// where a store forgets that somebody took the partition; the nonce does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    pub counter: u64,
    pub nonce: u128,
}

impl Fence {
    /// Whether both were given to the same owner.
    #[must_use]
    pub fn is_same(self, other: Self) -> bool {
        let has_nonce = self.nonce == other.nonce || breaks(Breakage::IntegerFence);
        self.counter == other.counter && has_nonce
    }
}

/// What is to be said of a part of a commit. A store takes all parts, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is the next one.
    Apply,
    /// It was taken before: a repeat, whose answer was lost.
    Already,
    /// Another owner has taken the partition.
    Fenced,
    /// A commit before it is missing.
    Gap,
}

impl Admission {
    /// In words.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::Apply => "it is the next one",
            Self::Already => "it was taken before",
            Self::Fenced => "another owner has taken the partition",
            Self::Gap => "a commit before it is missing",
        }
    }
}

/// One atomic batch: all of it or nothing becomes durable.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// This shard's number for the commit, growing by one; names it in acknowledgements.
    pub number: u64,
    /// Each partition that the commit touches, once. Empty for a commit that only waits for what was
    /// appended before it (a reply of an invocation that wrote nothing).
    pub parts: Vec<PartMeta>,
    /// Puts and deletes; every key begins with its space and partition (see [`crate::keys`]).
    pub ops: OpBuffer,
    /// Outbox entries that their receivers have taken. A store whose one log holds both sides does
    /// not write these: the receiver's mark is the trim.
    pub trims: Vec<Trim>,
}

/// What a commit says of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartMeta {
    pub partition: Partition,
    pub fence: Fence,
    /// One more than the sequence number of the partition's commit before this one.
    pub seq: u64,
    /// The partition's own time in milliseconds since 1970; never falls.
    pub time_ms: u64,
    /// The highest arrival number given out.
    pub arrival: u64,
}

impl Commit {
    /// What every store asks before it takes a commit: whether it is to be taken (`false`: it was taken
    /// before), or the part for which all of it is refused. `stored` is who may write a partition and the
    /// number of its last commit; `None` where nobody has written yet.
    pub fn admit(
        &self,
        stored: impl Fn(Partition) -> Option<(Fence, u64)>,
    ) -> Result<bool, (PartMeta, Admission)> {
        for part in &self.parts {
            let Some((fence, seq)) = stored(part.partition) else { continue };
            match part.admit(fence, seq) {
                Admission::Apply => {}
                Admission::Already => return Ok(false),
                refused => return Err((*part, refused)),
            }
        }
        Ok(true)
    }
}

impl PartMeta {
    /// Judges this part by the partition's fence and the sequence number of its last commit.
    fn admit(&self, fence: Fence, stored_seq: u64) -> Admission {
        if !self.fence.is_same(fence) {
            return Admission::Fenced;
        }
        if breaks(Breakage::NoCommitNumber) {
            return Admission::Apply;
        }
        match self.seq {
            seq if seq <= stored_seq => Admission::Already,
            seq if seq == stored_seq + 1 => Admission::Apply,
            _ => Admission::Gap,
        }
    }
}

/// Outbox entries of channel `from` → `to` numbered at most `upto` are confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    pub from: Partition,
    pub to: Partition,
    pub upto: u64,
}

/// What a store knows of a partition when it is opened.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// `None` for a partition that never committed.
    pub meta: Option<PartMeta>,
    /// All rows of the partition's [`crate::keys::SPACE_META`] space, in key order.
    pub rows: Vec<(Bytes, Bytes)>,
}

/// One operation of a commit. Absolute: applying it twice is the same as once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    Put { key: &'a [u8], value: &'a [u8] },
    Delete { key: &'a [u8] },
}

const TAG_PUT: u8 = 1;
const TAG_DELETE: u8 = 2;

/// A value of this length makes no more room than it needs: doubled, the buffer could be the largest thing in
/// memory.
const LONG_BYTES: usize = 1 << 20;
/// Bytes of an operation beside key and value: the tag and two lengths, at most.
const HEAD_BYTES_MAX: usize = 21;

/// Operations, encoded one after the other: tag, key length and key, and for a put value length and
/// value (lengths are varints). This is also their form in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpBuffer {
    bytes: Vec<u8>,
    count: usize,
}

impl OpBuffer {
    /// Forgets all of them, and keeps their memory for the next ones unless that is more than so many bytes.
    #[must_use]
    pub fn emptied(mut self, kept_bytes_max: usize) -> Self {
        if self.bytes.capacity() > kept_bytes_max {
            return Self::default();
        }
        self.bytes.clear();
        Self { bytes: self.bytes, count: 0 }
    }

    #[inline]
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.put_joined(key, value, &[]);
    }

    /// Puts a value that is in two pieces.
    pub fn put_joined(&mut self, key: &[u8], head: &[u8], rest: &[u8]) {
        let length = head.len() + rest.len();
        if length >= LONG_BYTES {
            self.bytes.reserve_exact(key.len() + length + HEAD_BYTES_MAX);
        }
        self.bytes.push(TAG_PUT);
        put_bytes(&mut self.bytes, key);
        put_varint(&mut self.bytes, length as u64);
        self.bytes.extend_from_slice(head);
        self.bytes.extend_from_slice(rest);
        self.count += 1;
    }

    #[inline]
    pub fn delete(&mut self, key: &[u8]) {
        self.bytes.push(TAG_DELETE);
        put_bytes(&mut self.bytes, key);
        self.count += 1;
    }

    /// Number of operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The operations in order.
    pub fn iter(&self) -> OpIter<'_> {
        OpIter::new(&self.bytes)
    }
}

/// Iterates over encoded operations; stops for good at the first damaged one.
#[derive(Clone, Debug)]
pub struct OpIter<'a> {
    reader: Reader<'a>,
    damaged: bool,
}

impl<'a> OpIter<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { reader: Reader::new(bytes), damaged: false }
    }

    /// Whether iteration ended before the end of the bytes.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    #[inline]
    fn read(&mut self) -> Option<Op<'a>> {
        let tag = self.reader.u8("tag").ok()?;
        let key = self.reader.bytes("key").ok()?;
        match tag {
            TAG_PUT => Some(Op::Put { key, value: self.reader.bytes("value").ok()? }),
            TAG_DELETE => Some(Op::Delete { key }),
            _ => None,
        }
    }
}

impl<'a> Iterator for OpIter<'a> {
    type Item = Op<'a>;

    #[inline]
    fn next(&mut self) -> Option<Op<'a>> {
        if self.damaged || self.reader.is_empty() {
            return None;
        }
        let op = self.read();
        self.damaged = op.is_none();
        op
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_operations_is_used_again_up_to_a_bound() {
        let mut ops = OpBuffer::default();
        ops.put(b"key", &[7; 1_000]);
        ops.delete(b"other");
        let (memory, bytes) = (ops.as_bytes().as_ptr(), ops.bytes.capacity());
        let mut next = ops.emptied(bytes);
        assert!(next.is_empty() && next.iter().next().is_none());
        next.put(b"key", b"value");
        assert_eq!((next.as_bytes().as_ptr(), next.len()), (memory, 1));
        let last = next.emptied(bytes - 1);
        assert_eq!((last.bytes.capacity(), last.len()), (0, 0));
    }
}
