//! Effects on their way over the wire and back, and answers that are refused: by which words.

use bytes::Bytes;
use dormouse_protocol::from_wire::{
    self, STATE_NAME_BYTES_MAX, STATES_MAX, TYPE_BYTES_MAX, WireError,
};
use dormouse_protocol::wire::{
    self, DelayedInvocation, EgressMessage, ExpirationSpec, FromFunction, FunctionResponse,
    IncompleteInvocationContext, InvocationResponse, OutgoingMessage, PersistedValueMutation,
    PersistedValueSpec,
};
use dormouse_protocol::{
    Address, Delayed, Effects, EgressRecord, Expiration, FunctionType, ID_BYTES_MAX, Metadata,
    Response, StateMutation, StateSpec, TypeName, TypedValue, to_wire, types,
};
use prost::Message as _;

fn spec(name: &str, typename: &str, expiration: Expiration) -> StateSpec {
    let (name, typename) = (name.into(), typename.into());
    StateSpec { name, typename, expiration, has_entries: false }
}

fn specs() -> [StateSpec; 2] {
    [
        spec("visits", types::INT, Expiration::Never),
        spec("name", types::STRING, Expiration::AfterInvoke(5)),
    ]
}

fn target() -> Address {
    Address::new(FunctionType::new("example", "greeter"), "ключ")
}

fn text(value: &str) -> TypedValue {
    TypedValue::new(types::STRING, types::encode_string(value))
}

fn decode(response: FunctionResponse) -> Result<Response, WireError> {
    let body = FromFunction { response: Some(response) }.encode_to_vec();
    from_wire::response(body.into(), &specs())
}

fn refused(result: InvocationResponse) -> String {
    decode(FunctionResponse::InvocationResult(result)).expect_err("a refusal").to_string()
}

fn missing(values: Vec<PersistedValueSpec>) -> Result<Vec<StateSpec>, String> {
    let context = IncompleteInvocationContext { missing_values: values };
    match decode(FunctionResponse::IncompleteInvocationContext(context)) {
        Ok(Response::Incomplete(missing)) => Ok(missing),
        Ok(other) => panic!("expected missing states, got {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn missing_value(name: &str, typename: &str, expiration: Option<(i32, i64)>) -> PersistedValueSpec {
    let expiration_spec =
        expiration.map(|(mode, expire_after_millis)| ExpirationSpec { mode, expire_after_millis });
    PersistedValueSpec {
        state_name: name.to_owned(),
        expiration_spec,
        type_typename: typename.to_owned(),
    }
}

fn mutation(mutation_type: i32, name: &str, typename: Option<&str>) -> InvocationResponse {
    let state_value = typename
        .map(|typename| wire::TypedValue { typename: typename.to_owned(), ..Default::default() });
    let change = PersistedValueMutation { mutation_type, state_name: name.to_owned(), state_value };
    InvocationResponse { state_mutations: vec![change], ..Default::default() }
}

fn message_to(namespace: &str, name: &str, id: &str) -> InvocationResponse {
    let target = wire::Address {
        namespace: namespace.to_owned(),
        r#type: name.to_owned(),
        id: id.to_owned(),
    };
    let message = OutgoingMessage { target: Some(target), argument: None };
    InvocationResponse { outgoing_messages: vec![message], ..Default::default() }
}

fn delayed(invocation: DelayedInvocation) -> InvocationResponse {
    InvocationResponse { delayed_invocations: vec![invocation], ..Default::default() }
}

/// Effects of every kind, with what is easily lost: empty values, headers, long texts.
fn all_effects() -> Effects {
    let mut with_metadata = text(&"x".repeat(70_000));
    with_metadata.metadata = Some(Box::new(vec![
        Metadata { key: "k".to_owned(), value: Some(Bytes::from_static(b"v")) },
        Metadata { key: String::new(), value: None },
    ]));
    let send = |delay_ms, token: Option<&str>| Delayed::Send {
        delay_ms,
        target: target(),
        value: text(""),
        token: token.map(Into::into),
    };
    Effects {
        messages: vec![(target(), with_metadata), (target(), TypedValue::default())],
        delayed: vec![
            send(0, None),
            send(i64::MAX as u64, Some("t")),
            Delayed::Cancel { token: "t".into() },
        ],
        egress: vec![EgressRecord {
            egress: TypeName { namespace: "a".to_owned(), name: "b".to_owned() },
            value: text("record"),
        }],
        state: vec![
            StateMutation { spec: 1, value: Some(Bytes::from_static(b"\x0a\x01a")) },
            StateMutation { spec: 0, value: Some(Bytes::new()) },
            StateMutation { spec: 1, value: None },
        ]
        .into(),
        entries: None,
    }
}

#[test]
fn effects_of_every_kind_come_back() {
    let effects = all_effects();
    let body = to_wire::from_function(&Response::Effects(effects.clone().into()), &specs());
    let Ok(Response::Effects(back)) = from_wire::response(body, &specs()) else {
        panic!("expected effects");
    };
    assert_eq!(*back, effects);
}

#[test]
fn what_is_written_is_what_protobuf_would_write() {
    let body = to_wire::from_function(&Response::Effects(all_effects().into()), &specs());
    let message = FromFunction::decode(body.clone()).expect("a FromFunction");
    assert_eq!(message.encode_to_vec(), body);
}

#[test]
fn small_values_do_not_hold_their_body() {
    let effects = all_effects();
    let body = to_wire::from_function(&Response::Effects(effects.into()), &specs());
    let within = body.as_ptr_range();
    let Ok(Response::Effects(back)) = from_wire::response(body, &specs()) else {
        panic!("expected effects");
    };
    let shared = |value: &Bytes| within.contains(&value.as_ptr());
    assert!(shared(&back.messages[0].1.value), "the greater part of the body is not copied");
    assert!(!shared(&back.egress[0].value.value));
    assert!(!back.state[0].value.as_ref().is_some_and(shared));
}

#[test]
fn garbage_is_refused() {
    for body in [&b"<html>"[..], b"\xa2\x06\x05\x0a", b"\xff"] {
        let error = from_wire::response(Bytes::copy_from_slice(body), &[]).unwrap_err();
        assert!(error.to_string().starts_with("the body is no FromFunction: "), "{error}");
    }
}

#[test]
fn state_mutations_must_fit_the_registered_states() {
    let unknown = "Accessing a non-existing function state: other. This can happen if you forgot \
                   to declare this state using the language SDKs.";
    assert_eq!(refused(mutation(1, "other", Some(types::INT))), unknown);
    assert_eq!(refused(mutation(0, "other", None)), unknown);
    assert_eq!(
        refused(mutation(1, "visits", Some(types::LONG))),
        "An error occurred for state [visits]. Previous type was: io.statefun.types/int, new type \
         is: io.statefun.types/long"
    );
    assert!(refused(mutation(1, "visits", None)).ends_with("new type is: io.statefun.types/unset"));
    assert_eq!(
        refused(mutation(2, "visits", Some(types::INT))),
        "the mutation of state `visits` has type 2: expected 0 (DELETE) or 1 (MODIFY)"
    );
    let slash =
        FunctionResponse::InvocationResult(mutation(1, "visits", Some("io.statefun.types/int/")));
    assert!(decode(slash).is_ok(), "a trailing slash means nothing");
}

#[test]
fn delays_and_cancellations_must_be_complete() {
    let cancel = DelayedInvocation { is_cancellation_request: true, ..Default::default() };
    assert_eq!(
        refused(delayed(cancel)),
        "Can not handle a cancellation request without a cancellation token."
    );
    let target = Some(wire::Address {
        namespace: "a".to_owned(),
        r#type: "b".to_owned(),
        id: "1".to_owned(),
    });
    let negative = DelayedInvocation { delay_in_ms: -5, target, ..Default::default() };
    assert_eq!(
        refused(delayed(negative)),
        "a delayed message for a/b/1 has delay_in_ms -5: expected 0 or more"
    );
    let nowhere = DelayedInvocation::default();
    assert_eq!(refused(delayed(nowhere)), "a delayed message's target: is missing");
}

#[test]
fn targets_and_egresses_must_be_named() {
    let incomplete = "expected a namespace and a type";
    assert!(refused(message_to("", "greeter", "Bob")).ends_with(incomplete));
    assert!(refused(message_to("example", "", "Bob")).ends_with(incomplete));
    let too_long = refused(message_to("example", "greeter", &"x".repeat(ID_BYTES_MAX + 1)));
    assert_eq!(
        too_long,
        "a message's target: example/greeter: the id has 32769 bytes, at most 32768 are allowed"
    );
    let long_name = refused(message_to("example", &"x".repeat(TYPE_BYTES_MAX + 1), ""));
    assert!(long_name.ends_with("at most 1024 bytes each are allowed"), "{long_name}");
    let egress = EgressMessage { egress_namespace: "a".to_owned(), ..Default::default() };
    let unnamed = InvocationResponse { outgoing_egresses: vec![egress], ..Default::default() };
    assert_eq!(
        refused(unnamed),
        "an egress message for `a/`: expected an egress id <namespace>/<name>"
    );
}

#[test]
fn expirations_are_mapped() {
    let found = missing(vec![
        missing_value("never", "a/b", None),
        missing_value("none", "a/b", Some((0, 7))),
        missing_value("write", "a/b", Some((1, 7))),
        missing_value("invoke", "a/b", Some((2, 8))),
        missing_value("unknown", "a/b", Some((9, -1))),
        missing_value("untyped", "", None),
    ])
    .expect("specs");
    let expected = [
        spec("never", "a/b", Expiration::Never),
        spec("none", "a/b", Expiration::Never),
        spec("write", "a/b", Expiration::AfterWrite(7)),
        spec("invoke", "a/b", Expiration::AfterInvoke(8)),
        spec("unknown", "a/b", Expiration::Never),
        spec("untyped", types::UNSET, Expiration::Never),
    ];
    assert_eq!(found, expected);
    let back = to_wire::from_function(&Response::Incomplete(found), &[]);
    let Ok(Response::Incomplete(back)) = from_wire::response(back, &[]) else {
        panic!("expected missing states");
    };
    assert_eq!(back, expected);
}

#[test]
fn a_state_without_a_type_takes_values_without_one() {
    let change = |typename| {
        let result = FunctionResponse::InvocationResult(mutation(1, "untyped", typename));
        let body = FromFunction { response: Some(result) }.encode_to_vec();
        from_wire::response(body.into(), &[spec("untyped", types::UNSET, Expiration::Never)])
    };
    for typename in [None, Some(""), Some(types::UNSET)] {
        assert!(matches!(change(typename), Ok(Response::Effects(_))), "{typename:?}");
    }
    assert!(change(Some(types::INT)).is_err());
}

#[test]
fn missing_states_must_be_new_and_make_sense() {
    let nothing = "the function answers that states are missing, but names none that was not in \
                   the request";
    assert_eq!(missing(vec![]).unwrap_err(), nothing);
    let known = missing_value("visits", types::INT, None);
    assert_eq!(missing(vec![known.clone()]).unwrap_err(), nothing);
    let fresh = missing_value("fresh", types::INT, None);
    let twice = missing(vec![known, fresh.clone(), fresh.clone()]);
    assert_eq!(twice.expect("one is new").len(), 1);
    let retyped = missing(vec![missing_value("visits", types::LONG, None)]).unwrap_err();
    assert!(retyped.starts_with("An error occurred for state [visits]."), "{retyped}");
    assert_eq!(
        missing(vec![missing_value("x", "a/b", Some((1, 0)))]).unwrap_err(),
        "state `x` expires after 0 ms: expected 1 or more"
    );
    assert_eq!(
        missing(vec![missing_value("", "a/b", None)]).unwrap_err(),
        "the function asks for a state without a name"
    );
    let long = "n".repeat(STATE_NAME_BYTES_MAX + 1);
    let refused = missing(vec![missing_value(&long, types::INT, None)]).unwrap_err();
    assert!(
        refused.ends_with("n...` has a name of 16385 bytes: at most 16384 are possible"),
        "{refused}"
    );
    assert!(missing(vec![missing_value(&long[1..], types::INT, None)]).is_ok());
    assert_eq!(
        missing(vec![fresh; STATES_MAX]).unwrap_err(),
        "the function asks for more than 4096 states"
    );
}
