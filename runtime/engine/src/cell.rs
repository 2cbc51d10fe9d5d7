//! A cached state value of an instance that is awake. Short values lie in the cell itself: a counter
//! costs neither an allocation nor another look at memory.

use bytes::Bytes;

/// Longest value that lies in the cell, in bytes.
const SHORT_BYTES_MAX: usize = 30;

/// From this length on a value is not copied out of the row that was read, in bytes.
const SHARED_BYTES_MIN: usize = 64 << 10;

/// One cached state value, in the place of its spec.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    pub(crate) value: CellValue,
    /// Milliseconds since 1970; 0 = never.
    pub(crate) expires_at_ms: u64,
    pub(crate) is_dirty: bool,
}

/// The value of a cell; `None` where it is unset, deleted or expired.
#[derive(Debug, Default)]
pub(crate) enum CellValue {
    #[default]
    None,
    Short(u8, [u8; SHORT_BYTES_MAX]),
    Long(Bytes),
}

impl CellValue {
    /// A copy of `value`.
    pub(crate) fn copy_of(value: &[u8]) -> Self {
        Self::short(value).unwrap_or_else(|| Self::Long(Bytes::copy_from_slice(value)))
    }

    /// The same where `value` is a part of `row`. A long one shares the row's memory, of which it is nearly all.
    pub(crate) fn part_of(row: &Bytes, value: &[u8]) -> Self {
        if value.len() >= SHARED_BYTES_MIN {
            Self::Long(row.slice_ref(value))
        } else {
            Self::copy_of(value)
        }
    }

    fn short(value: &[u8]) -> Option<Self> {
        let mut bytes = [0; SHORT_BYTES_MAX];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(Self::Short(value.len() as u8, bytes))
    }

    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> Option<&[u8]> {
        match self {
            Self::None => None,
            Self::Short(len, bytes) => Some(&bytes[..usize::from(*len)]),
            Self::Long(bytes) => Some(bytes),
        }
    }

    /// Length of the value; 0 where there is none.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.as_slice().map_or(0, <[u8]>::len)
    }

    /// The value as an invocation gets it.
    #[inline]
    pub(crate) fn to_bytes(&self) -> Option<Bytes> {
        match self {
            Self::Long(bytes) => Some(bytes.clone()),
            short => short.as_slice().map(Bytes::copy_from_slice),
        }
    }
}

impl From<Option<Bytes>> for CellValue {
    fn from(value: Option<Bytes>) -> Self {
        let Some(value) = value else { return Self::None };
        Self::short(&value).unwrap_or(Self::Long(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_length_come_back_as_they_were() {
        assert_eq!(CellValue::from(None).to_bytes(), None);
        for len in [0, 1, 8, SHORT_BYTES_MAX, SHORT_BYTES_MAX + 1, 5_000, 100_000] {
            let value: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let row = Bytes::from([b"head", &value[..]].concat());
            let part = CellValue::part_of(&row, &row[4..]);
            for cell in
                [part, CellValue::copy_of(&value), CellValue::from(Some(value.clone().into()))]
            {
                assert_eq!(cell.as_slice(), Some(&value[..]));
                assert_eq!(cell.to_bytes().as_deref(), Some(&value[..]));
                assert_eq!((cell.len(), cell.is_some()), (len, true));
                assert_eq!(matches!(cell, CellValue::Short(..)), len <= SHORT_BYTES_MAX);
            }
        }
    }
}
