//! Value states: what a function remembers per address. A state is declared once, as a `const`, named
//! in [`crate::function!`], and read and written through [`crate::Context`]. States with many entries
//! are tables ([`crate::table`]) and buffers ([`crate::buffer`]).

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use compact_str::{CompactString, format_compact};
use dormouse_protocol::{Expiration, StateSpec};

use crate::state_name::{self, StateNameError};
use crate::value::ValueType;

/// A handle of a state that holds values of `T`.
///
/// ```
/// use std::time::Duration;
/// use dormouse_sdk::State;
///
/// const VISITS: State<i32> = State::new("visits");
/// const BASKET: State<String> =
///     State::new("basket").expire_after_write(Duration::from_secs(3_600));
/// ```
pub struct State<T> {
    name: &'static str,
    expiration: Expiration,
    is_late: bool,
    value: PhantomData<fn() -> T>,
}

/// A state as it is declared to the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateDeclaration {
    /// Unique within the function type.
    pub name: &'static str,
    /// Typename of the values.
    pub typename: &'static str,
    /// When a value or entry expires.
    pub expiration: Expiration,
    /// What it holds of this type.
    pub kind: StateKind,
    /// Named while the function runs: it need not be listed in [`crate::function!`].
    pub is_late: bool,
}

/// What a state holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// One value: a [`State`].
    Value,
    /// Values by keys: a [`crate::Table`].
    Table {
        /// The name of the keys' type.
        key: &'static str,
    },
    /// A list: a [`crate::Buffer`].
    Buffer,
}

impl<T: ValueType> State<T> {
    /// A state whose values stay until they are removed.
    ///
    /// # Panics
    /// When the name is empty (at compile time, for a `const`).
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        assert!(!name.is_empty(), "a state needs a name");
        Self { name, expiration: Expiration::Never, is_late: false, value: PhantomData }
    }

    /// A state whose name the function makes while it runs. It is not listed in [`crate::function!`]: the
    /// first use of a new name breaks the call off and makes the state one of the function type's, for
    /// all its instances; then the call is made again, from its beginning. In-process functions only.
    ///
    /// At most [`crate::state_name::STATE_NAMES_MAX`] names per process, of at most 255 bytes.
    pub fn named(name: &str) -> Result<Self, StateNameError> {
        let name = state_name::keep(name)?;
        Ok(Self { name, expiration: Expiration::Never, is_late: true, value: PhantomData })
    }

    /// Values expire so long after they were last written.
    ///
    /// # Panics
    /// When it is less than a millisecond.
    #[must_use]
    pub const fn expire_after_write(self, after: Duration) -> Self {
        Self { expiration: Expiration::AfterWrite(milliseconds(after)), ..self }
    }

    /// Values expire so long after the last invocation that could have read them.
    ///
    /// # Panics
    /// When it is less than a millisecond.
    #[must_use]
    pub const fn expire_after_invoke(self, after: Duration) -> Self {
        Self { expiration: Expiration::AfterInvoke(milliseconds(after)), ..self }
    }

    /// The state's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What the runtime is told of it.
    #[must_use]
    pub const fn declaration(&self) -> StateDeclaration {
        let Self { name, expiration, is_late, .. } = *self;
        StateDeclaration {
            name,
            typename: T::TYPENAME,
            expiration,
            kind: StateKind::Value,
            is_late,
        }
    }
}

pub(crate) const fn milliseconds(after: Duration) -> u64 {
    let milliseconds = after.as_millis();
    assert!(milliseconds > 0, "a state cannot expire at once");
    if milliseconds > u64::MAX as u128 {
        return u64::MAX;
    }
    milliseconds as u64
}

impl StateDeclaration {
    /// The declaration as the protocol has it.
    #[must_use]
    pub fn spec(&self) -> StateSpec {
        let typename = match self.kind {
            StateKind::Value => CompactString::const_new(self.typename),
            StateKind::Table { key } => format_compact!("table<{key}, {}>", self.typename),
            StateKind::Buffer => format_compact!("buffer<{}>", self.typename),
        };
        StateSpec {
            name: self.name.into(),
            typename,
            expiration: self.expiration,
            has_entries: self.kind != StateKind::Value,
        }
    }
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for State<T> {}

impl<T> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("name", &self.name)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_says_name_type_and_expiration() {
        const NEVER: State<i32> = State::new("a");
        const WRITE: State<String> = State::new("b").expire_after_write(Duration::from_secs(1));
        static INVOKE: State<bool> = State::new("c").expire_after_invoke(Duration::from_millis(5));
        let spec = |declaration: StateDeclaration| {
            let spec = declaration.spec();
            (spec.name, spec.typename, spec.expiration)
        };
        assert_eq!(
            spec(NEVER.declaration()),
            ("a".into(), "io.statefun.types/int".into(), Expiration::Never)
        );
        assert_eq!(spec(WRITE.declaration()).2, Expiration::AfterWrite(1_000));
        assert_eq!(spec(INVOKE.declaration()).2, Expiration::AfterInvoke(5));
    }
}
