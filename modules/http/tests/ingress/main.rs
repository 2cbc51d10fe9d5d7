//! The HTTP ingress over real sockets, before functions that really run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod durable;
mod limits;
mod manifest;
mod messages;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dormouse_http::ingress::{HttpIngress, Settings};
use dormouse_sdk::ingress::Ingress as _;
use dormouse_sdk::{Context, FunctionError, Message, State, function};
use dormouse_testkit::Memory;

const COUNT: State<i32> = State::new("count");

async fn greeter(ctx: &mut Context, name: String) -> Result<(), FunctionError> {
    if ctx.caller().is_none() {
        return Ok(());
    }
    ctx.reply(format!("Hello {name}!"))
}

async fn echo(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    ctx.reply(message)
}

/// Replies with how often it was called.
async fn counter(ctx: &mut Context, _message: Message) -> Result<(), FunctionError> {
    let count = ctx.get(&COUNT)?.unwrap_or(0) + 1;
    ctx.set(&COUNT, count)?;
    ctx.reply(count.to_string())
}

/// Waits for the time in its message, in milliseconds, and replies with how often it was called.
async fn slow(ctx: &mut Context, millis: String) -> Result<(), FunctionError> {
    tokio::time::sleep(Duration::from_millis(millis.parse()?)).await;
    let count = ctx.get(&COUNT)?.unwrap_or(0) + 1;
    ctx.set(&COUNT, count)?;
    ctx.reply(count.to_string())
}

async fn silent(_ctx: &mut Context, _message: Message) -> Result<(), FunctionError> {
    Ok(())
}

/// Replies with as many bytes as its message says.
async fn large(ctx: &mut Context, length: String) -> Result<(), FunctionError> {
    ctx.reply("x".repeat(length.parse()?))
}

function! { "example/greeter", greeter }
function! { "example/echo", echo }
function! { "example/counter", states: [COUNT], counter }
function! { "example/slow", states: [COUNT], slow }
function! { "example/silent", silent }
function! { "example/large", large }

/// A served ingress.
struct Served {
    memory: Memory,
    address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

fn serve(settings: Settings) -> Served {
    let memory = Memory::new();
    let ingress = Arc::new(HttpIngress::new("127.0.0.1:0", settings));
    let listens = ingress.open().unwrap().unwrap();
    let address = listens.strip_prefix("http://").unwrap().parse().unwrap();
    let serving = tokio::task::spawn_local(ingress.serve(memory.lane(0, 1)));
    Served { memory, address, serving }
}

/// Settings with short waits.
fn brief() -> Settings {
    Settings { wait_max: Duration::from_millis(200), ..Settings::default() }
}
