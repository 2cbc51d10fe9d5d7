//! What authors of functions and modules see: small, stable, no runtime inside.
//!
//! Functions, in the order in which one writes them: [`value`] (types of messages and states) →
//! [`state`], [`table`] (with keys of [`key`]), [`buffer`] → [`context`] and [`message`] (what a function is given) → [`function!`] (registers it;
//! [`registry`] and [`batch`] run it) → [`record`] (records for egresses). The runtime sees
//! [`mod@function`]. Modules, in the order in which an application meets them: [`manifest`] (YAML as
//! written, with positions) → [`module`] (binders of component kinds) → [`ingress`] → [`egress`].

#![warn(missing_docs)]

pub mod batch;
pub mod buffer;
mod cells;
pub mod context;
pub mod egress;
mod entries;
pub mod error;
pub mod function;
pub mod ingress;
pub mod key;
pub mod manifest;
pub mod message;
pub mod metrics;
pub mod module;
#[doc(hidden)]
pub mod private;
pub mod record;
pub mod registry;
pub mod router;
pub mod state;
pub mod state_name;
pub mod table;
pub mod testing;
pub mod value;

pub use buffer::Buffer;
pub use bytes::Bytes;
pub use cells::StateError;
pub use context::{Context, FunctionName, IntoAddress, SendError};
pub use dormouse_protocol as protocol;
pub use error::{BoxError, FunctionError};
pub use key::{IntoKey, TableKey};
pub use message::{FromMessage, Message};
pub use registry::{FunctionDescriptor, registered_function, registered_functions};
pub use state::{State, StateDeclaration, StateKind};
pub use table::Table;
pub use value::{IntoValue, ValueError, ValueType};
