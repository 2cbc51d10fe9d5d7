//! The application of a chaos run: the command line of `dormouse`, and the in-process actors.

use std::process::ExitCode;

use dormouse_chaos::actor::{INBOX, PEERS, SUMS, WAKINGS, WRONG, handle};
use dormouse_chaos::order::LOCAL;
use dormouse_sdk::{Context, FunctionError, Message, function};

async fn actor(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    handle(ctx, &message)
}

function! { LOCAL, states: [INBOX, PEERS, SUMS, WAKINGS, WRONG], actor }

fn main() -> ExitCode {
    dormouse::main()
}
