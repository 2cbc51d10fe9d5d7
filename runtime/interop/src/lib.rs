//! Runs functions written with the official StateFun SDKs on the binary `dormouse`, as a user would.
//!
//! The tests of this package install an SDK from its registry ([`packages`]), start the function server
//! and `dormouse` as processes ([`process`], [`application`]), drive them over HTTP ([`http`]) and
//! kill them. Nothing of ours is linked: what is tested is what is shipped.

pub mod application;
pub mod http;
pub mod packages;
pub mod process;
pub mod scenario;
pub mod wire;
