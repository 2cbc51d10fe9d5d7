//! HTTP/1.1 listeners for ingresses and egresses: one bound socket, served on the threads of all
//! shards, with bounded connections, slow clients shown out, and an orderly stop.
//!
//! Read in this order: [`listener`] (accepting) → [`connection`] (one client) → [`answer`] (what it
//! gets) → [`body`] (what it sends) → [`path`] (whom it means).

pub mod answer;
pub mod body;
pub mod connection;
pub mod listener;
pub mod path;

pub use answer::{Answer, Refusal, line};
pub use listener::Listener;
