//! Reads DER, the encoding of keys and certificates, as far as it is needed for those that the TLS
//! library does not take: one value after the other, nothing allocated, nothing trusted.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Der<'d>(pub(crate) &'d [u8]);

/// One value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'d> {
    pub(crate) tag: u8,
    pub(crate) content: &'d [u8],
    /// With tag and length.
    pub(crate) whole: &'d [u8],
}

impl<'d> Der<'d> {
    /// The next value, whatever it is.
    pub(crate) fn any(&mut self) -> Option<Value<'d>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // More than four bytes of length are longer than any file that is read here.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some(Value { tag, content, whole })
    }

    /// The next value, which must have this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<Value<'d>> {
        self.any().filter(|value| value.tag == tag)
    }

    /// The content of the next value, a sequence.
    pub(crate) fn sequence(&mut self) -> Option<Self> {
        self.take(SEQUENCE).map(|value| Self(value.content))
    }

    /// The bytes of the next value, a bit string of whole bytes.
    pub(crate) fn bits(&mut self) -> Option<&'d [u8]> {
        match self.take(BIT_STRING)?.content {
            [0, bytes @ ..] => Some(bytes),
            _ => None,
        }
    }

    /// The next value, a whole number that fits.
    pub(crate) fn number(&mut self) -> Option<u32> {
        let content = self.take(INTEGER)?.content;
        let digits = content.strip_prefix(&[0]).unwrap_or(content);
        if content.is_empty() || digits.len() > 4 {
            return None;
        }
        Some(digits.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_one_by_one() {
        let mut der =
            Der(&[0x30, 0x06, 0x02, 0x01, 0x05, 0x04, 0x81, 0x00, 0x02, 0x02, 0x00, 0xff]);
        let mut inner = der.sequence().unwrap();
        assert_eq!(inner.number(), Some(5));
        assert_eq!(inner.take(OCTET_STRING).unwrap().content, b"");
        assert_eq!(der.number(), Some(255));
        assert!(der.any().is_none());
    }

    #[test]
    fn what_is_cut_off_is_nothing() {
        for bytes in [&[0x30][..], &[0x30, 5, 1], &[0x30, 0x82, 1], &[0x30, 0x85, 1, 1, 1, 1, 1]] {
            assert!(Der(bytes).any().is_none(), "{bytes:?}");
        }
        assert!(Der(&[0x02, 0x05, 1, 2, 3, 4, 5]).number().is_none());
    }
}
