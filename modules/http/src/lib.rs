//! The HTTP ingress, kind `dormouse.http.v1/ingress`: messages and requests over `POST`.
//!
//! Read in this order: [`binder`] (the manifest) → [`ingress`] (a request's way) → [`request`] (what it
//! asks for) → [`reply`] (what it gets) → [`durable`] (requests with an idempotency key).

pub mod binder;
pub mod durable;
pub mod ingress;
pub mod reply;
pub mod request;

/// Referenced by a binary, so that the linker keeps this crate's registrations.
pub fn link() {}
