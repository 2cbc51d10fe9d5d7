//! Remote functions over HTTP: the kinds `io.statefun.endpoints.v2/http` and
//! `io.statefun.endpoints.v1/http` of StateFun, linked into a binary by naming this crate.
//!
//! Read in the order of a call: [`binder`] (the manifest) → [`transport`], [`url`] (what it says) →
//! [`function`] (an invocation) → [`attempts`] (retries) → [`endpoint`] → [`pool`] → [`stream`],
//! [`tls`] (what connections are made of) → [`connection`] or [`http2`] (an exchange) → [`answer`]
//! (what counts as a good one).

pub mod answer;
pub mod attempts;
pub mod binder;
pub mod connection;
mod decompress;
pub mod endpoint;
pub mod function;
mod gather;
pub mod http2;
pub mod pool;
pub mod stream;
pub mod tls;
pub mod transport;
pub mod url;

/// Referenced by a binary, so that the linker keeps this crate's registrations.
pub fn link() {}
