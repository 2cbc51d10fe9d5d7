//! Bytes of durable records: little primitives shared by keys, values and the log.

/// A record that cannot be read: where in it, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    pub expected: &'static str,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "damaged record: expected {}", self.expected)
    }
}

impl std::error::Error for DecodeError {}

/// Appends `value` as a LEB128 varint, at most 10 bytes.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the length of `bytes` as a varint, then the bytes.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads from the front of a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[must_use]
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub fn take(&mut self, len: usize, expected: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError { expected })?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub fn u8(&mut self, expected: &'static str) -> Result<u8, DecodeError> {
        Ok(self.take(1, expected)?[0])
    }

    pub fn u16_be(&mut self, expected: &'static str) -> Result<u16, DecodeError> {
        let bytes = self.take(2, expected)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub fn u64_be(&mut self, expected: &'static str) -> Result<u64, DecodeError> {
        let bytes = self.take(8, expected)?;
        Ok(bytes.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    #[inline]
    pub fn varint(&mut self, expected: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(expected)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError { expected })
    }

    #[inline]
    pub fn bytes(&mut self, expected: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.varint(expected)?;
        self.take(usize::try_from(len).map_err(|_| DecodeError { expected })?, expected)
    }

    pub fn str(&mut self, expected: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(expected)?).map_err(|_| DecodeError { expected })
    }
}
