//! The application under test: `sys/puppet`, that does what its message says, and `sys/stock`, in a
//! binary with the command line of `dormouse`. The system tests start, ask and kill it.

#[path = "../acts.rs"]
mod acts;
#[path = "../stock.rs"]
mod stock;

use std::process::ExitCode;

use acts::{NOTES, puppet};
use dormouse_sdk::function;
use stock::{COUNT, LIST, THINGS, stock};

function! { "sys/puppet", states: [NOTES], puppet }
function! { "sys/stock", states: [COUNT, THINGS, LIST], stock }

fn main() -> ExitCode {
    dormouse::main()
}
