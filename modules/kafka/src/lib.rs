//! Topics of Kafka: the kinds `io.statefun.kafka.v1/ingress` and `io.statefun.kafka.v1/egress` of
//! StateFun. Manifests are read and checked completely; nothing connects to Kafka yet, so an
//! application that uses these kinds can be checked and is not run.
//!
//! Read in this order: [`binder`] → [`ingress`], [`egress`] (what a manifest says) → [`client`] (what
//! both have in common).

pub mod binder;
pub mod client;
pub mod egress;
pub mod ingress;

/// Referenced by a binary, so that the linker keeps this crate's registrations.
pub fn link() {}
