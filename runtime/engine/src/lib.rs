//! The engine: a pure state machine. Events in, actions out; no I/O, no clock, no randomness.

pub mod codec;
pub mod commit;
pub mod keys;

pub use commit::{Commit, Fence, Op, OpBuffer, Opened, PartMeta, Trim};
