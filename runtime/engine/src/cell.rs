//! A cached state value of an instance that is awake. Short values lie in the cell itself: a counter
//! costs neither an allocation nor another look at memory.

use bytes::Bytes;

/// Longest value that lies in the cell, in bytes.
const SHORT_BYTES_MAX: usize = 30;

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
        for len in [0, 1, 8, SHORT_BYTES_MAX, SHORT_BYTES_MAX + 1, 5_000] {
            let value: Vec<u8> = (0..len).map(|n| n as u8).collect();
            for cell in [CellValue::copy_of(&value), CellValue::from(Some(value.clone().into()))] {
                assert_eq!(cell.as_slice(), Some(&value[..]));
                assert_eq!(cell.to_bytes().as_deref(), Some(&value[..]));
                assert_eq!((cell.len(), cell.is_some()), (len, true));
                assert_eq!(matches!(cell, CellValue::Short(..)), len <= SHORT_BYTES_MAX);
            }
        }
    }
}
