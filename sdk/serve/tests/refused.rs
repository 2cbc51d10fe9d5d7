//! A function that has a table cannot be served: a start says so, by the names of function and state.

use std::sync::Arc;

use dormouse_protocol::{
    Address, FunctionType, Invocation, Message as Envelope, Response, TypedValue, from_wire,
    to_wire, types,
};
use dormouse_sdk::{Buffer, Context, FunctionError, Message, State, Table, function};
use dormouse_serve::Functions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const COUNT: State<i64> = State::new("count");
const ITEMS: Table<String, i64> = Table::new("items");
const LINES: Buffer<String> = Buffer::new("lines");

async fn nothing(_: &mut Context, _: Message) -> Result<(), FunctionError> {
    Ok(())
}

function! { "test/plain", states: [COUNT], nothing }
function! { "test/table", states: [COUNT, ITEMS], nothing }
function! { "test/buffer", states: [LINES], nothing }

/// Names a state by the message: not possible here.
async fn late(ctx: &mut Context, name: String) -> Result<(), FunctionError> {
    ctx.set(&State::<i64>::named(&name)?, 1)?;
    Ok(())
}

async fn rule(ctx: &mut Context, _: Message) -> Result<(), FunctionError> {
    let name = ctx.address().function_type.name();
    ctx.send(("test/log", name), name)
}

function! { "test/late", late }
function! { "rules/*", rule }

/// The text of the answer, or the decoded one.
async fn call(name: &str) -> Result<Response, String> {
    let functions = Functions::only(&["test/late", "rules/*"]).expect("they are served");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(dormouse_serve::serve_functions(listener, functions, std::future::pending()));
    let target = Address::new(FunctionType::parse(name).expect("a name"), "1");
    let value = TypedValue::new(types::STRING, types::encode_string("secret"));
    let message = Arc::new(Envelope { target: target.clone(), caller: None, value });
    let invocation = Invocation {
        target,
        specs: Arc::from([]),
        state: [].into_iter().collect(),
        messages: [message].into_iter().collect(),
        entries: None,
    };
    let body = to_wire::to_function(&invocation);
    let head = format!(
        "POST /statefun HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(&[head.as_bytes(), &body].concat()).await.expect("the request is taken");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let body = answer.split_off(split);
    if answer.starts_with(b"HTTP/1.1 200 ") {
        return Ok(from_wire::response(body.into(), &[]).expect("a FromFunction"));
    }
    Err(String::from_utf8(body).expect("text"))
}

#[tokio::test]
async fn a_state_that_is_named_while_the_function_runs_is_refused_by_name() {
    let refused = call("test/late").await.expect_err("it is refused");
    assert_eq!(
        refused,
        "function test/late names a state while it runs (secret), which only functions that are linked \
         into the runtime's own process can do: declare it in `states: [...]`"
    );
}

#[tokio::test]
async fn a_function_of_a_namespace_is_served_by_every_name_of_it() {
    let Ok(Response::Effects(effects)) = call("rules/fraud").await else { panic!("it fails") };
    assert_eq!(effects.messages[0].0.id, "fraud");
    assert!(call("other/fraud").await.is_err());
}

#[test]
fn functions_with_tables_or_buffers_are_refused_by_name() {
    let refused = |names: &[&str]| Functions::only(names).expect_err("it is refused").to_string();
    let rest = "and only functions that are linked into the runtime's own process can have tables and \
                buffers";
    assert_eq!(
        refused(&["test/plain", "test/table"]),
        format!("function `test/table` cannot be served: its state `items` is a table, {rest}")
    );
    assert_eq!(
        refused(&["test/buffer"]),
        format!("function `test/buffer` cannot be served: its state `lines` is a buffer, {rest}")
    );
    assert!(Functions::linked().is_err());
    assert_eq!(Functions::only(&["test/plain"]).expect("it is served").names(), ["test/plain"]);
}
