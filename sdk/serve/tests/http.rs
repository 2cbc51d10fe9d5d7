//! Functions over a real socket: golden bytes, the handshake for states, and what is refused.

use std::net::SocketAddr;
use std::time::Duration;

use dormouse_sdk::{Context, FunctionError, Message, State, function};
use dormouse_serve::Functions;
use dormouse_serve::answer::BODY_BYTES_MAX;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const VISITS: State<i32> = State::new("visits");

async fn person(ctx: &mut Context, _: Message) -> Result<(), FunctionError> {
    tokio::task::yield_now().await;
    let visits = ctx.get(&VISITS)?.unwrap_or(0) + 1;
    ctx.set(&VISITS, visits)?;
    Ok(())
}

async fn faulty(_: &mut Context, how: String) -> Result<(), FunctionError> {
    assert_ne!(how, "panic", "as asked");
    Err(FunctionError::new("busy").retry_after(Duration::from_millis(1_200)))
}

/// Waits until so many calls run at once.
static TOGETHER: std::sync::LazyLock<tokio::sync::Barrier> =
    std::sync::LazyLock::new(|| tokio::sync::Barrier::new(32));

async fn together(_: &mut Context, _: Message) -> Result<(), FunctionError> {
    TOGETHER.wait().await;
    Ok(())
}

function! { "example/person", states: [VISITS], person }
function! { "example/faulty", faulty }
function! { "example/together", together }

/// `ToFunction` for example/person/Bob with the string "Bob" and no state.
const PLAIN: &str = "a2063f0a160a076578616d706c651206706572736f6e1a03426f621a2512230a18696f2e7374\
                     61746566756e2e74797065732f737472696e6710011a050a03426f62";
/// The same with the unset state `visits`.
const UNSET_STATE: &str = "a206490a160a076578616d706c651206706572736f6e1a03426f6212080a067669736974\
                           731a2512230a18696f2e737461746566756e2e74797065732f737472696e6710011a050a\
                           03426f62";
/// The same with `visits` = 0, present without bytes, and a caller.
const STATE_AND_CALLER: &str = "a206750a160a076578616d706c651206706572736f6e1a03426f6212230a06766973\
                                69747312190a15696f2e737461746566756e2e74797065732f696e7410011a360a0f\
                                0a076578616d706c651201781a013112230a18696f2e737461746566756e2e747970\
                                65732f737472696e6710011a050a03426f62";
/// `FromFunction`: the state `visits`, an int without expiration, is missing.
const MISSING_STATE: &str = "aa06230a210a0676697369747312001a15696f2e737461746566756e2e74797065732f\
                             696e74";
/// `FromFunction`: `visits` becomes 1.
const VISITS_1: &str = "a2062e0a2c080112067669736974731a200a15696f2e737461746566756e2e74797065732f69\
                        6e7410011a050d01000000";

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

async fn start(functions: Functions) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(dormouse_serve::serve_functions(listener, functions, std::future::pending()));
    address
}

async fn start_linked() -> SocketAddr {
    start(Functions::linked().expect("functions")).await
}

async fn send(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let head = format!("{head}\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the head is taken");
    // A server that refuses by the head may close before it has read the body.
    let _ = stream.write_all(body).await;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("an answer");
    let split = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..split].to_vec()).expect("a head of text");
    let status = head[9..12].parse().expect("a status");
    Answer { status, head, body: bytes[split + 4..].to_vec() }
}

async fn post(address: SocketAddr, body: &[u8]) -> Answer {
    let head = format!(
        "POST /statefun HTTP/1.1\r\nContent-Type: application/octet-stream\r\nContent-Length: {}",
        body.len()
    );
    send(address, &head, body).await
}

#[tokio::test]
async fn a_request_without_the_state_is_told_what_is_missing() {
    let answer = post(start_linked().await, &bytes_of(PLAIN)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    assert_eq!(answer.body, bytes_of(MISSING_STATE));
}

#[tokio::test]
async fn a_request_with_the_state_gets_the_effects() {
    let address = start_linked().await;
    for request in [UNSET_STATE, STATE_AND_CALLER] {
        let answer = post(address, &bytes_of(request)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        assert_eq!(answer.body, bytes_of(VISITS_1));
    }
}

#[tokio::test]
async fn paths_below_and_bodies_in_chunks_are_served() {
    let address = start_linked().await;
    let body = bytes_of(PLAIN);
    let head = "POST /statefun/person?x HTTP/1.1\r\nTransfer-Encoding: chunked";
    let chunks = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(send(address, head, &chunks).await.body, bytes_of(MISSING_STATE));
}

#[tokio::test]
async fn calls_that_wait_do_not_hold_the_memory_for_the_largest_body() {
    let address = start_linked().await;
    let target = "0a180a076578616d706c651208746f6765746865721a03426f62";
    let body = bytes_of(&format!("a2061e{target}1a021200"));
    let head = "POST /statefun HTTP/1.1\r\nTransfer-Encoding: chunked";
    let chunks = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    let calls: Vec<_> = (0..32)
        .map(|_| {
            let chunks = chunks.clone();
            tokio::spawn(async move { send(address, head, &chunks).await })
        })
        .collect();
    for call in calls {
        let answer = tokio::time::timeout(Duration::from_secs(10), call).await;
        let answer = answer.expect("all run at once").expect("no panic");
        assert_eq!(answer.body, bytes_of("a20600"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_failing_function_is_500_with_its_text() {
    let address = start_linked().await;
    let request = |text: &str| {
        let faulty = bytes_of("0a160a076578616d706c6512066661756c74791a03426f62");
        let value = [&[0x0A, text.len() as u8], text.as_bytes()].concat();
        let typed =
            [b"\x0a\x18io.statefun.types/string\x10\x01\x1a", &[value.len() as u8][..], &value]
                .concat();
        let argument = [&[0x12, typed.len() as u8][..], &typed].concat();
        let batch = [&faulty, &[0x1A, argument.len() as u8][..], &argument].concat();
        [&[0xA2, 0x06, batch.len() as u8][..], &batch].concat()
    };
    let answer = post(address, &request("fail")).await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("retry-after"), Some("2"));
    assert_eq!(
        answer.text(),
        "function example/faulty failed on a message of type `io.statefun.types/string`: busy"
    );
    let answer = post(address, &request("panic")).await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("panicked: assertion"), "{}", answer.text());
}

#[tokio::test]
async fn what_is_no_request_is_refused_by_name() {
    let address = start_linked().await;
    for (body, status, text) in [
        (&b""[..], 400, "the body is empty: expected a ToFunction"),
        (b"garbage", 400, "the body is no ToFunction: "),
        (b"\xa2\x06\x00", 400, "the ToFunction holds no invocation"),
    ] {
        let answer = post(address, body).await;
        assert_eq!(answer.status, status);
        assert!(answer.text().starts_with(text), "{}", answer.text());
    }
    let answer = send(address, "GET /statefun HTTP/1.1", b"").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    let answer = send(address, "POST /else HTTP/1.1\r\nContent-Length: 0", b"").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.text(), "functions are served at /statefun and below");
    let json = "POST /statefun HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2";
    let answer = send(address, json, b"{}").await;
    assert_eq!(answer.status, 415);
    assert_eq!(
        answer.text(),
        "content type `application/json`: expected `application/octet-stream`"
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_and_while_it_is_read() {
    let address = start_linked().await;
    let text = format!("the body is larger than {BODY_BYTES_MAX} bytes");
    let head = format!("POST /statefun HTTP/1.1\r\nContent-Length: {}", BODY_BYTES_MAX + 1);
    let answer = send(address, &head, b"").await;
    assert_eq!((answer.status, answer.text()), (413, text.as_str()));

    let head = "POST /statefun HTTP/1.1\r\nTransfer-Encoding: chunked";
    let mut body = format!("{:x}\r\n", BODY_BYTES_MAX + 1).into_bytes();
    body.resize(body.len() + BODY_BYTES_MAX + 1, 0);
    let answer = send(address, head, &body).await;
    assert_eq!((answer.status, answer.text()), (413, text.as_str()));
}

#[tokio::test]
async fn a_function_that_was_not_chosen_is_not_served() {
    let address = start(Functions::only(&["example/faulty"]).expect("it is linked")).await;
    let answer = post(address, &bytes_of(PLAIN)).await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.text(),
        "no function example/person is served here; served are example/faulty"
    );
    assert_eq!(
        Functions::only(&["example/persn"]).unwrap_err().to_string(),
        "function `example/persn` is not linked into this process; linked are example/faulty, \
         example/person, example/together"
    );
}

#[tokio::test]
async fn it_stops_when_asked_and_finishes_what_it_began() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(dormouse_serve::serve(listener, async {
        let _ = stopped.await;
    }));
    assert_eq!(post(address, &bytes_of(PLAIN)).await.status, 200);
    stop.send(()).expect("it listens for the end");
    let end = tokio::time::timeout(Duration::from_secs(10), server).await;
    end.expect("it stops").expect("without a panic").expect("without an error");
    assert!(TcpStream::connect(address).await.is_err());
}
