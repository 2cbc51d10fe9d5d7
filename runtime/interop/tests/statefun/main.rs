//! What an application of StateFun can observe of its runtime, line by line: each test starts the binary
//! `dormouse` beside a function server that reads and writes the protocol's bytes by hand.
//!
//! The checklist: golden vectors ([`golden`]); the handshake ([`handshake`]); answers that are none
//! ([`answers`]); retries and budgets of both transports ([`retries`]); effects, their order, callers and
//! batches ([`effects`], [`callers`], [`batches`], [`delayed`]); state, present and empty, and its
//! expiration ([`state`]); which endpoint is called ([`routing`]); what ends a job of StateFun ([`errors`]) or
//! stops all of it ([`limits`]); what stays as it is ([`same`]); how state comes from another runtime ([`moving`]). Manifests of all kinds are
//! among the tests of the command line (`runtime/cli/tests/cli/statefun.rs`); the functions of the official SDKs
//! and the applications of the playground are in the tests `sdks`.

mod answers;
mod batches;
mod callers;
mod delayed;
mod effects;
mod errors;
mod gate;
mod golden;
mod handshake;
mod limits;
mod moving;
mod retries;
mod routing;
mod same;
mod stage;
mod state;
