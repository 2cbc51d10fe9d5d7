//! Buffers: states that are lists, made to be appended to. Appending reads nothing of what is there, and
//! the elements are rows of their own, so a buffer may be of any length. For in-process functions only.
//!
//! ```
//! use dormouse_sdk::{Buffer, Context, FunctionError, function};
//! use dormouse_sdk::table::Cursor;
//!
//! const LINES: Buffer<String> = Buffer::new("lines");
//!
//! async fn journal(ctx: &mut Context, line: String) -> Result<(), FunctionError> {
//!     if line != "flush" {
//!         return Ok(ctx.buffer(&LINES).append(&line)?);
//!     }
//!     let mut cursor = Cursor::new();
//!     while let Some(lines) = ctx.buffer(&LINES).page(&mut cursor).await? {
//!         ctx.reply(lines.join("\n"))?;
//!     }
//!     Ok(ctx.buffer(&LINES).clear()?)
//! }
//!
//! function! { "example/journal", states: [LINES], journal }
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use dormouse_protocol::Expiration;

use crate::cells::StateError;
use crate::context::Context;
use crate::entries::{Asked, Rows};
use crate::state::{StateDeclaration, StateKind, milliseconds};
use crate::state_name::{self, StateNameError};
use crate::table::Cursor;
use crate::value::ValueType;

/// A handle of a list of `T`.
pub struct Buffer<T> {
    name: &'static str,
    expiration: Expiration,
    is_late: bool,
    element: PhantomData<fn() -> T>,
}

/// A buffer in the hands of a function: see [`Context::buffer`].
#[derive(Debug)]
pub struct BufferElements<'c, T> {
    context: &'c mut Context,
    asked: Asked,
    element: PhantomData<fn() -> T>,
}

impl<T: ValueType> Buffer<T> {
    /// A buffer whose elements stay until it is cleared.
    ///
    /// # Panics
    /// When the name is empty or longer than 255 bytes (at compile time, for a `const`).
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        assert!(!name.is_empty(), "a state needs a name");
        assert!(name.len() <= 255, "the name of a buffer has at most 255 bytes");
        Self { name, expiration: Expiration::Never, is_late: false, element: PhantomData }
    }

    /// A buffer whose name the function makes while it runs, as [`crate::State::named`] does.
    pub fn named(name: &str) -> Result<Self, StateNameError> {
        let name = state_name::keep(name)?;
        Ok(Self { name, expiration: Expiration::Never, is_late: true, element: PhantomData })
    }

    /// Each element expires so long after it was appended.
    ///
    /// # Panics
    /// When it is less than a millisecond.
    #[must_use]
    pub const fn expire_after_write(self, after: Duration) -> Self {
        Self { expiration: Expiration::AfterWrite(milliseconds(after)), ..self }
    }

    /// Each element expires so long after it was appended or last read.
    ///
    /// # Panics
    /// When it is less than a millisecond.
    #[must_use]
    pub const fn expire_after_access(self, after: Duration) -> Self {
        Self { expiration: Expiration::AfterInvoke(milliseconds(after)), ..self }
    }

    /// The buffer's name.
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
            kind: StateKind::Buffer,
            is_late,
        }
    }

    pub(crate) fn open<'c>(&self, context: &'c mut Context) -> BufferElements<'c, T> {
        BufferElements { context, asked: Asked(self.declaration()), element: PhantomData }
    }
}

impl<T: ValueType> BufferElements<'_, T> {
    /// Adds an element at the end.
    pub fn append(&mut self, element: &T) -> Result<(), StateError> {
        let bytes = self.asked.write(b"(new)", element)?;
        self.rows()?.append(bytes)
    }

    /// Adds elements at the end, in order.
    pub fn append_all<'e>(
        &mut self,
        elements: impl IntoIterator<Item = &'e T>,
    ) -> Result<(), StateError> {
        elements.into_iter().try_for_each(|element| self.append(element))
    }

    /// Takes all elements away and adds these; without any it is [`BufferElements::clear`].
    pub fn replace_with<'e>(
        &mut self,
        elements: impl IntoIterator<Item = &'e T>,
    ) -> Result<(), StateError> {
        self.clear()?;
        self.append_all(elements)
    }

    /// Takes all elements away, however many there are: at once for the function, and step by step in
    /// the store.
    pub fn clear(&mut self) -> Result<(), StateError> {
        self.rows()?.clear();
        Ok(())
    }

    /// The next elements, at least one, in the order in which they were appended; `None` at the end.
    pub async fn page(&mut self, cursor: &mut Cursor) -> Result<Option<Vec<T>>, StateError> {
        let rows = self.context.entries.page(&self.asked, cursor).await?;
        let decoded = rows.iter().map(|(key, value)| self.asked.read(key, value));
        let page = decoded.collect::<Result<Vec<T>, StateError>>()?;
        Ok((!page.is_empty()).then_some(page))
    }

    fn rows(&mut self) -> Result<&mut Rows, StateError> {
        self.context.entries.rows(&self.asked)
    }
}

impl<T> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Buffer<T> {}

impl<T> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("name", &self.name)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}
