//! An application with the real binary, from start to kill: other manifests at a restart, endpoints that
//! fail in every way or are behind TLS, many clients, bounded memory, what was delayed, and tables and
//! buffers.

mod application;
mod client;
mod clients;
mod doors;
mod endpoints;
mod entries;
mod failures;
mod floods;
mod memory;
mod pressure;
mod restart;
mod server;
mod stalls;
mod stopping;
mod timers;
