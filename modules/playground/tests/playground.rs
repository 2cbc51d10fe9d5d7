//! The playground's ingress and egress over real sockets, as `curl` sees them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dormouse_playground::egress::PlaygroundEgress;
use dormouse_playground::ingress::{BODY_BYTES_MAX, PlaygroundIngress};
use dormouse_protocol::{TypedValue, types};
use dormouse_sdk::egress::Egress as _;
use dormouse_sdk::ingress::Ingress as _;
use dormouse_sdk::{Context, FunctionError, Message, function};
use dormouse_testkit::client::{Client, send};
use dormouse_testkit::spec::{bind, list, text};
use dormouse_testkit::{Confirmed, Memory, run};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn person(_ctx: &mut Context, _message: Message) -> Result<(), FunctionError> {
    Ok(())
}

function! { "example/person", person }

fn address(listens: &str) -> SocketAddr {
    listens.strip_prefix("http://").unwrap().parse().unwrap()
}

fn ingress() -> (Memory, SocketAddr) {
    let memory = Memory::new();
    let ingress = Arc::new(PlaygroundIngress::new(0));
    let address = address(&ingress.open().unwrap().unwrap());
    tokio::task::spawn_local(ingress.serve(memory.lane(0, 1)));
    (memory, address)
}

fn egress(topics: &[&str]) -> (Arc<PlaygroundEgress>, SocketAddr) {
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    let egress = Arc::new(PlaygroundEgress::new(0, topics));
    let address = address(&egress.open().unwrap().unwrap());
    let memory = Memory::new();
    tokio::task::spawn_local(Arc::clone(&egress).serve(memory.lane(0, 1)));
    (egress, address)
}

fn record(json: &str) -> TypedValue {
    TypedValue::new("io.statefun.playground/EgressRecord", json.to_owned())
}

const VND: &str = "Content-Type: application/vnd.example/GreetRequest";

#[test]
fn a_put_becomes_a_message_of_the_named_type() {
    run(async {
        let (memory, address) = ingress();
        assert!(address.ip().is_unspecified(), "it listens on all addresses");
        let body = r#"{"name": "Bob"}"#;
        for line in ["PUT /example/person/Bob", "POST /example/person/Bob/"] {
            let answer = send(address, line, &[VND], body).await;
            assert_eq!((answer.status, answer.header("status"), answer.text()), (200, "200", ""));
        }
        let submitted = memory.submitted();
        assert_eq!(submitted.len(), 2);
        for message in submitted {
            assert_eq!(message.target.to_string(), "example/person/Bob");
            assert_eq!(message.caller, None);
            assert_eq!(message.value, TypedValue::new("example/GreetRequest", body));
        }
    });
}

/// `curl -d` names the second of these. A case other than the original's is another type there, too.
#[test]
fn another_content_type_means_a_string_whose_bytes_are_not_wrapped() {
    run(async {
        let (memory, address) = ingress();
        let others = ["text/plain", "application/x-www-form-urlencoded", "Application/VND.a/b"];
        for header in others {
            let header = format!("content-type: {header}");
            let answer = send(address, "PUT /example/person/x", &[&header], "Bob").await;
            assert_eq!(answer.status, 200);
        }
        let submitted = memory.submitted();
        assert_eq!(submitted.len(), others.len());
        for message in submitted {
            assert_eq!(message.value, TypedValue::new(types::STRING, "Bob"));
        }
    });
}

#[test]
fn every_method_brings_a_message_and_a_query_is_nothing() {
    run(async {
        let (memory, address) = ingress();
        let methods = ["PUT", "POST", "PATCH", "DELETE", "GET"];
        for method in methods {
            let line = format!("{method} /example/person/Bob?dry=true");
            assert_eq!(send(address, &line, &[VND], "x").await.status, 200, "{method}");
        }
        let ids: Vec<String> = memory.submitted().iter().map(|m| m.target.to_string()).collect();
        assert_eq!(ids, vec!["example/person/Bob"; methods.len()]);
    });
}

#[test]
fn parts_of_a_path_are_percent_decoded() {
    run(async {
        let (memory, address) = ingress();
        for path in
            ["/example/person/Gr%C3%BC%20%25", "/ex%61mple/p%65rson/a%2Fb", "/example/person/a+b"]
        {
            assert_eq!(
                send(address, &format!("PUT {path}"), &[VND], "x").await.status,
                200,
                "{path}"
            );
        }
        let submitted = memory.submitted();
        let ids: Vec<&str> = submitted.iter().map(|message| message.target.id.as_str()).collect();
        assert_eq!(ids, ["Grü %", "a/b", "a+b"]);
        for path in ["/example/person/%", "/example/person/%zz", "/example/person/%FF"] {
            let answer = send(address, &format!("PUT {path}"), &[VND], "x").await;
            assert_eq!((answer.status, answer.header("status")), (400, "500"), "{path}");
        }
    });
}

/// The type is what follows `application/vnd.`, up to a parameter; no body is a value, of no bytes.
#[test]
fn parameters_are_no_part_of_a_type_and_no_body_is_an_empty_value() {
    run(async {
        let (memory, address) = ingress();
        let header = "Content-Type: application/vnd.example/GreetRequest ; charset=utf-8";
        assert_eq!(send(address, "PUT /example/person/x", &[header], "").await.status, 200);
        let value = &memory.submitted()[0].value;
        assert_eq!(*value, TypedValue::new("example/GreetRequest", ""));
        assert!(value.has_value);
    });
}

/// `curl` with a body from standard input.
#[test]
fn a_body_in_chunks_is_put_together() {
    run(async {
        let (memory, address) = ingress();
        let mut client = Client::connect(address).await;
        let request = format!(
            "PUT /example/person/x HTTP/1.1\r\nhost: x\r\n{VND}\r\ntransfer-encoding: chunked\r\n\r\n\
             2\r\nBo\r\n1\r\nb\r\n0\r\n\r\n"
        );
        client.stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(client.answer().await.unwrap().status, 200);
        assert_eq!(memory.submitted()[0].value, TypedValue::new("example/GreetRequest", "Bob"));
    });
}

/// `curl` asks before it sends a long body.
#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    run(async {
        let (memory, address) = ingress();
        let mut client = Client::connect(address).await;
        let head = format!(
            "PUT /example/person/x HTTP/1.1\r\nhost: x\r\n{VND}\r\ncontent-length: 3\r\n\
             expect: 100-continue\r\n\r\n"
        );
        client.stream.write_all(head.as_bytes()).await.unwrap();
        let mut said = [0; 25];
        client.stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.stream.write_all(b"Bob").await.unwrap();
        assert_eq!(client.answer().await.unwrap().status, 200);
        assert_eq!(memory.submitted()[0].value, TypedValue::new("example/GreetRequest", "Bob"));
    });
}

#[test]
fn mistakes_have_the_original_header_and_the_right_status() {
    run(async {
        let (memory, address) = ingress();
        let long = format!("PUT /example/person/{}", "x".repeat(32 * 1024 + 1));
        let longer = format!("PUT /example/{}/x", "n".repeat(1_025));
        let mistakes = [
            ("PUT /example/person", vec![VND], 404, "expected PUT /<namespace>/<type>/<id>"),
            ("PUT /example/person/a/b", vec![VND], 404, "expected PUT"),
            ("PUT /example/person/x", vec![], 400, "expected the header `Content-Type:"),
            ("PUT /example/nobody/x", vec![VND], 404, "nobody serves the function type"),
            ("PUT /dormouse.http/request/x", vec![VND], 403, "cannot be a target"),
            (&long, vec![VND], 400, "the id has 32769 bytes"),
            (&longer, vec![VND], 400, "a part of the type has 1025 bytes; at most 1024"),
        ];
        for (line, headers, status, text) in mistakes {
            let answer = send(address, line, &headers, "x").await;
            assert_eq!((answer.status, answer.header("status")), (status, "500"), "{line}");
            assert!(answer.text().contains(text), "{}", answer.text());
        }
        assert!(memory.submitted().is_empty());
    });
}

#[test]
fn a_put_is_answered_once_durable() {
    run(async {
        let (memory, address) = ingress();
        memory.set_durable(false);
        let mut client = Client::connect(address).await;
        client.write("PUT /example/person/x", &[VND], b"").await;
        let early = tokio::time::timeout(Duration::from_millis(100), client.answer()).await;
        assert!(early.is_err(), "answered before it was durable: {early:?}");
        memory.set_durable(true);
        assert_eq!(client.answer().await.unwrap().status, 200);
    });
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    run(async {
        let (memory, address) = ingress();
        let line = "PUT /example/person/x";
        let answer = send(address, line, &[VND], vec![0; BODY_BYTES_MAX + 1]).await;
        assert_eq!((answer.status, answer.header("status")), (413, "500"));
        assert_eq!(send(address, line, &[VND], vec![0; BODY_BYTES_MAX]).await.status, 200);
        assert_eq!(memory.submitted()[0].value.value.len(), BODY_BYTES_MAX);
    });
}

#[test]
fn only_egress_records_of_known_topics_are_taken() {
    let egress = PlaygroundEgress::new(0, vec!["greetings".to_owned(), "b".to_owned()]);
    let good = r#"{"topic": "greetings", "payload": "Hi"}"#;
    assert_eq!(egress.check(&record(good)), Ok("greetings".to_owned()));
    let refused = |value: TypedValue| egress.check(&value).unwrap_err();
    let other_type = TypedValue::new("io.statefun.types/string", good);
    assert_eq!(
        refused(other_type),
        "expected a record of type `io.statefun.playground/EgressRecord`, got `io.statefun.types/string`"
    );
    assert_eq!(
        refused(record(r#"{"topic": "c", "payload": "Hi"}"#)),
        "unknown topic `c`; known are `b`, `greetings`"
    );
    for json in [
        r#"{"topic": "greetings"}"#,
        r#"{"topic": "greetings", "payload": 7}"#,
        r#"{"topic": "greetings", "payload": "Hi", "key": "x"}"#,
        "greetings",
        "",
    ] {
        let why = refused(record(json));
        assert!(
            why.starts_with("expected a JSON object with exactly `topic` and `payload`"),
            "{why}"
        );
    }
}

#[test]
fn a_get_takes_the_oldest_record_and_confirms_it() {
    run(async {
        let (egress, address) = egress(&["greetings", "other"]);
        let confirmed = Arc::new(Confirmed::default());
        let entry = |number: u64, topic: &str, payload: &str| {
            let json = format!(r#"{{"topic": "{topic}", "payload": "{payload}"}}"#);
            confirmed.entry(number, topic, record(&json))
        };
        egress.deliver(vec![entry(1, "greetings", "Grüße"), entry(1, "other", "o")]);
        egress.deliver(vec![entry(2, "greetings", ""), entry(3, "greetings", "third")]);
        let mut client = Client::connect(address).await;
        for payload in ["Grüße", "", "third"] {
            let answer = client.send("GET /greetings", &[], "").await;
            let status = (answer.status, answer.header("status"));
            assert_eq!((status, answer.text()), ((200, "200"), payload));
            assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        }
        let answer = client.send("GET /greetings", &[], "").await;
        assert_eq!((answer.status, answer.header("status"), answer.text()), (404, "404", ""));
        assert_eq!(confirmed.numbers(), [1, 2, 3]);
        assert_eq!(client.send("GET /other/", &[], "").await.text(), "o");
    });
}

#[test]
fn topics_may_have_any_name_and_are_percent_decoded() {
    run(async {
        let names = ["shop/receipts", "Grü ße", "a+b"];
        let (egress, address) = egress(&names);
        let confirmed = Arc::new(Confirmed::default());
        for name in names {
            let json = format!(r#"{{"topic": "{name}", "payload": "of {name}"}}"#);
            assert_eq!(egress.check(&record(&json)).unwrap(), name);
            egress.deliver(vec![confirmed.entry(1, name, record(&json))]);
        }
        for (path, name) in [
            ("/shop/receipts", names[0]),
            ("/Gr%C3%BC%20%C3%9Fe", names[1]),
            ("/a+b?x=y", names[2]),
        ] {
            let answer = send(address, &format!("GET {path}"), &[], "").await;
            assert_eq!(answer.text(), format!("of {name}"), "{path}");
        }
        assert_eq!(send(address, "GET /shop%2Freceipts", &[], "").await.status, 404);
        assert_eq!(send(address, "GET /%zz", &[], "").await.status, 405);
    });
}

#[test]
fn unknown_topics_and_methods_are_405() {
    run(async {
        let (egress, address) = egress(&["greetings"]);
        let confirmed = Arc::new(Confirmed::default());
        let json = r#"{"topic": "greetings", "payload": "Hi"}"#;
        egress.deliver(vec![confirmed.entry(1, "greetings", record(json))]);
        let answer = send(address, "GET /nothing", &[], "").await;
        assert_eq!((answer.status, answer.header("status")), (405, "405"));
        assert_eq!(answer.text(), "unknown topic; known are `greetings`\n");
        let answer = send(address, "POST /greetings", &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET"));
        assert!(confirmed.numbers().is_empty());
        assert_eq!(send(address, "GET /greetings", &[], "").await.text(), "Hi");
    });
}

/// The answer is larger than what the kernel takes, and the client reads only a part of it.
#[test]
fn a_record_whose_client_leaves_early_takes_its_place_again() {
    run(async {
        let (egress, address) = egress(&["big"]);
        let confirmed = Arc::new(Confirmed::default());
        let payload = "x".repeat(30 << 20);
        let json = format!(r#"{{"topic": "big", "payload": "{payload}"}}"#);
        egress.deliver(vec![confirmed.entry(1, "big", record(&json))]);
        let second = r#"{"topic": "big", "payload": "second"}"#;
        egress.deliver(vec![confirmed.entry(2, "big", record(second))]);
        let mut leaver = Client::connect(address).await;
        leaver.stream.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        leaver.stream.read_exact(&mut [0; 1_000]).await.unwrap();
        assert!(confirmed.numbers().is_empty());
        drop(leaver);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(confirmed.numbers().is_empty());
        let mut client = Client::connect(address).await;
        assert_eq!(client.send("GET /big", &[], "").await.body.len(), payload.len());
        assert_eq!(client.send("GET /big", &[], "").await.text(), "second");
        let _ = client.send("GET /big", &[], "").await;
        assert_eq!(confirmed.numbers(), [1, 2]);
    });
}

#[test]
fn the_components_bind_with_their_fixed_ids() {
    dormouse_playground::link();
    let (bindings, found) =
        bind("io.statefun.playground.v1/ingress", vec![("port", text(3, "8090"))]);
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(bindings.ingresses[0].id.to_string(), "io.statefun.playground/ingress");
    let spec = vec![("port", text(3, "8091")), ("topics", list(4, &["greetings"]))];
    let (bindings, found) = bind("io.statefun.playground.v1/egress", spec);
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(bindings.egresses[0].id.to_string(), "io.statefun.playground/egress");
}

#[test]
fn what_is_wrong_with_a_component_is_reported_at_once() {
    let spec = vec![
        ("port", text(3, "80900")),
        ("topics", list(4, &["/a"])),
        ("topic", text(5, "greetings")),
    ];
    let (bindings, found) = bind("io.statefun.playground.v1/egress", spec);
    assert!(bindings.egresses.is_empty());
    let expected = [
        "module.yaml:3:1: error: `port`: expected a whole number from 0 to 65535, found `80900`",
        "module.yaml:4:1: error: `topics`: expected a name of at most 100 bytes that neither begins nor ends \
         with `/`, found `/a`",
        "module.yaml:5:1: warning: unknown field `topic`; did you mean `topics`? (it has no effect)",
    ];
    assert_eq!(found, expected);
    let (_, found) = bind("io.statefun.playground.v1/egress", vec![]);
    assert_eq!(found.len(), 2, "{found:?}");
    let (_, found) = bind(
        "io.statefun.playground.v1/egress",
        vec![("port", text(3, "1")), ("topics", text(4, "greetings"))],
    );
    assert_eq!(found, ["module.yaml:4:1: error: `topics`: expected a list, found `greetings`"]);
}
