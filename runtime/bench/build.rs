//! Puts the counting functions of `dormouse-bench-counted` in front of mimalloc's, in that program alone.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for function in ["mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned"] {
        println!("cargo:rustc-link-arg-bin=dormouse-bench-counted=-Wl,--wrap={function}");
    }
}
