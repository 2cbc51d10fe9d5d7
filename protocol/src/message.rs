//! A message on its way to one address.

use crate::{Address, TypedValue};

/// A value for `target`, with the address it comes from; an ingress message has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub target: Address,
    /// Where it comes from; none for a message from an ingress.
    pub caller: Option<Address>,
    /// What it says.
    pub value: TypedValue,
}

impl Message {
    /// Bytes this message holds in memory, for accounting: the struct and what it points to.
    #[must_use]
    #[inline]
    pub fn weight(&self) -> usize {
        let caller = self.caller.as_ref().map_or(0, |caller| caller.id.len());
        size_of::<Self>() + self.target.id.len() + caller + self.value.weight()
    }
}
