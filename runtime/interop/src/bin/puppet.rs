//! The application under test: one function, `sys/puppet`, that does what its message says, in a binary
//! with the command line of `dormouse`. The system tests start, ask and kill it.

#[path = "../acts.rs"]
mod acts;

use std::process::ExitCode;

use acts::{NOTES, puppet};
use dormouse_sdk::function;

function! { "sys/puppet", states: [NOTES], puppet }

fn main() -> ExitCode {
    dormouse::main()
}
