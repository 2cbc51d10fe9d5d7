//! The application: its functions and the runtime in one binary, with the command line of `dormouse`.

use std::process::ExitCode;

// Links the functions: a library that nobody names registers nothing.
use greeter as _;

fn main() -> ExitCode {
    dormouse::main()
}
