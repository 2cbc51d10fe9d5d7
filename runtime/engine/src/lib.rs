//! The engine: a pure state machine. Events in, actions out.
//!
//! In the order of a message's journey: [`Event`] → `accept` (mailboxes) → `schedule` (load, invoke) →
//! `finish` (effects; `entries` for those of tables and buffers, `cleared` deletes what they gave up;
//! `failure`, `dead` when there are no effects) → `channels`, `timers`, `egress` → `seal` (one atomic
//! commit) → `release` (what may leave at which moment). `recovery` brings back what a crash left;
//! `ownership` is about partitions that change hands; `sleep` gives memory back.
//!
//! Invariants:
//! - It does no I/O, reads no clock, draws no random number, spawns nothing and logs nothing.
//! - For an address at most one invocation is in flight; its generation is the activation's.
//! - Nothing leaves earlier than its class allows: see `release`.
//! - An input is in exactly one of: a mailbox in memory, pending in the store, finished.

pub mod action;
#[cfg(feature = "breakages")]
pub mod breakage;
pub mod cell;
mod channel;
pub mod codec;
pub mod commit;
pub mod event;
pub mod keys;
pub mod limits;
mod mailbox;

mod accept;
mod activation;
mod activations;
#[cfg(not(feature = "breakages"))]
mod breakage;
mod channels;
mod cleared;
mod dead;
mod egress;
mod entries;
mod failure;
mod finish;
mod ownership;
mod partition_state;
mod questions;
mod record;
mod recovery;
mod release;
mod schedule;
mod scope;
mod seal;
mod shard;
mod sleep;
mod timers;
mod types;

pub use action::{Action, EgressOut, Fate, GetFor, ScanFor, ScanRange, TokenRow};
pub use activation::ACTIVATION_BYTES;
pub use channel::{BatchMessages, Frame, FrameBody};
pub use commit::{Admission, Commit, Fence, Op, OpBuffer, Opened, PartMeta, Trim};
pub use dead::DeadLetter;
pub use event::{Completed, Event, InvocationId, Redeem, SubmitToken};
pub use limits::Limits;
#[doc(hidden)]
pub use record::read_as_records;
pub use recovery::unconfirmed_egress;
pub use scope::Scoping;
pub use shard::{Shard, ShardConfig, Stats};
pub use types::{Catalog, Declared};
