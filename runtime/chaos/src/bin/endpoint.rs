//! The endpoint of a chaos run: `chaos-endpoint PORT` serves the remote actors until it is killed.

use anyhow::{Context as _, Result};
use dormouse_chaos::actor::{INBOX, PEERS, SUMS, WAKINGS, WRONG, handle};
use dormouse_chaos::order::REMOTE;
use dormouse_sdk::{Context, FunctionError, Message, function};
use tokio::net::TcpListener;

async fn actor(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    handle(ctx, &message)
}

function! { REMOTE, states: [INBOX, PEERS, SUMS, WAKINGS, WRONG], actor }

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let port: u16 = std::env::args().nth(1).context("expected a port")?.parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(dormouse_serve::serve(listener, std::future::pending()).await?)
}
