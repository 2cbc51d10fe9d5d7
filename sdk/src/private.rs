//! What the macros of this crate expand to. No part of the interface: it may change at any time.

pub use inventory;
pub use prost;
pub use serde_json;

pub use crate::batch::{Batch, BatchFuture, argument, guard};

/// Checks a type name while compiling: exactly one `/` or more, with text on both sides of the last.
#[must_use]
pub const fn type_name(text: &'static str) -> &'static str {
    let bytes = text.as_bytes();
    let mut slash = bytes.len();
    while slash > 0 && bytes[slash - 1] != b'/' {
        slash -= 1;
    }
    assert!(slash > 1 && slash < bytes.len(), "a type name must be of the form <namespace>/<name>");
    text
}
