//! The tables and buffers of one batch: what the function has written is kept here until the batch
//! ends, and is laid over what it reads from the store.
//!
//! The rows of a state begin with its *generation*. Clearing gives up a generation and begins the next:
//! nothing needs to be read for it. The state's head says which generation is the present one, and
//! which number a buffer's next element has; without a head there are no rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use dormouse_protocol::entries::{ENTRY_VALUE_BYTES_MAX, ROW_KEY_BYTES_MAX};
use dormouse_protocol::{
    ClearedEntries, Effects, EntryChange, EntryEffects, EntryPage, EntryRead, EntryReader,
    Invocation, StateMutation, StateMutations, StateSpec, StateValues, Which,
};
use prost::encoding::{decode_varint, encode_varint};

use crate::cells::{StateError, unreadable};
use crate::state::StateDeclaration;
use crate::table::Cursor;
use crate::value::{ValueType, encode};

/// Bytes of a row's key beside id, type, name and entry key, at most: space, partition, three lengths,
/// generation.
const ROW_KEY_BYTES_FIXED: usize = 1 + 2 + 3 * 2 + 10;

/// Bytes of a key that an error shows.
const KEY_SHOWN_MAX: usize = 60;

/// The tables and buffers of a batch.
#[derive(Debug)]
pub(crate) struct Entries {
    /// `None` for a function that has none, or does not run in-process.
    open: Option<Box<Open>>,
    /// Those that were named while the function ran and that it was not given.
    pub(crate) wanted: Vec<StateSpec>,
}

#[derive(Debug)]
struct Open {
    specs: Arc<[StateSpec]>,
    stored: StateValues,
    reader: EntryReader,
    /// Bytes that name and entry key may have together.
    key_bytes_left: usize,
    touched: Vec<Rows>,
}

/// The state that a handle stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked(pub(crate) StateDeclaration);

/// The rows of one state.
#[derive(Debug)]
pub(crate) struct Rows {
    spec: u16,
    asked: Asked,
    key_bytes_max: usize,
    stored_head: Option<Head>,
    head: Head,
    /// There may be rows of the present generation in the store.
    is_stored: bool,
    /// By key, without the generation; `None` is a removal.
    writes: BTreeMap<Bytes, Option<Bytes>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Head {
    generation: u64,
    /// Of a buffer: the next element's number.
    next: u64,
}

impl Entries {
    pub(crate) fn new(invocation: &Invocation) -> Self {
        let open = invocation.entries.clone().map(|reader| {
            let address = &invocation.target;
            let type_bytes = address.function_type.as_str().len();
            let taken = ROW_KEY_BYTES_FIXED + address.id.len() + type_bytes;
            Box::new(Open {
                specs: Arc::clone(&invocation.specs),
                stored: invocation.state.clone(),
                reader,
                key_bytes_left: ROW_KEY_BYTES_MAX.saturating_sub(taken),
                touched: Vec::new(),
            })
        });
        Self { open, wanted: Vec::new() }
    }

    /// The rows of a state.
    pub(crate) fn rows(&mut self, asked: &Asked) -> Result<&mut Rows, StateError> {
        let name = asked.0.name;
        let is_given = || self.open.as_ref().is_some_and(|open| open.is_given(name));
        if asked.0.is_late && !is_given() {
            self.wanted.push(asked.0.spec());
            return Err(StateError::New(name));
        }
        let open = self.open.as_mut().ok_or(StateError::NoEntries(name))?;
        open.rows(asked)
    }

    /// The value of one entry.
    pub(crate) async fn get(
        &mut self,
        asked: &Asked,
        key: &Bytes,
    ) -> Result<Option<Bytes>, StateError> {
        let rows = self.rows(asked)?;
        rows.check_key(key)?;
        if let Some(written) = rows.writes.get(key) {
            return Ok(written.clone());
        }
        if !rows.is_stored {
            return Ok(None);
        }
        let read = EntryRead { spec: rows.spec, which: Which::One(rows.head.row(key)) };
        let page = self.read(read).await;
        Ok(page.rows.into_iter().next().map(|(_, value)| value))
    }

    /// The next entries, in order, at least one; none at the end.
    pub(crate) async fn page(
        &mut self,
        asked: &Asked,
        cursor: &mut Cursor,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        while let Some(from) = cursor.next.clone() {
            let rows = self.rows(asked)?;
            let (spec, head, is_stored) = (rows.spec, rows.head, rows.is_stored);
            let mut found = EntryPage::default();
            if is_stored {
                let (from, to) = (head.row(&from), head.end());
                let which = Which::Page { from, to, rows_max: cursor.rows_max() };
                found = self.read(EntryRead { spec, which }).await;
            }
            let skipped = head.prefix().len();
            let next = found.next.map(|next| next.slice(skipped.min(next.len())..));
            let stored = found.rows.into_iter();
            let stored = stored.map(|(key, value)| (key.slice(skipped.min(key.len())..), value));
            let page = self.rows(asked)?.lay_over(stored.collect(), &from, next.as_ref());
            cursor.next = next;
            if !page.is_empty() {
                return Ok(page.into_iter().collect());
            }
        }
        Ok(Vec::new())
    }

    /// Adds what the batch has changed to its effects.
    pub(crate) fn seal(&mut self, effects: &mut Effects) {
        let Some(open) = &mut self.open else {
            return;
        };
        let mut changed = EntryEffects::default();
        for rows in open.touched.drain(..) {
            rows.seal(&mut effects.state, &mut changed);
        }
        if changed != EntryEffects::default() {
            effects.entries = Some(Box::new(changed));
        }
    }

    async fn read(&self, read: EntryRead) -> EntryPage {
        match &self.open {
            Some(open) => open.reader.read(read).await,
            None => EntryPage::default(),
        }
    }
}

impl Open {
    fn is_given(&self, name: &str) -> bool {
        self.specs.iter().any(|spec| spec.name == name)
    }

    fn rows(&mut self, asked: &Asked) -> Result<&mut Rows, StateError> {
        let name = asked.0.name;
        let known = self.touched.iter().position(|rows| rows.asked.0.name == name);
        let at = match known {
            Some(at) => at,
            None => {
                let rows = self.open(asked)?;
                self.touched.push(rows);
                self.touched.len() - 1
            }
        };
        let rows = &mut self.touched[at];
        if (StateDeclaration { is_late: rows.asked.0.is_late, ..asked.0 }) != rows.asked.0 {
            return Err(asked.other_type(&rows.asked.0.spec()));
        }
        Ok(rows)
    }

    fn open(&self, asked: &Asked) -> Result<Rows, StateError> {
        let name = asked.0.name;
        let mut all = self.specs.iter().zip(0_u16..);
        let found = all.find(|(spec, _)| spec.name == name);
        let (spec, index) = found.ok_or(StateError::Undeclared(name))?;
        let expected = asked.0.spec();
        if spec.typename != expected.typename || !spec.has_entries {
            return Err(asked.other_type(spec));
        }
        let stored = self.stored.get(usize::from(index)).and_then(Option::as_ref);
        let stored_head = stored.map(|bytes| Head::decode(bytes, name)).transpose()?;
        Ok(Rows {
            spec: index,
            asked: *asked,
            key_bytes_max: self.key_bytes_left.saturating_sub(name.len()),
            stored_head,
            head: stored_head.unwrap_or_default(),
            is_stored: stored_head.is_some(),
            writes: BTreeMap::new(),
        })
    }
}

impl Rows {
    /// Writes an entry, or removes it.
    pub(crate) fn put(&mut self, key: &Bytes, value: Option<Bytes>) -> Result<(), StateError> {
        self.check_key(key)?;
        let bytes = value.as_ref().map_or(0, Bytes::len);
        if bytes > ENTRY_VALUE_BYTES_MAX {
            let (state, key) = (self.asked.0.name, shown(key));
            return Err(StateError::EntryValue { state, key, bytes, max: ENTRY_VALUE_BYTES_MAX });
        }
        if value.is_none() && !self.is_stored {
            self.writes.remove(key);
        } else {
            self.writes.insert(key.clone(), value);
        }
        Ok(())
    }

    /// Writes an entry behind all others.
    pub(crate) fn append(&mut self, value: Bytes) -> Result<(), StateError> {
        let key = Bytes::copy_from_slice(&self.head.next.to_be_bytes());
        self.put(&key, Some(value))?;
        self.head.next += 1;
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.writes.clear();
        self.head.next = 0;
        if std::mem::take(&mut self.is_stored) {
            self.head.generation += 1;
        }
    }

    fn check_key(&self, key: &Bytes) -> Result<(), StateError> {
        if key.len() <= self.key_bytes_max {
            return Ok(());
        }
        let (state, max) = (self.asked.0.name, self.key_bytes_max);
        Err(StateError::EntryKey { state, key: shown(key), bytes: key.len(), max })
    }

    /// The stored rows and those written, with `from <= key`, and `key < to` unless it is the end.
    fn lay_over(
        &self,
        stored: BTreeMap<Bytes, Bytes>,
        from: &Bytes,
        to: Option<&Bytes>,
    ) -> BTreeMap<Bytes, Bytes> {
        let mut rows = stored;
        let written = self.writes.range(from.clone()..);
        for (key, value) in written.take_while(|(key, _)| to.is_none_or(|to| *key < to)) {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        rows
    }

    fn seal(self, state: &mut StateMutations, changed: &mut EntryEffects) {
        let spec = self.spec;
        let given_up = self.stored_head.filter(|head| head.generation != self.head.generation);
        if let Some(head) = given_up {
            changed.cleared.push(ClearedEntries { spec, prefix: head.prefix() });
        }
        let is_new = self.stored_head.is_none() && !self.writes.is_empty();
        if is_new || self.stored_head.is_some_and(|head| head != self.head) {
            state.push(StateMutation { spec, value: Some(self.head.encode()) });
        }
        let head = self.head;
        let changes = self.writes.into_iter();
        let changes = changes.map(|(key, value)| EntryChange { spec, key: head.row(&key), value });
        changed.changes.extend(changes);
    }
}

impl Head {
    fn encode(self) -> Bytes {
        let mut bytes = BytesMut::new();
        encode_varint(self.generation, &mut bytes);
        encode_varint(self.next, &mut bytes);
        bytes.freeze()
    }

    fn decode(bytes: &Bytes, state: &'static str) -> Result<Self, StateError> {
        let mut rest = bytes.clone();
        let generation = decode_varint(&mut rest);
        let next = decode_varint(&mut rest);
        match (generation, next, rest.has_remaining()) {
            (Ok(generation), Ok(next), false) => Ok(Self { generation, next }),
            _ => {
                let reason = "how its entries are kept cannot be read: two numbers are expected";
                Err(StateError::Value { state, reason: reason.to_owned() })
            }
        }
    }

    /// What the rows' keys begin with: no prefix begins with another.
    fn prefix(self) -> Bytes {
        self.row(&[])
    }

    fn row(self, key: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(2 + key.len());
        encode_varint(self.generation, &mut bytes);
        bytes.extend_from_slice(key);
        bytes.freeze()
    }

    /// The lowest key behind all rows. The last byte of a varint is below 0x80.
    fn end(self) -> Bytes {
        let mut end = BytesMut::from(&self.prefix()[..]);
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        end.freeze()
    }
}

impl Asked {
    /// The value of an entry.
    pub(crate) fn read<T: ValueType>(&self, key: &[u8], value: &Bytes) -> Result<T, StateError> {
        T::decode(value).map_err(|source| {
            let reason = unreadable::<T>(&source);
            StateError::Entry { state: self.0.name, key: shown(key), reason }
        })
    }

    /// The bytes of an entry.
    pub(crate) fn write<T: ValueType>(&self, key: &[u8], value: &T) -> Result<Bytes, StateError> {
        encode(value).map_err(|error| {
            let reason = crate::FunctionError::from(error).to_string();
            StateError::Entry { state: self.0.name, key: shown(key), reason }
        })
    }

    /// An entry whose key cannot be read.
    pub(crate) fn bad_key(&self, key: &[u8], error: &dyn std::fmt::Display) -> StateError {
        let reason = format!("no key of this table: {error}");
        StateError::Entry { state: self.0.name, key: shown(key), reason }
    }

    fn other_type(&self, declared: &StateSpec) -> StateError {
        StateError::OtherType {
            state: self.0.name,
            declared: declared.typename.to_string(),
            used: self.0.spec().typename.to_string(),
        }
    }
}

/// A key for people, shortened.
fn shown(key: &[u8]) -> String {
    let end = key.len().min(KEY_SHOWN_MAX);
    let dots = if end < key.len() { "..." } else { "" };
    match std::str::from_utf8(&key[..end]) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{text}{dots}"),
        _ => format!("{}{dots}", key[..end].escape_ascii()),
    }
}
