//! Streams of Amazon Kinesis: the kinds `io.statefun.kinesis.v1/ingress` and
//! `io.statefun.kinesis.v1/egress` of StateFun. Manifests are read and checked completely; nothing connects
//! to Kinesis yet, so an application that uses these kinds can be checked and is not run.
//!
//! Read in this order: [`binder`] → [`ingress`], [`egress`] (what a manifest says) → [`aws`] (where and as
//! whom).

pub mod aws;
pub mod binder;
pub mod egress;
pub mod ingress;

/// Referenced by a binary, so that the linker keeps this crate's registrations.
pub fn link() {}
