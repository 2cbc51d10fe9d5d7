//! Registered functions, run as the runtime runs them: batches, states, effects, failures.

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use dormouse_sdk::protocol::{
    Address, Delayed, Effects, Expiration, FunctionType, Invocation, InvokeError,
    Message as Envelope, Response, StateMutation, TypedValue, types,
};
use dormouse_sdk::record::PlaygroundRecord;
use dormouse_sdk::{
    Bytes, Context, FunctionDescriptor, FunctionError, FunctionName, Message, State, ValueType,
    function, json_type, proto_type, registered_functions,
};

const VISITS: State<i32> = State::new("visits");
static GREETING: State<String> = State::new("greeting").expire_after_write(Duration::from_secs(60));
const UNDECLARED: State<i64> = State::new("undeclared");
const NAMES: State<Names> = State::new("names");

static OTHER: FunctionName = FunctionName::new("test/other");

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct GreetRequest {
    name: String,
}

json_type!(GreetRequest, "test/GreetRequest");

#[derive(Clone, PartialEq, prost::Message)]
struct Names {
    #[prost(string, repeated, tag = "1")]
    all: Vec<String>,
}

proto_type!(Names, "type.googleapis.com/test.Names");

async fn counter(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    let visits = ctx.get(&VISITS)?.unwrap_or(0) + 1;
    ctx.set(&VISITS, visits)?;
    ctx.send((&OTHER, ctx.id().to_owned()), message)
}

async fn greeter(ctx: &mut Context, request: GreetRequest) -> Result<(), FunctionError> {
    yield_once().await;
    ctx.set(&GREETING, format!("Hello {}", request.name))?;
    let greeting = ctx.get(&GREETING)?.unwrap_or_default();
    ctx.reply(greeting)
}

async fn collector(ctx: &mut Context, name: String) -> Result<(), FunctionError> {
    if name == "forget" {
        return Ok(ctx.remove(&NAMES)?);
    }
    let mut names = ctx.get_ref(&NAMES)?.cloned().unwrap_or_default();
    names.all.push(name);
    Ok(ctx.set(&NAMES, names)?)
}

async fn everything(ctx: &mut Context, _: Message) -> Result<(), FunctionError> {
    let soon = Duration::from_micros(1_999);
    ctx.send_after(soon, ("test/other", "1"), 1_i64)?;
    ctx.send_after_with_token(soon, "token", ctx.address().clone(), true)?;
    ctx.cancel("token")?;
    let record = PlaygroundRecord { topic: "t".to_owned(), payload: "p".to_owned() };
    ctx.send_egress("io.statefun.playground/egress", record)
}

async fn faulty(ctx: &mut Context, how: String) -> Result<(), FunctionError> {
    ctx.send(("test/other", "1"), "never seen")?;
    match how.as_str() {
        "panic" => panic!("out of {}", "cheese"),
        "panic later" => {
            yield_once().await;
            panic!("later");
        }
        "undeclared" => {
            ctx.get(&UNDECLARED)?;
        }
        "target" => ctx.send(("nowhere", "1"), "")?,
        "token" => ctx.cancel("")?,
        "pause" => return Err(FunctionError::new("busy").retry_after(Duration::from_secs(7))),
        "reply" => ctx.reply("")?,
        number => ctx.set(&VISITS, number.parse()?)?,
    }
    Ok(())
}

async fn reader(ctx: &mut Context, expected: String) -> Result<(), FunctionError> {
    assert_eq!(ctx.get(&GREETING)?, Some(expected.clone()));
    assert_eq!(ctx.get_ref(&GREETING)?, Some(&expected));
    Ok(())
}

function! { "test/counter", states: [VISITS], counter }
function! { "test/greeter", states: [VISITS, GREETING], greeter }
function! { "test/collector", states: [NAMES], collector }
function! { "test/everything", everything }
function! { "test/faulty", states: [VISITS], faulty }
function! { "test/reader", states: [GREETING], reader }

/// Suspends the function, so that its state has to survive an await.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn find(name: &str) -> &'static FunctionDescriptor {
    let functions = registered_functions();
    let found = functions.into_iter().find(|function| function.name == name);
    found.expect("the function is registered")
}

fn invocation(name: &str, state: Vec<Option<Bytes>>, values: Vec<TypedValue>) -> Invocation {
    let target = Address::new(FunctionType::parse(name).expect("a name"), "Bob");
    let message = |value| {
        Arc::new(Envelope {
            target: target.clone(),
            caller: Some(Address::new(FunctionType::new("test", "caller"), "c")),
            value,
        })
    };
    Invocation {
        target: target.clone(),
        specs: find(name).specs().into(),
        state: state.into(),
        messages: values.into_iter().map(message).collect(),
        entries: None,
    }
}

fn call(invocation: Invocation) -> Result<Response, InvokeError> {
    let name = invocation.target.function_type.as_str();
    let mut future = find(name).invoke(invocation);
    loop {
        let polled = future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()));
        if let Poll::Ready(answer) = polled {
            return answer;
        }
    }
}

fn effects(invocation: Invocation) -> Effects {
    match call(invocation) {
        Ok(Response::Effects(effects)) => *effects,
        other => panic!("expected effects, got {other:?}"),
    }
}

fn text(value: &str) -> TypedValue {
    TypedValue::new(types::STRING, types::encode_string(value))
}

fn put(spec: u16, value: Bytes) -> StateMutation {
    StateMutation { spec, value: Some(value) }
}

#[test]
fn functions_are_found_sorted_with_their_states() {
    let names: Vec<_> = registered_functions().iter().map(|f| f.name).collect();
    assert_eq!(
        names,
        [
            "test/collector",
            "test/counter",
            "test/everything",
            "test/faulty",
            "test/greeter",
            "test/reader"
        ]
    );
    let specs = find("test/greeter").specs();
    assert_eq!(specs[0].name, "visits");
    assert_eq!(specs[1].typename, types::STRING);
    assert_eq!(specs[1].expiration, Expiration::AfterWrite(60_000));
}

#[test]
fn a_batch_sees_its_own_writes_and_writes_each_state_once() {
    let start = vec![Some(types::encode_int(7))];
    let effects = effects(invocation("test/counter", start, vec![text("a"), text("b"), text("c")]));
    assert_eq!(effects.state[..], [put(0, types::encode_int(10))]);
    let targets: Vec<_> = effects.messages.iter().map(|(t, _)| t.to_string()).collect();
    assert_eq!(targets, ["test/other/Bob"; 3]);
    let values: Vec<_> = effects.messages.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [text("a"), text("b"), text("c")]);
}

#[test]
fn a_typed_function_takes_its_type_and_answers_its_caller() {
    let request = TypedValue::new("test/GreetRequest", &br#"{"name":"Bob"}"#[..]);
    let effects = effects(invocation("test/greeter", vec![None, None], vec![request]));
    assert_eq!(effects.messages[0].0.to_string(), "test/caller/c");
    assert_eq!(effects.messages[0].1, text("Hello Bob"));
    assert_eq!(effects.state[..], [put(1, types::encode_string("Hello Bob"))]);
}

#[test]
fn another_type_is_refused_with_both_names() {
    let answer = call(invocation("test/greeter", vec![None, None], vec![text("Bob")]));
    assert_eq!(
        answer.unwrap_err().message,
        "function test/greeter failed on a message of type `io.statefun.types/string`: expected a \
         value of type `test/GreetRequest`, found one of type `io.statefun.types/string`"
    );
}

#[test]
fn bytes_that_cannot_be_read_are_refused() {
    let request = TypedValue::new("test/GreetRequest", &b"{"[..]);
    let answer = call(invocation("test/greeter", vec![None, None], vec![request]));
    let message = answer.unwrap_err().message;
    assert!(message.contains("cannot read a value of type `test/GreetRequest`: EOF"), "{message}");
    let raw = TypedValue::new(types::STRING, &b"Bob"[..]);
    let message = call(invocation("test/faulty", vec![None], vec![raw])).unwrap_err().message;
    let reason = ": cannot read a value of type `io.statefun.types/string`: failed to decode";
    assert!(message.contains(reason), "{message}");
}

#[test]
fn states_can_be_protobuf_and_can_be_removed() {
    let names = |all: &[&str]| {
        let all = all.iter().map(|name| (*name).to_owned()).collect();
        Names { all }.encode().expect("names")
    };
    let run = |values: &[&str]| {
        let values = values.iter().map(|value| text(value)).collect();
        effects(invocation("test/collector", vec![Some(names(&["a"]))], values)).state
    };
    assert_eq!(run(&["b", "c"])[..], [put(0, names(&["a", "b", "c"]))]);
    assert_eq!(run(&["forget", "c"])[..], [put(0, names(&["c"]))]);
    let removed = StateMutation { spec: 0, value: None };
    assert_eq!(run(&["b", "forget"])[..], [removed]);
}

#[test]
fn large_states_are_kept_decoded_and_not_written_when_only_read() {
    let long = "x".repeat(1_000);
    let state = vec![Some(types::encode_string(&long))];
    let values = vec![text(&long), text(&long)];
    assert!(effects(invocation("test/reader", state, values)).is_empty());
}

#[test]
fn delays_tokens_and_egresses_are_effects_in_order() {
    let effects = effects(invocation("test/everything", vec![], vec![text("")]));
    let send = |target: &str, value, token: Option<&str>| Delayed::Send {
        delay_ms: 1,
        target: Address::new(
            FunctionType::new("test", target),
            if target == "other" { "1" } else { "Bob" },
        ),
        value,
        token: token.map(Into::into),
    };
    assert_eq!(
        effects.delayed,
        [
            send("other", TypedValue::new(types::LONG, types::encode_long(1)), None),
            send(
                "everything",
                TypedValue::new(types::BOOL, types::encode_bool(true)),
                Some("token")
            ),
            Delayed::Cancel { token: "token".into() },
        ]
    );
    let record = &effects.egress[0];
    assert_eq!(record.egress.to_string(), "io.statefun.playground/egress");
    assert_eq!(record.value.typename, "io.statefun.playground/EgressRecord");
}

#[test]
fn a_failure_names_the_function_and_leaves_nothing() {
    let failed = |how: &str| {
        let values = vec![text("1"), text(how)];
        let error = call(invocation("test/faulty", vec![None], values)).unwrap_err();
        let prefix = "function test/faulty failed on a message of type \
                      `io.statefun.types/string`: ";
        let reason = error.message.strip_prefix(prefix);
        (reason.expect(&error.message).to_owned(), error.retry_after)
    };
    assert_eq!(failed("panic").0, "panicked: out of cheese");
    assert_eq!(failed("panic later").0, "panicked: later");
    assert_eq!(
        failed("undeclared").0,
        "state `undeclared` is not declared: add it to `states: [...]` of the function"
    );
    assert_eq!(
        failed("target").0,
        "invalid type name `nowhere`: must be of the form <namespace>/<name>"
    );
    assert_eq!(failed("token").0, "a cancellation token must not be empty");
    assert_eq!(failed("x").0, "invalid digit found in string");
    let busy = ("busy".to_owned(), Some(Duration::from_secs(7)));
    assert_eq!(failed("pause"), busy);
}

#[test]
fn a_reply_needs_a_caller() {
    let mut alone = invocation("test/faulty", vec![None], vec![text("reply")]);
    Arc::make_mut(&mut alone.messages[0]).caller = None;
    let message = call(alone).unwrap_err().message;
    assert!(
        message.ends_with("the message has no caller to reply to: it came from an ingress"),
        "{message}"
    );
}

#[test]
fn declared_states_that_are_not_given_are_asked_for() {
    let mut bare = invocation("test/greeter", vec![None, None], vec![text("Bob")]);
    let visits = bare.specs[0].clone();
    bare.specs = Arc::new([visits]);
    bare.state = [None].into();
    let Ok(Response::Incomplete(missing)) = call(bare) else {
        panic!("expected the missing state");
    };
    assert_eq!(missing, [GREETING.declaration().spec()]);
}

#[test]
fn a_state_of_another_type_is_refused() {
    let mut other = invocation("test/counter", vec![None], vec![text("Bob")]);
    let mut spec = other.specs[0].clone();
    spec.typename = types::LONG.into();
    other.specs = Arc::new([spec]);
    let message = call(other).unwrap_err().message;
    assert!(
        message.ends_with(
            "state `visits` holds values of type `io.statefun.types/long`, not \
             `io.statefun.types/int`"
        ),
        "{message}"
    );
}
