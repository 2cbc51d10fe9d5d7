//! Runs applications of StateFun on the binary `dormouse`, as a user would.
//!
//! The tests of this package start `dormouse` as a process ([`application`], [`process`]), drive it over
//! HTTP ([`http`]) and kill it. Its functions are written with the official SDKs, installed from their
//! registries ([`packages`]), or are a server in the test's own hands ([`endpoint`]) that reads and writes
//! the protocol's bytes by hand ([`wire`]). Nothing of ours is linked: what is tested is what is shipped.

pub mod application;
pub mod endpoint;
pub mod http;
pub mod packages;
pub mod process;
pub mod wire;
