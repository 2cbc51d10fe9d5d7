//! The binary `dormouse`: the command line, with the standard modules and no functions of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    dormouse::main()
}
