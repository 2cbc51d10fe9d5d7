//! The imperative shell around the engine: everything that reads files, binds sockets and starts
//! threads. It names no connector: modules are found at link time.
//!
//! Read in this order: [`yaml`] (text → nodes with positions) → [`manifest`] (files → components) →
//! [`registry`] (what is linked; [`in_process`]) → [`plan`] (what is served) → [`settings`] → [`metrics`] →
//! [`admin`] ([`dead_letters`]) → [`runtime`] (threads and shards; each is driven by `driver`).

pub mod admin;
mod clock;
pub mod dead_letters;
mod driver;
pub mod in_process;
pub mod manifest;
pub mod metrics;
pub mod plan;
pub mod registry;
pub mod runtime;
pub mod settings;
pub mod stall;
pub mod store;
pub mod yaml;
