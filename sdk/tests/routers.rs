//! Several routers of one ingress, each sending to any number of addresses; what they may not do; and
//! how a lane takes what they made.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on fails"
)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use dormouse_sdk::ingress::{Admission, Lane, LaneBackend, LocalFuture, Reply, SubmitError};
use dormouse_sdk::protocol::{FunctionType, Message, TypeName, TypedValue};
use dormouse_sdk::router::{Downstream, ROUTED_MESSAGES_MAX, Routers, registered_routers};
use dormouse_sdk::{FunctionError, router};

fn to_accounts(line: String, to: &mut Downstream) -> Result<(), FunctionError> {
    for account in line.split(' ') {
        to.send(("bank/account", account), 1_i64)?;
    }
    Ok(())
}

fn to_audit(record: TypedValue, to: &mut Downstream) -> Result<(), FunctionError> {
    to.send(("bank/audit", "all"), record)
}

fn to_nobody(_: String, _: &mut Downstream) -> Result<(), FunctionError> {
    Ok(())
}

fn faulty(line: String, to: &mut Downstream) -> Result<(), FunctionError> {
    to.send(("bank/audit", "all"), "never seen")?;
    match line.as_str() {
        "panic" => panic!("out of cheese"),
        "flood" => (0..=ROUTED_MESSAGES_MAX)
            .try_for_each(|number| to.send(("bank/account", number.to_string()), true)),
        "large" => {
            let large = "x".repeat(1 << 20);
            (0..40).try_for_each(|_| to.send(("bank/account", "1"), large.as_str()))
        }
        number => to.send(("bank/account", "1"), number.parse::<i64>()?),
    }
}

router! { "bank/lines", to_accounts }
router! { "bank/lines", to_audit }
router! { "bank/lines", to_nobody }
router! { "bank/faulty", faulty }

fn routers(id: &str) -> Routers {
    Routers::of(&TypeName::parse(id).unwrap())
}

fn targets(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.target.to_string()).collect()
}

#[test]
fn a_record_goes_through_every_router_of_its_ingress() {
    assert_eq!(registered_routers().len(), 4);
    let messages = routers("bank/lines").route("a b").unwrap();
    assert_eq!(targets(&messages), ["bank/account/a", "bank/account/b", "bank/audit/all"]);
    assert!(messages.iter().all(|message| message.caller.is_none()));
    assert_eq!(messages[2].value, dormouse_sdk::IntoValue::into_value("a b").unwrap());
    assert!(routers("bank/other").is_empty());
    assert!(!routers("bank/lines").is_empty());
}

#[test]
fn a_router_that_fails_sends_nothing_and_is_named() {
    let failed = |line: &str| routers("bank/faulty").route(line).unwrap_err().to_string();
    assert_eq!(
        failed("x"),
        "router routers::faulty of ingress bank/faulty failed on a record of type \
         `io.statefun.types/string`: invalid digit found in string"
    );
    assert!(failed("panic").ends_with(": panicked: out of cheese"));
    assert!(failed("flood").ends_with(": more than 10000 messages of one record"));
    assert!(
        failed("large").ends_with(": the messages of one record take more than 33554432 bytes")
    );
    let other = routers("bank/lines").route(1_i64).unwrap_err().to_string();
    assert!(
        other.ends_with(
            "expected a value of type `io.statefun.types/string`, found one of type \
             `io.statefun.types/long`"
        ),
        "{other}"
    );
}

/// Notes what is submitted; the answers come when the test says so, latest first.
#[derive(Debug, Default)]
struct Backend {
    submitted: RefCell<Vec<String>>,
    answers: RefCell<VecDeque<(usize, Result<(), SubmitError>)>>,
}

#[derive(Clone, Debug)]
struct Shared(Rc<Backend>);

impl LaneBackend for Shared {
    fn index(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        1
    }

    fn serves(&self, _: FunctionType) -> bool {
        true
    }

    fn admit(&self, _: usize) -> LocalFuture<Result<Admission, SubmitError>> {
        Box::pin(async { Ok(Admission::new(Box::new(|| {}))) })
    }

    fn submit(&self, message: Message) -> LocalFuture<Result<(), SubmitError>> {
        let number = self.0.submitted.borrow().len();
        self.0.submitted.borrow_mut().push(message.target.to_string());
        let backend = Rc::clone(&self.0);
        Box::pin(std::future::poll_fn(move |_| {
            let mut answers = backend.answers.borrow_mut();
            match answers.iter().position(|(of, _)| *of == number) {
                Some(at) => Poll::Ready(answers.remove(at).unwrap().1),
                None => Poll::Pending,
            }
        }))
    }

    fn reply(&self) -> Reply {
        unreachable!("no reply is waited for")
    }

    fn stopped(&self) -> LocalFuture<Instant> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn messages_of_a_record_are_submitted_in_order_and_all_waited_for() {
    let backend = Rc::new(Backend::default());
    let lane = Lane::new(Rc::new(Shared(Rc::clone(&backend))));
    let messages = routers("bank/lines").route("a b").unwrap();
    let room = Admission::new(Box::new(|| {}));
    let mut submitting = std::pin::pin!(lane.submit_all(messages, &room));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(submitting.as_mut().poll(&mut cx).is_pending());
    assert_eq!(*backend.submitted.borrow(), ["bank/account/a", "bank/account/b", "bank/audit/all"]);
    let answer = |number, result| backend.answers.borrow_mut().push_back((number, result));
    answer(2, Ok(()));
    answer(0, Err(SubmitError::Stopping));
    assert!(submitting.as_mut().poll(&mut cx).is_pending(), "one is not durable yet");
    answer(1, Ok(()));
    assert_eq!(submitting.as_mut().poll(&mut cx), Poll::Ready(Err(SubmitError::Stopping)));
}
