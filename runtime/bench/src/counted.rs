//! `dormouse-bench-counted`: the same program with an allocator that counts. `build.rs` has the linker
//! put the functions here in front of those of mimalloc that Rust calls. It is a program of its own so
//! that counting is in no figure of the other one.
#![allow(unsafe_code, reason = "functions that stand for those of C are linked by name")]

use std::ffi::c_void;
use std::process::ExitCode;

use dormouse_bench::allocations;

fn main() -> ExitCode {
    dormouse_bench::main()
}

unsafe extern "C" {
    fn __real_mi_malloc_aligned(size: usize, alignment: usize) -> *mut c_void;
    fn __real_mi_zalloc_aligned(size: usize, alignment: usize) -> *mut c_void;
    fn __real_mi_realloc_aligned(
        pointer: *mut c_void,
        size: usize,
        alignment: usize,
    ) -> *mut c_void;
}

// SAFETY (of all): the arguments are the caller's, and go on as they came.

#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_mi_malloc_aligned(size: usize, alignment: usize) -> *mut c_void {
    allocations::note(size);
    unsafe { __real_mi_malloc_aligned(size, alignment) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_mi_zalloc_aligned(size: usize, alignment: usize) -> *mut c_void {
    allocations::note(size);
    unsafe { __real_mi_zalloc_aligned(size, alignment) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_mi_realloc_aligned(
    pointer: *mut c_void,
    size: usize,
    alignment: usize,
) -> *mut c_void {
    allocations::note(size);
    unsafe { __real_mi_realloc_aligned(pointer, size, alignment) }
}
