//! The wire format byte for byte: what StateFun's own protobuf definitions give for the same messages,
//! in both directions.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::egress_records::{Header, KafkaProducerRecord, KinesisEgressRecord};
use dormouse_protocol::from_wire::{self, Attached};
use dormouse_protocol::{
    Address, Expiration, FunctionType, Invocation, Message, Metadata, Response, StateSpec,
    TypedValue, to_wire, types,
};
use prost::Message as _;

const PLAIN: &str = "a2063f0a160a076578616d706c651206706572736f6e1a03426f621a2512230a18696f2e7374\
                     61746566756e2e74797065732f737472696e6710011a050a03426f62";
const UNSET_STATE: &str = "a206490a160a076578616d706c651206706572736f6e1a03426f6212080a067669736974\
                           731a2512230a18696f2e737461746566756e2e74797065732f737472696e6710011a050a\
                           03426f62";
const STATE_AND_CALLER: &str = "a206750a160a076578616d706c651206706572736f6e1a03426f6212230a06766973\
                                69747312190a15696f2e737461746566756e2e74797065732f696e7410011a360a0f\
                                0a076578616d706c651201781a013112230a18696f2e737461746566756e2e747970\
                                65732f737472696e6710011a050a03426f62";
const MISSING_STATE: &str = "aa06230a210a0676697369747312001a15696f2e737461746566756e2e74797065732f\
                             696e74";
const NO_EFFECTS: &str = "a20600";

fn bytes_of(hex: &str) -> Bytes {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hex digit") as u8;
    let pairs = hex.as_bytes().chunks_exact(2);
    pairs.map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn visits() -> StateSpec {
    StateSpec {
        name: "visits".into(),
        typename: types::INT.into(),
        expiration: Expiration::Never,
        has_entries: false,
    }
}

/// The message "Bob" for example/person/Bob.
fn invocation(specs: &[StateSpec], state: Vec<Option<Bytes>>, caller: bool) -> Invocation {
    let target = Address::new(FunctionType::new("example", "person"), "Bob");
    let caller = caller.then(|| Address::new(FunctionType::new("example", "x"), "1"));
    let value = TypedValue::new(types::STRING, types::encode_string("Bob"));
    Invocation {
        target: target.clone(),
        specs: specs.into(),
        state: state.into(),
        messages: vec![Arc::new(Message { target, caller, value })].into(),
        entries: None,
    }
}

/// Encodes to exactly `hex`, and `hex` decodes to the same invocation.
fn assert_to_function(invocation: &Invocation, hex: &str) {
    assert_eq!(to_wire::to_function(invocation), bytes_of(hex));
    let request = from_wire::request(bytes_of(hex)).expect("a golden request");
    assert_eq!(request.function_type(), invocation.target.function_type);
    let Attached::Ready(back) = request.attach(&invocation.specs).expect("golden states") else {
        panic!("all states are in the request");
    };
    assert_eq!(back.target, invocation.target);
    assert_eq!(back.state, invocation.state);
    assert_eq!(back.messages, invocation.messages);
}

#[test]
fn to_function_without_state() {
    assert_to_function(&invocation(&[], vec![], false), PLAIN);
}

#[test]
fn to_function_with_an_unset_state() {
    assert_to_function(&invocation(&[visits()], vec![None], false), UNSET_STATE);
}

#[test]
fn to_function_with_a_present_but_empty_state_and_a_caller() {
    let zero = vec![Some(Bytes::new())];
    assert_to_function(&invocation(&[visits()], zero, true), STATE_AND_CALLER);
}

#[test]
fn from_function_with_a_missing_state() {
    let response = Response::Incomplete(vec![visits()]);
    assert_eq!(to_wire::from_function(&response, &[]), bytes_of(MISSING_STATE));
    let back = from_wire::response(bytes_of(MISSING_STATE), &[]).unwrap();
    let Response::Incomplete(missing) = back else {
        panic!("expected the missing states, got {back:?}");
    };
    assert_eq!(missing, [visits()]);
}

#[test]
fn from_function_without_effects() {
    let response = Response::Effects(Box::default());
    assert_eq!(to_wire::from_function(&response, &[]), bytes_of(NO_EFFECTS));
    for body in [bytes_of(NO_EFFECTS), Bytes::new()] {
        let back = from_wire::response(body, &[]).unwrap();
        assert!(matches!(back, Response::Effects(effects) if effects.is_empty()));
    }
}

#[test]
fn metadata_is_field_4_of_a_typed_value() {
    let mut expected = invocation(&[], vec![], false);
    let message = Arc::make_mut(&mut expected.messages[0]);
    message.value.metadata = Some(Box::new(vec![
        Metadata { key: "a".to_owned(), value: Some(Bytes::from_static(b"1")) },
        Metadata { key: "a".to_owned(), value: Some(Bytes::new()) },
        Metadata { key: "n".to_owned(), value: None },
    ]));
    // The golden message without metadata, every enclosing length 22 bytes longer, and three fields 4.
    let hex = "a206550a160a076578616d706c651206706572736f6e1a03426f621a3b12390a18696f2e7374617465\
               66756e2e74797065732f737472696e6710011a050a03426f6222080a016112013118012205 0a0161\
               18012203 0a016e"
        .replace(' ', "");
    assert_to_function(&expected, &hex);
}

#[test]
fn egress_records() {
    let kafka = KafkaProducerRecord {
        key: "k".to_owned(),
        value_bytes: Bytes::from_static(b"v"),
        topic: "t".to_owned(),
        headers: vec![],
    };
    assert_eq!(kafka.encode_to_vec(), bytes_of("0a016b1201761a0174"));
    let with_headers = KafkaProducerRecord {
        headers: vec![
            Header { key: "h".to_owned(), value: Bytes::from_static(b"1"), has_value: true },
            Header { key: "h".to_owned(), value: Bytes::new(), has_value: false },
        ],
        ..kafka
    };
    let hex = "0a016b1201761a017422080a0168120131180122030a0168";
    assert_eq!(with_headers.encode_to_vec(), bytes_of(hex));
    assert_eq!(KafkaProducerRecord::decode(bytes_of(hex)), Ok(with_headers));

    let kinesis = KinesisEgressRecord {
        partition_key: "k".to_owned(),
        value_bytes: Bytes::from_static(b"v"),
        stream: "s".to_owned(),
        explicit_hash_key: "h".to_owned(),
    };
    let hex = "0a016b1201761a0173220168";
    assert_eq!(kinesis.encode_to_vec(), bytes_of(hex));
    assert_eq!(KinesisEgressRecord::decode(bytes_of(hex)), Ok(kinesis));
}
