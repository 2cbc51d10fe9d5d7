//! The states of one batch: bytes as they came, and the decoded values of those that the function
//! touched. A value is decoded when it is first asked for and encoded once, at the end of the batch.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::{StateMutation, StateMutations, StateSpec, StateValues};

use crate::error::BoxError;
use crate::state::State;
use crate::value::{ValueError, ValueType, encode};

/// Values up to so many bytes are decoded anew each time they are read: that is cheaper than to keep
/// them decoded.
const DECODE_AGAIN_BYTES: usize = 64;

/// A state that cannot be used as the function wants to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The function did not declare it.
    #[error("state `{0}` is not declared: add it to `states: [...]` of the function")]
    Undeclared(&'static str),
    /// It was named at run time, and the function is called again with it.
    #[error(
        "state `{0}` is new: this call is broken off and made again with it; where states cannot be \
         named at run time, this is its failure"
    )]
    New(&'static str),
    /// It holds values of another type.
    #[error("state `{state}` holds values of type `{declared}`, not `{used}`")]
    OtherType {
        /// The state's name.
        state: &'static str,
        /// The type it was declared with.
        declared: String,
        /// The type of the handle.
        used: String,
    },
    /// Two Rust types with one typename.
    #[error("state `{0}` is used as two Rust types within one batch")]
    TwoTypes(&'static str),
    /// Its value cannot be read or written.
    #[error("state `{state}`: {reason}")]
    Value {
        /// The state's name.
        state: &'static str,
        /// What is wrong with the value.
        reason: String,
    },
    /// An entry of a table or buffer that cannot be read or written.
    #[error("state `{state}`, entry `{key}`: {reason}")]
    Entry {
        /// The state's name.
        state: &'static str,
        /// The entry's key, shortened.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A key that is too long to be part of a row's key.
    #[error(
        "state `{state}`, entry `{key}`: a key of {bytes} bytes; beside the id of this instance and \
         the names of type and state at most {max} fit"
    )]
    EntryKey {
        /// The state's name.
        state: &'static str,
        /// The entry's key, shortened.
        key: String,
        /// Its length.
        bytes: usize,
        /// What it may be.
        max: usize,
    },
    /// A value that is too long.
    #[error("state `{state}`, entry `{key}`: a value of {bytes} bytes; at most {max} are possible")]
    EntryValue {
        /// The state's name.
        state: &'static str,
        /// The entry's key, shortened.
        key: String,
        /// The value's length.
        bytes: usize,
        /// What it may be.
        max: usize,
    },
    /// Tables and buffers are there where the function runs in the runtime's own process.
    #[error(
        "state `{0}` is a table or buffer: either the function does not declare it in \
         `states: [...]`, or it does not run in-process, where alone such states can be used"
    )]
    NoEntries(&'static str),
}

/// The states of one batch.
pub(crate) struct Cells {
    specs: Arc<[StateSpec]>,
    stored: StateValues,
    /// Most functions touch one state: the first one touched costs no list.
    first: Option<Cell>,
    rest: Vec<Cell>,
    /// States that were named while the function ran and that it was not given.
    pub(crate) wanted: Vec<StateSpec>,
}

/// A touched state: `held` is an `Option<T>`, which `encode` knows.
struct Cell {
    spec: u16,
    changed: bool,
    name: &'static str,
    held: Box<dyn Any + Send + Sync>,
    encode: fn(&dyn Any) -> Result<Option<Bytes>, ValueError>,
}

impl Cells {
    /// `stored` has one entry per spec; missing ones count as unset.
    pub(crate) fn new(specs: Arc<[StateSpec]>, stored: StateValues) -> Self {
        Self { specs, stored, first: None, rest: Vec::new(), wanted: Vec::new() }
    }

    pub(crate) fn get<T: ValueType + Clone>(
        &mut self,
        state: &State<T>,
    ) -> Result<Option<T>, StateError> {
        let spec = self.find(state)?;
        if self.touched(spec).is_none() {
            match self.stored(spec) {
                None => return Ok(None),
                Some(bytes) if bytes.len() <= DECODE_AGAIN_BYTES => {
                    return read(state.name(), bytes).map(Some);
                }
                Some(_) => {}
            }
        }
        Ok(self.hold(spec, state)?.clone())
    }

    pub(crate) fn get_ref<T: ValueType>(
        &mut self,
        state: &State<T>,
    ) -> Result<Option<&T>, StateError> {
        let spec = self.find(state)?;
        Ok(self.hold(spec, state)?.as_ref())
    }

    pub(crate) fn put<T: ValueType>(
        &mut self,
        state: &State<T>,
        value: Option<T>,
    ) -> Result<(), StateError> {
        let spec = self.find(state)?;
        let name = state.name();
        if let Some(cell) = self.touched(spec) {
            *cell.held_as(name)? = value;
            cell.changed = true;
        } else {
            self.touch(spec, name, value, true);
        }
        Ok(())
    }

    /// Encodes what has changed, in the order in which the states were first touched.
    pub(crate) fn mutations(&self) -> Result<StateMutations, StateError> {
        let changed = || self.first.iter().chain(&self.rest).filter(|cell| cell.changed);
        let mut mutations = StateMutations::with_capacity(changed().count());
        for cell in changed() {
            let value = (cell.encode)(&*cell.held).map_err(|error| fault(cell.name, error))?;
            mutations.push(StateMutation { spec: cell.spec, value });
        }
        Ok(mutations)
    }

    fn find<T: ValueType>(&mut self, state: &State<T>) -> Result<u16, StateError> {
        let name = state.name();
        let mut all = self.specs.iter().zip(0_u16..);
        let Some((spec, index)) = all.find(|(spec, _)| spec.name == name) else {
            let declared = state.declaration();
            if !declared.is_late {
                return Err(StateError::Undeclared(name));
            }
            self.wanted.push(declared.spec());
            return Err(StateError::New(name));
        };
        if spec.typename != T::TYPENAME {
            return Err(StateError::OtherType {
                state: name,
                declared: spec.typename.to_string(),
                used: T::TYPENAME.to_owned(),
            });
        }
        Ok(index)
    }

    fn stored(&self, spec: u16) -> Option<&Bytes> {
        self.stored.get(usize::from(spec))?.as_ref()
    }

    fn touched(&mut self, spec: u16) -> Option<&mut Cell> {
        self.first.iter_mut().chain(&mut self.rest).find(|cell| cell.spec == spec)
    }

    /// The decoded value, decoding and keeping it when it is not kept yet.
    fn hold<T: ValueType>(
        &mut self,
        spec: u16,
        state: &State<T>,
    ) -> Result<&mut Option<T>, StateError> {
        let name = state.name();
        if self.touched(spec).is_none() {
            let bytes = self.stored(spec);
            let value: Option<T> = bytes.map(|bytes| read(name, bytes)).transpose()?;
            self.touch(spec, name, value, false);
        }
        let cell = self.touched(spec).ok_or(StateError::Undeclared(name))?;
        cell.held_as(name)
    }

    fn touch<T: ValueType>(
        &mut self,
        spec: u16,
        name: &'static str,
        value: Option<T>,
        changed: bool,
    ) {
        let cell = Cell { spec, changed, name, held: Box::new(value), encode: encode_held::<T> };
        if self.first.is_none() {
            self.first = Some(cell);
        } else {
            self.rest.push(cell);
        }
    }
}

impl Cell {
    fn held_as<T: ValueType>(&mut self, name: &'static str) -> Result<&mut Option<T>, StateError> {
        self.held.downcast_mut().ok_or(StateError::TwoTypes(name))
    }
}

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.specs.iter().map(|spec| &spec.name);
        f.debug_list().entries(names).finish()
    }
}

fn read<T: ValueType>(name: &'static str, bytes: &Bytes) -> Result<T, StateError> {
    T::decode(bytes).map_err(|source| {
        let reason = unreadable::<T>(&source);
        StateError::Value { state: name, reason }
    })
}

/// Why a stored value does not read: it may come from an older version of the type.
pub(crate) fn unreadable<T: ValueType>(source: &BoxError) -> String {
    let (stored, read_as) = (T::TYPENAME, std::any::type_name::<T>());
    format!("what is stored as `{stored}` does not read as `{read_as}`: {source}")
}

fn encode_held<T: ValueType>(held: &dyn Any) -> Result<Option<Bytes>, ValueError> {
    match held.downcast_ref::<Option<T>>() {
        Some(Some(value)) => encode(value).map(Some),
        _ => Ok(None),
    }
}

fn fault(state: &'static str, error: ValueError) -> StateError {
    StateError::Value { state, reason: crate::FunctionError::from(error).to_string() }
}
