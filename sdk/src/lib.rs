//! What authors of functions and modules see: small, stable, no runtime inside.
//!
//! Functions: [`function`]. Modules, in the order in which an application meets them: [`manifest`]
//! (YAML as written, with positions) → [`module`] (binders of component kinds) → [`ingress`] →
//! [`egress`].

pub mod egress;
pub mod function;
pub mod ingress;
pub mod manifest;
pub mod module;

pub use dormouse_protocol as protocol;
