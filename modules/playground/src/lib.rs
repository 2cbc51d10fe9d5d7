//! The HTTP ingress and egress of the StateFun playground, for trying things out with `curl`: the
//! kinds `io.statefun.playground.v1/ingress` and `io.statefun.playground.v1/egress`. Unlike the
//! original, nothing acknowledged is lost: a request is answered once its message is durable, and a
//! record goes when the answer that carries it has been written.
//!
//! Read in this order: [`binder`] → [`ingress`] → [`egress`].

pub mod binder;
pub mod egress;
pub mod ingress;

/// Header by which the original reports success and failure, its status always being 200. Sent beside
/// the right status.
pub(crate) const STATUS: http::HeaderName = http::HeaderName::from_static("status");

/// Referenced by a binary, so that the linker keeps this crate's registrations.
pub fn link() {}
