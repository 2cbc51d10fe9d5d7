//! Functions with a handler for each type of message, functions of a whole namespace, and states that are
//! named at run time: run as the runtime runs them.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on fails"
)]

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use dormouse_sdk::function::FunctionProvider;
use dormouse_sdk::protocol::{
    Address, FunctionType, Invocation, InvokeError, Message as Envelope, Response,
};
use dormouse_sdk::state_name::{STATE_NAME_BYTES_MAX, StateNameError};
use dormouse_sdk::testing::Instance;
use dormouse_sdk::{
    Buffer, Context, FunctionError, IntoValue, Message, State, Table, function, json_type,
    registered_function,
};

const BALANCE: State<i64> = State::new("balance");

#[derive(serde::Serialize, serde::Deserialize)]
struct Deposit {
    amount: i64,
}

json_type!(Deposit, "bank/Deposit");

#[derive(serde::Serialize, serde::Deserialize)]
struct Withdraw {
    amount: i64,
}

json_type!(Withdraw, "bank/Withdraw");

async fn deposit(ctx: &mut Context, deposit: Deposit) -> Result<(), FunctionError> {
    let balance = ctx.get(&BALANCE)?.unwrap_or(0);
    Ok(ctx.set(&BALANCE, balance + deposit.amount)?)
}

async fn withdraw(ctx: &mut Context, withdraw: Withdraw) -> Result<(), FunctionError> {
    let balance = ctx.get(&BALANCE)?.unwrap_or(0);
    if balance < withdraw.amount {
        return Err(FunctionError::new("not enough"));
    }
    Ok(ctx.set(&BALANCE, balance - withdraw.amount)?)
}

async fn other(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    ctx.reply(format!("what is {}?", message.typename()))
}

// A function of the caller's may have any name.
async fn run(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    ctx.reply(message)
}

function! { "bank/account", states: [BALANCE], match: [deposit, withdraw] }
function! { "bank/kind", states: [BALANCE], match: [deposit, withdraw], else: other }
function! { "bank/strict", match: [deposit] }
function! { "bank/run", run }

#[test]
fn each_type_of_message_has_its_handler() {
    let mut account = Instance::of("bank/account", "Ann");
    account.receive(Deposit { amount: 7 }).unwrap();
    account.receive(Withdraw { amount: 2 }).unwrap();
    assert_eq!(account.get(&BALANCE), Some(5));
    let failure = account.receive(Withdraw { amount: 6 }).unwrap_err();
    assert!(failure.message.ends_with("not enough"), "{failure}");
    assert_eq!(account.get(&BALANCE), Some(5));
}

#[test]
fn a_message_that_no_handler_takes_is_an_error_that_names_all() {
    let failure = Instance::of("bank/account", "Ann").receive("?").unwrap_err();
    assert_eq!(
        failure.message,
        "function bank/account failed on a message of type `io.statefun.types/string`: no handler takes \
         a value of type `io.statefun.types/string`; there are ones for `bank/Deposit`, `bank/Withdraw`"
    );
}

#[test]
fn what_no_handler_takes_goes_to_the_else_branch() {
    let mut kind = Instance::of("bank/kind", "Ann");
    kind.receive(Deposit { amount: 1 }).unwrap();
    let outcome = kind.ask("?").unwrap();
    assert_eq!(outcome.reply::<String>(), "what is io.statefun.types/string?");
    assert_eq!(kind.get(&BALANCE), Some(1));
}

#[test]
fn a_message_of_a_known_type_that_does_not_read_is_no_other_type() {
    let damaged = dormouse_sdk::protocol::TypedValue::new("bank/Deposit", "{".as_bytes());
    let failure = Instance::of("bank/kind", "Ann").receive(damaged).unwrap_err();
    assert!(failure.message.contains("cannot read a value of type `bank/Deposit`"), "{failure}");
}

async fn rule(ctx: &mut Context, _: Message) -> Result<(), FunctionError> {
    let name = ctx.address().function_type.name();
    ctx.reply(name)
}

async fn special(ctx: &mut Context, _: Message) -> Result<(), FunctionError> {
    ctx.reply("special")
}

function! { "rules/*", rule }
function! { "rules/exact", special }

#[test]
fn a_function_serves_a_namespace_and_an_exact_name_wins() {
    let reply = |name: &str| Instance::of(name, "1").ask(1).unwrap().reply::<String>();
    assert_eq!(reply("rules/fraud"), "fraud");
    assert_eq!(reply("rules/limits"), "limits");
    assert_eq!(reply("rules/exact"), "special");
    let provider = registered_function(FunctionType::new("rules", "fraud")).unwrap();
    assert!(provider.function(FunctionType::new("rules", "later")).is_ok());
    let refused = provider.function(FunctionType::new("other", "later")).unwrap_err();
    assert_eq!(refused.message, "function rules/* does not serve other/later");
    assert!(registered_function(FunctionType::new("nowhere", "x")).is_none());
}

/// `set NAME`, `get NAME`, `put NAME`, `append NAME`, `swallow NAME`, `other NAME`: with states of that name.
async fn late(ctx: &mut Context, text: String) -> Result<(), FunctionError> {
    let (what, name) = text.split_once(' ').unwrap_or((&text, ""));
    let state = State::<i64>::named(name)?.expire_after_write(Duration::from_secs(60));
    match what {
        "set" => ctx.set(&state, 7)?,
        "get" => {
            let value = ctx.get(&state)?.unwrap_or(-1);
            ctx.reply(value)?;
        }
        "put" => ctx.table(&Table::<String, i64>::named(name)?).insert("key", &1)?,
        "append" => ctx.buffer(&Buffer::<String>::named(name)?).append(&text)?,
        "swallow" => {
            ctx.send(("test/other", "1"), "sent")?;
            let _ = ctx.get(&state);
        }
        "other" => ctx.set(&State::<String>::named(name)?, text)?,
        _ => return Err(FunctionError::new("what?")),
    }
    Ok(())
}

function! { "test/late", states: [BALANCE], late }

#[test]
fn states_named_at_run_time_are_kept_expire_and_read_back() {
    let mut late = Instance::of("test/late", "1");
    late.receive("set a").unwrap();
    late.receive("set b").unwrap();
    assert_eq!(late.ask("get a").unwrap().reply::<i64>(), 7);
    assert_eq!(late.get(&State::<i64>::named("b").unwrap()), Some(7));
    assert_eq!(late.get(&State::<i64>::named("c").unwrap()), None);
    late.advance(Duration::from_secs(60));
    assert_eq!(late.ask("get a").unwrap().reply::<i64>(), -1);
    late.receive("put t").unwrap();
    late.receive("append l").unwrap();
    let table = Table::<String, i64>::named("t").unwrap();
    assert_eq!(late.entries(&table), [("key".to_owned(), 1)]);
    assert_eq!(late.elements(&Buffer::<String>::named("l").unwrap()), ["append l"]);
}

/// One call with only the states that are declared, as the runtime makes the first one.
fn first_call(text: &str) -> Result<Response, InvokeError> {
    let function = registered_function(FunctionType::new("test", "late")).unwrap();
    let target = Address::new(FunctionType::new("test", "late"), "1");
    let value = text.into_value().unwrap();
    let message = Arc::new(Envelope { target: target.clone(), caller: None, value });
    let invocation = Invocation {
        target,
        specs: function.specs().into(),
        state: vec![None].into(),
        messages: vec![message].into(),
        entries: None,
    };
    let mut future = function.invoke(invocation);
    match future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits for nothing"),
    }
}

#[test]
fn a_new_name_is_asked_for_even_when_the_function_goes_on_without_it() {
    for text in ["set x", "swallow x"] {
        let Ok(Response::Incomplete(wanted)) = first_call(text) else { panic!("{text}") };
        let [spec] = &wanted[..] else { panic!("{wanted:?}") };
        assert_eq!((&*spec.name, &*spec.typename), ("x", "io.statefun.types/long"));
        assert!(!spec.has_entries);
    }
    let Ok(Response::Incomplete(wanted)) = first_call("put x") else { panic!("not asked for") };
    assert!(wanted[0].has_entries);
}

#[test]
fn names_that_cannot_be_states_are_refused() {
    let failure = first_call("set ").unwrap_err();
    assert!(failure.message.ends_with("a state needs a name: an empty one was given"), "{failure}");
    let long = "x".repeat(STATE_NAME_BYTES_MAX + 1);
    assert_eq!(State::<i64>::named(&long).unwrap_err(), StateNameError::TooLong(256));
    // A name of a declared state, with another type.
    let failure = first_call("other balance").unwrap_err();
    assert!(
        failure.message.ends_with(
            "state `balance` holds values of type `io.statefun.types/long`, not \
             `io.statefun.types/string`"
        ),
        "{failure}"
    );
}
