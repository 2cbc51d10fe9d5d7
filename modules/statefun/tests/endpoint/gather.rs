//! Several calls in one request: with the server of Rust functions, which takes them, with servers that
//! do not, and with such as stop taking them.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use dormouse_protocol::many::{self, CallAnswer};
use dormouse_protocol::{
    Address, FunctionType, Invocation, InvokeError, Message, Response, TypedValue, types,
};
use dormouse_sdk::function::Function;
use dormouse_sdk::{Context, FunctionError, function};
use dormouse_statefun::transport::Transport;
use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::calls::{NO_EFFECTS, assert_no_effects, bob, function, run};
use crate::server::{Answer, good, hyper_server, status};

/// Keeps slow calls waiting until a test lets them go.
static SLOW: Semaphore = Semaphore::const_new(0);

/// `bad` fails, `slow` waits, others answer with their text.
async fn echo(ctx: &mut Context, text: String) -> Result<(), FunctionError> {
    match text.as_str() {
        "bad" => return Err(FunctionError::new("as asked")),
        "panic" => panic!("as asked"),
        "slow" => SLOW.acquire().await?.forget(),
        _ => {}
    }
    ctx.send(("test/sink", ctx.id().to_owned()), text)
}

function! { "test/echo", echo }

fn together(calls: usize) -> Transport {
    Transport { calls_per_request: calls, call: Duration::from_secs(20), ..Transport::default() }
}

/// Serves the functions of this test; counts requests by what comes in.
async fn serve() -> (SocketAddr, Rc<Cell<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = listener.local_addr().unwrap();
    let functions = dormouse_serve::Functions::only(&["test/echo"]).unwrap();
    tokio::spawn(dormouse_serve::serve_functions(listener, functions, std::future::pending()));
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap();
    let requests = Rc::new(Cell::new(0));
    let counted = Rc::clone(&requests);
    tokio::task::spawn_local(async move {
        loop {
            let (client, _) = proxy.accept().await.unwrap();
            tokio::task::spawn_local(forward(client, served, Rc::clone(&counted)));
        }
    });
    (address, requests)
}

async fn forward(client: TcpStream, to: SocketAddr, requests: Rc<Cell<usize>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(to).await.unwrap().into_split();
    tokio::task::spawn_local(
        async move { tokio::io::copy(&mut from_server, &mut to_client).await },
    );
    let mut bytes = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
        let heads = bytes[..read].windows(5).filter(|five| *five == b"POST ").count();
        requests.update(|count| count + heads);
        if to_server.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

fn invocation(id: &str, text: &str) -> Invocation {
    let target = Address::new(FunctionType::new("test", "echo"), id);
    let value = TypedValue::new(types::STRING, types::encode_string(text));
    let message = Arc::new(Message { target: target.clone(), caller: None, value });
    Invocation {
        target,
        specs: Arc::from([]),
        state: [].into_iter().collect(),
        messages: [message].into_iter().collect(),
        entries: None,
    }
}

/// Begins all calls in one turn, as a shard does; their answers.
async fn call_all(
    function: &dyn Function,
    invocations: impl Iterator<Item = Invocation>,
) -> Vec<Result<Response, InvokeError>> {
    let tasks: Vec<_> = invocations
        .map(|invocation| tokio::task::spawn_local(function.invoke(invocation)))
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

fn echo_at(address: SocketAddr, transport: Transport) -> Box<dyn Function> {
    use dormouse_sdk::function::FunctionProvider as _;
    let template = format!("http://{address}/statefun");
    let template = dormouse_statefun::url::UrlTemplate::parse(&template).unwrap();
    let provider = dormouse_statefun::function::EndpointProvider::new(template, transport);
    provider.function(FunctionType::new("test", "echo")).unwrap()
}

fn echoed(answer: &Result<Response, InvokeError>) -> String {
    let Ok(Response::Effects(effects)) = answer else { panic!("{answer:?}") };
    types::decode_string(&effects.messages[0].1.value).unwrap()
}

#[test]
fn calls_of_a_turn_share_requests_once_the_server_has_said_that_it_takes_them() {
    run(async {
        let (address, requests) = serve().await;
        let function = echo_at(address, together(64));
        assert_eq!(echoed(&function.invoke(invocation("first", "0")).await), "0");
        assert_eq!(requests.get(), 1);
        let all = (0..200).map(|n| invocation(&n.to_string(), &n.to_string()));
        let answers = call_all(&*function, all).await;
        for (number, answer) in answers.iter().enumerate() {
            assert_eq!(echoed(answer), number.to_string());
        }
        assert_eq!(requests.get(), 1 + 4, "200 calls, 64 in a request");
    });
}

#[test]
fn without_the_setting_each_call_is_a_request_that_says_nothing_of_others() {
    run(async {
        let (address, requests) = serve().await;
        let function = echo_at(address, together(1));
        let all = (0..20).map(|n| invocation(&n.to_string(), "x"));
        assert!(call_all(&*function, all).await.iter().all(Result::is_ok));
        assert_eq!(requests.get(), 20);
        let (address, seen) = hyper_server(async |_| good(NO_EFFECTS)).await;
        let plain = crate::calls::function(&format!("http://{address}/"), Transport::default());
        assert_no_effects(plain.invoke(bob(0)).await);
        assert!(seen.heads.borrow().iter().all(|head| !head.headers.contains_key(many::HEADER)));
    });
}

#[test]
fn one_call_that_fails_fails_no_other() {
    run(async {
        let (address, _) = serve().await;
        let transport = Transport { call: Duration::from_secs(5), ..together(64) };
        let function = echo_at(address, transport);
        assert!(function.invoke(invocation("first", "0")).await.is_ok());
        let texts = ["a", "bad", "b", "panic", "c"];
        let all = texts.iter().map(|text| invocation(text, text));
        let answers = call_all(&*function, all).await;
        for (text, answer) in texts.iter().zip(&answers) {
            match *text {
                "bad" | "panic" => {
                    let message = &answer.as_ref().unwrap_err().message;
                    assert!(
                        message.starts_with(&format!("calling test/echo/{text} at ")),
                        "{message}"
                    );
                    assert!(message.contains("as asked"), "{message}");
                }
                text => assert_eq!(echoed(answer), text),
            }
        }
    });
}

#[test]
fn a_slow_call_holds_up_those_that_went_with_it_for_a_moment_only() {
    run(async {
        let (address, requests) = serve().await;
        let function = echo_at(address, together(64));
        assert!(function.invoke(invocation("first", "0")).await.is_ok());
        let slow = tokio::task::spawn_local(function.invoke(invocation("slow", "slow")));
        let fast = || (0..10).map(|n| invocation(&n.to_string(), "fast"));
        // All of these are answered while the slow one, which went with the first of them, is not.
        for sent in [1 + 1 + 1 + 10, 1 + 1 + 1 + 10 + 10] {
            for answer in call_all(&*function, fast()).await {
                assert_eq!(echoed(&answer), "fast");
            }
            assert_eq!(requests.get(), sent, "alone after that");
        }
        assert!(!slow.is_finished());
        // Its first attempt may still be waiting as well.
        SLOW.add_permits(10);
        assert_eq!(echoed(&slow.await.unwrap()), "slow");
    });
}

/// An answer that says how many calls the server takes.
fn taking(answer: Answer) -> Answer {
    let mut answer = answer;
    answer.headers_mut().insert(many::HEADER, "8".parse().unwrap());
    answer
}

#[test]
fn a_server_that_never_says_that_it_takes_several_is_never_sent_several() {
    run(async {
        let (address, seen) = hyper_server(async |_| good(NO_EFFECTS)).await;
        let function = function(&format!("http://{address}/"), together(64));
        for _ in 0..2 {
            for answer in call_all(&*function, (0..10).map(|_| bob(0))).await {
                assert_no_effects(answer);
            }
        }
        assert_eq!(seen.requests.borrow().len(), 20);
        let heads = seen.heads.borrow();
        assert!(
            heads.iter().all(|head| head.headers["content-type"] == "application/octet-stream")
        );
        assert!(heads.iter().all(|head| head.headers[many::HEADER] == "64"));
    });
}

#[test]
fn a_server_that_no_longer_takes_several_gets_each_call_alone_at_once() {
    for refusal in [415_u16, 404, 200] {
        run(async move {
            // The first answer offers it; whoever answers later has never heard of it.
            let (address, seen) = hyper_server(move |number| {
                std::future::ready(match number {
                    1 => taking(good(NO_EFFECTS)),
                    2 if refusal != 200 => status(refusal),
                    _ => good(NO_EFFECTS),
                })
            })
            .await;
            let function = function(&format!("http://{address}/"), together(64));
            assert_no_effects(function.invoke(bob(0)).await);
            for answer in call_all(&*function, (0..5).map(|_| bob(0))).await {
                assert_no_effects(answer);
            }
            assert_eq!(seen.requests.borrow().len(), 1 + 1 + 5, "{refusal}");
            for answer in call_all(&*function, (0..5).map(|_| bob(0))).await {
                assert_no_effects(answer);
            }
            assert_eq!(seen.requests.borrow().len(), 12, "{refusal}: nothing is tried again");
        });
    }
}

#[test]
fn at_most_as_many_calls_as_the_server_takes_and_bad_answers_are_made_alone() {
    run(async {
        let parts = Rc::new(RefCell::new(Vec::new()));
        // Takes 8; the answer to the second request of several is cut.
        let (address, seen) = hyper_server(async |number| match number {
            1 => taking(good(NO_EFFECTS)),
            2 => {
                let answers = vec![CallAnswer::Answered(NO_EFFECTS.into()); 8];
                let mut answer = good(b"");
                *answer.body_mut() = Full::from(many::answer(&answers));
                taking(answer)
            }
            3 => taking(good(b"\0\0\0\0\x09cut")),
            _ => taking(good(NO_EFFECTS)),
        })
        .await;
        let function = function(&format!("http://{address}/"), together(64));
        assert_no_effects(function.invoke(bob(0)).await);
        for answer in call_all(&*function, (0..16).map(|_| bob(0))).await {
            assert_no_effects(answer);
        }
        for (head, body) in seen.heads.borrow().iter().zip(seen.requests.borrow().iter()) {
            if head.headers["content-type"] == many::CONTENT_TYPE {
                parts.borrow_mut().push(many::read_request(body).unwrap().len());
            }
        }
        assert_eq!(*parts.borrow(), [8, 8]);
        assert_eq!(seen.requests.borrow().len(), 1 + 2 + 8);
    });
}

#[test]
fn long_calls_go_together_up_to_what_servers_take() {
    run(async {
        const LENGTH: usize = 100 << 10;
        // Seven of them are 700 KiB, and eight more than fits.
        let (address, seen) = hyper_server(async |number| {
            let mut answer = good(NO_EFFECTS);
            if number > 1 {
                let answers = vec![CallAnswer::Answered(NO_EFFECTS.into()); 7];
                *answer.body_mut() = Full::from(many::answer(&answers));
            }
            taking(answer)
        })
        .await;
        let function = function(&format!("http://{address}/"), together(64));
        assert_no_effects(function.invoke(bob(0)).await);
        for answer in call_all(&*function, (0..7).map(|_| bob(LENGTH))).await {
            assert_no_effects(answer);
        }
        for answer in call_all(&*function, (0..14).map(|_| bob(LENGTH))).await {
            assert_no_effects(answer);
        }
        let lengths: Vec<usize> = seen.requests.borrow().iter().map(|body| body.len()).collect();
        assert_eq!(lengths.len(), 1 + 1 + 2, "{lengths:?}");
        assert!(lengths.iter().all(|length| *length < 1 << 20), "{lengths:?}");
    });
}
