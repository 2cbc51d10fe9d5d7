//! `dormouse-bench`: the benchmarks, and their own server (see the library).

use std::process::ExitCode;

fn main() -> ExitCode {
    dormouse_bench::main()
}
