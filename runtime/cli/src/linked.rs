//! The modules of this distribution: the only place that names them. A crate that is listed in
//! `Cargo.toml` and never mentioned is not linked, and registers nothing; so it is mentioned here.
//! Another distribution has another such file.

/// Called by [`crate::main`], so that this file's mentions cannot be dropped.
pub(crate) fn assure() {}
