//! The application: functions, ingress, routers, egress and the runtime in one binary.

use std::process::ExitCode;

// Links them: a library that nobody names registers nothing.
use bank as _;

fn main() -> ExitCode {
    dormouse::main()
}
