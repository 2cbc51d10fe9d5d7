//! The allocator of every binary with this command line, and how soon it gives memory back. Set once, at the
//! beginning of [`crate::main`].

#![allow(unsafe_code, reason = "mimalloc's options are set by a function of C")]

use std::ffi::{c_int, c_long};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3.
const PURGE_DELAY: c_int = 15;

/// Milliseconds for which memory that was freed is kept for others. By default that is a second: under a flood
/// of long messages the process then has tens of megabytes more than it uses.
const PURGE_DELAY_MS: c_long = 10;

unsafe extern "C" {
    fn mi_option_set(option: c_int, value: c_long);
}

/// Makes the allocator give memory back soon.
pub(crate) fn configure() {
    // SAFETY: the function takes any number for an option, and stores the value.
    unsafe { mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) };
}
