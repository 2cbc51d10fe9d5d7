//! Remote functions over HTTP: the kinds `io.statefun.endpoints.v2/http` and
//! `io.statefun.endpoints.v1/http` of StateFun, linked into a binary by naming this crate.
//!
//! Read in the order of a call: [`binder`] (the manifest) → [`transport`], [`url`] (what it says) →
//! [`function`] (an invocation) → [`attempts`] (retries) → [`pool`] → [`connection`] (one exchange)
//! → [`answer`] (what counts as a good one).

pub mod answer;
pub mod attempts;
pub mod binder;
pub mod connection;
pub mod function;
pub mod pool;
pub mod transport;
pub mod url;

/// Referenced by a binary, so that the linker keeps this crate's registrations.
pub fn link() {}
