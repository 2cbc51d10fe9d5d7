//! Tables: states with a value for each of many keys. The entries are rows of their own in the store:
//! reading one reads nothing of the others, so a table may be of any size. For in-process functions only.
//!
//! ```
//! use dormouse_sdk::{Context, FunctionError, Table, function};
//! use dormouse_sdk::table::Cursor;
//!
//! const STOCK: Table<String, i64> = Table::new("stock");
//!
//! async fn shelf(ctx: &mut Context, item: String) -> Result<(), FunctionError> {
//!     let mut stock = ctx.table(&STOCK);
//!     let count = stock.get(&item).await?.unwrap_or(0);
//!     stock.insert(&item, &(count + 1))?;
//!     let (mut all, mut cursor) = (0, Cursor::new());
//!     while let Some(page) = ctx.table(&STOCK).page(&mut cursor).await? {
//!         all += page.iter().map(|(_, count)| count).sum::<i64>();
//!     }
//!     ctx.reply(all)
//! }
//!
//! function! { "example/shelf", states: [STOCK], shelf }
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use dormouse_protocol::Expiration;
use dormouse_protocol::entries::PAGE_ROWS_MAX;

use crate::cells::StateError;
use crate::context::Context;
use crate::entries::{Asked, Rows};
use crate::key::{IntoKey, TableKey};
use crate::state::{StateDeclaration, StateKind, milliseconds};
use crate::state_name::{self, StateNameError};
use crate::value::ValueType;

/// Rows of a page, unless [`Cursor::with_rows`] says otherwise.
pub const PAGE_ROWS: usize = 256;

/// A handle of a table with keys of `K` and values of `V`.
pub struct Table<K, V> {
    name: &'static str,
    expiration: Expiration,
    is_late: bool,
    types: PhantomData<fn() -> (K, V)>,
}

/// A table in the hands of a function: see [`Context::table`].
#[derive(Debug)]
pub struct TableEntries<'c, K, V> {
    context: &'c mut Context,
    asked: Asked,
    types: PhantomData<fn() -> (K, V)>,
}

/// How far a function has gone through a table or buffer: the next page comes after what the last one
/// brought. It may be used across other reads and writes: entries behind it are found as they are then.
#[derive(Clone, Debug)]
pub struct Cursor {
    rows_max: usize,
    /// The lowest key that was not looked at, within the table; `None` at the end.
    pub(crate) next: Option<Bytes>,
}

impl<K: TableKey, V: ValueType> Table<K, V> {
    /// A table whose entries stay until they are removed.
    ///
    /// # Panics
    /// When the name is empty or longer than 255 bytes (at compile time, for a `const`).
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        assert!(!name.is_empty(), "a state needs a name");
        assert!(name.len() <= 255, "the name of a table has at most 255 bytes");
        Self { name, expiration: Expiration::Never, is_late: false, types: PhantomData }
    }

    /// A table whose name the function makes while it runs, as [`crate::State::named`] does.
    pub fn named(name: &str) -> Result<Self, StateNameError> {
        let name = state_name::keep(name)?;
        Ok(Self { name, expiration: Expiration::Never, is_late: true, types: PhantomData })
    }

    /// Each entry expires so long after it was last written.
    ///
    /// # Panics
    /// When it is less than a millisecond.
    #[must_use]
    pub const fn expire_after_write(self, after: Duration) -> Self {
        Self { expiration: Expiration::AfterWrite(milliseconds(after)), ..self }
    }

    /// Each entry expires so long after it was last read or written.
    ///
    /// # Panics
    /// When it is less than a millisecond.
    #[must_use]
    pub const fn expire_after_access(self, after: Duration) -> Self {
        Self { expiration: Expiration::AfterInvoke(milliseconds(after)), ..self }
    }

    /// The table's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What the runtime is told of it.
    #[must_use]
    pub const fn declaration(&self) -> StateDeclaration {
        let kind = StateKind::Table { key: K::TYPENAME };
        let Self { name, expiration, is_late, .. } = *self;
        StateDeclaration { name, typename: V::TYPENAME, expiration, kind, is_late }
    }

    pub(crate) fn open<'c>(&self, context: &'c mut Context) -> TableEntries<'c, K, V> {
        TableEntries { context, asked: Asked(self.declaration()), types: PhantomData }
    }
}

impl<K: TableKey, V: ValueType> TableEntries<'_, K, V> {
    /// The value of a key; `None` when it was never inserted, was removed or has expired.
    pub async fn get(&mut self, key: impl IntoKey<K>) -> Result<Option<V>, StateError> {
        let key = key.into_key();
        let value = self.context.entries.get(&self.asked, &key).await?;
        value.map(|value| self.asked.read(&key, &value)).transpose()
    }

    /// Gives a key a value.
    pub fn insert(&mut self, key: impl IntoKey<K>, value: &V) -> Result<(), StateError> {
        let key = key.into_key();
        let value = self.asked.write(&key, value)?;
        self.rows()?.put(&key, Some(value))
    }

    /// Takes a key and its value away. It need not be there.
    pub fn remove(&mut self, key: impl IntoKey<K>) -> Result<(), StateError> {
        self.rows()?.put(&key.into_key(), None)
    }

    /// Takes all entries away, however many there are: at once for the function, and step by step in the
    /// store.
    pub fn clear(&mut self) -> Result<(), StateError> {
        self.rows()?.clear();
        Ok(())
    }

    /// The next entries, at least one, in the order of their keys' bytes; `None` at the end.
    pub async fn page(&mut self, cursor: &mut Cursor) -> Result<Option<Vec<(K, V)>>, StateError> {
        let rows = self.context.entries.page(&self.asked, cursor).await?;
        let decoded = rows.into_iter().map(|(key, value)| {
            let name = K::decode_key(&key).map_err(|reason| self.asked.bad_key(&key, &*reason))?;
            Ok((name, self.asked.read(&key, &value)?))
        });
        let page = decoded.collect::<Result<Vec<_>, StateError>>()?;
        Ok((!page.is_empty()).then_some(page))
    }

    fn rows(&mut self) -> Result<&mut Rows, StateError> {
        self.context.entries.rows(&self.asked)
    }
}

impl Cursor {
    /// From the beginning.
    #[must_use]
    pub const fn new() -> Self {
        Self { rows_max: PAGE_ROWS, next: Some(Bytes::new()) }
    }

    /// The most rows of a page that the store is asked for: 1 to 1,024. (What the function itself has
    /// written in this batch comes on top.)
    #[must_use]
    pub fn with_rows(self, rows_max: usize) -> Self {
        Self { rows_max: rows_max.clamp(1, PAGE_ROWS_MAX), ..self }
    }

    pub(crate) fn rows_max(&self) -> usize {
        self.rows_max
    }
}

impl Default for Cursor {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Table<K, V> {}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("name", &self.name)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}
