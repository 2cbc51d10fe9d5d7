//! The puppet as a remote function, `far/puppet`, served over HTTP at 127.0.0.1 on the port that is the
//! only argument, until it is killed.

#[path = "../acts.rs"]
mod acts;

use std::net::Ipv4Addr;

use acts::{NOTES, puppet};
use anyhow::{Context as _, Result};
use dormouse_sdk::function;
use tokio::net::TcpListener;

function! { "far/puppet", states: [NOTES], puppet }

fn main() -> Result<()> {
    let port: u16 = std::env::args().nth(1).context("expected a port")?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        dormouse_serve::serve(listener, std::future::pending()).await?;
        Ok(())
    })
}
