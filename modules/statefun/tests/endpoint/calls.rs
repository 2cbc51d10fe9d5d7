//! Calls of a remote function, as the runtime makes them, and what is expected of them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dormouse_protocol::{
    Address, FunctionType, Invocation, InvokeError, Message, Response, TypedValue,
};
use dormouse_sdk::function::{Function, FunctionProvider as _};
use dormouse_statefun::function::EndpointProvider;
use dormouse_statefun::transport::Transport;
use dormouse_statefun::url::UrlTemplate;
use tokio::task::LocalSet;

/// A `FromFunction` without effects.
pub(crate) const NO_EFFECTS: &[u8] = &[0xa2, 0x06, 0x00];
pub(crate) const GOOD_RAW: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 3\r\n\r\n\xa2\x06\x00";

pub(crate) fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs");
    };
    LocalSet::new().block_on(&runtime, limited);
}

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn function(url: &str, transport: Transport) -> Rc<dyn Function> {
    let provider = EndpointProvider::new(UrlTemplate::parse(url).unwrap(), transport);
    let function = provider.function(FunctionType::new("example", "person"));
    Rc::from(function.unwrap())
}

pub(crate) fn bob(size: usize) -> Invocation {
    let target = Address::new(FunctionType::new("example", "person"), "Bob");
    let value =
        if size == 0 { Bytes::from_static(b"\x0a\x03Bob") } else { Bytes::from(vec![7; size]) };
    Invocation {
        target: target.clone(),
        specs: Arc::from([]),
        state: Vec::new().into(),
        messages: vec![Arc::new(Message {
            target,
            caller: None,
            value: TypedValue::new("io.statefun.types/string", value),
        })]
        .into(),
        entries: None,
    }
}

pub(crate) async fn call(url: String, transport: Transport) -> Result<Response, InvokeError> {
    function(&url, transport).invoke(bob(0)).await
}

/// A short budget, for calls that are to fail.
pub(crate) fn brief() -> Transport {
    Transport { call: ms(250), ..Transport::default() }
}

pub(crate) fn assert_no_effects(response: Result<Response, InvokeError>) {
    match response {
        Ok(Response::Effects(effects)) => assert!(effects.is_empty()),
        other => panic!("expected no effects, got {other:?}"),
    }
}

pub(crate) fn refusal(response: Result<Response, InvokeError>) -> String {
    let message = response.expect_err("the call cannot succeed").message;
    assert!(message.starts_with("calling example/person/Bob at http://127.0.0.1:"), "{message}");
    message
}

/// A call that has to fail, and what is said of it.
pub(crate) async fn failing(url: String, transport: Transport) -> String {
    call(url, transport).await.expect_err("the call cannot succeed").message
}
