//! Messages and replies: what goes in, what comes out, and what each mistake is told.

use std::time::{Duration, Instant};

use dormouse_http::ingress::Settings;
use dormouse_protocol::types;
use dormouse_testkit::client::{Client, send};
use dormouse_testkit::run;

use super::{brief, serve};

#[test]
fn a_message_is_accepted_once_durable_and_has_no_caller() {
    run(async {
        let served = serve(Settings::default());
        let answer = send(served.address, "POST /example/greeter/Bob", &[], "Ada").await;
        assert_eq!((answer.status, answer.text()), (202, "accepted\n"));
        let submitted = served.memory.submitted();
        assert_eq!(submitted.len(), 1);
        assert_eq!(submitted[0].target.to_string(), "example/greeter/Bob");
        assert_eq!(submitted[0].caller, None);
        assert_eq!(submitted[0].value.typename, types::STRING);
        assert!(submitted[0].value.has_value);
        assert_eq!(types::decode_string(&submitted[0].value.value).unwrap(), "Ada");
    });
}

#[test]
fn a_request_that_waits_gets_the_reply() {
    run(async {
        let served = serve(Settings::default());
        let asked = [
            ("POST /example/greeter/x?wait=5s", "content-type: text/plain"),
            ("POST /example/greeter/x", "prefer: wait=5"),
            ("POST /example/greeter/x?wait=5", "content-type: application/x-www-form-urlencoded"),
        ];
        for (line, header) in asked {
            let answer = send(served.address, line, &[header], "Ada").await;
            assert_eq!((answer.status, answer.text()), (200, "Hello Ada!"), "{line}");
            assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        }
        assert_eq!(served.memory.waiting_replies(), 0);
        assert!(served.memory.failures().is_empty());
    });
}

#[test]
fn values_of_named_types_pass_as_they_are() {
    run(async {
        let served = serve(Settings::default());
        let header = "content-type: application/vnd.example/Thing";
        let line = "POST /example/echo/x?wait=5s";
        let answer = send(served.address, line, &[header], b"\x00\xff\x01").await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"\x00\xff\x01"[..]));
        assert_eq!(answer.header("content-type"), "application/vnd.example/Thing");
        let submitted = served.memory.submitted();
        assert_eq!(submitted[0].value.typename, "example/Thing");
    });
}

#[test]
fn other_content_types_take_the_manifests_type_or_are_refused() {
    run(async {
        let json = ["content-type: application/json"];
        let served = serve(Settings::default());
        let answer = send(served.address, "POST /example/echo/x", &json, "{}").await;
        assert_eq!(answer.status, 415);
        assert!(answer.text().contains("`application/json` means no type here"));
        assert!(served.memory.submitted().is_empty());
        let value_type = Some("example/Json".into());
        let served = serve(Settings { value_type, ..Settings::default() });
        let answer = send(served.address, "POST /example/echo/x?wait=5s", &json, "{}").await;
        assert_eq!(answer.header("content-type"), "application/vnd.example/Json");
        assert_eq!(answer.text(), "{}");
    });
}

#[test]
fn ids_are_percent_decoded() {
    run(async {
        let served = serve(Settings::default());
        let answer = send(served.address, "POST /example/greeter/a%2Fb%20%C3%BC", &[], "").await;
        assert_eq!(answer.status, 202);
        assert_eq!(served.memory.submitted()[0].target.id, "a/b ü");
        let long = format!("POST /example/greeter/{}", "x".repeat(32 * 1024));
        assert_eq!(send(served.address, &long, &[], "").await.status, 202);
        let answer = send(served.address, &format!("{long}x"), &[], "").await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.text(), "the id has 32769 bytes; at most 32768 are allowed\n");
    });
}

#[test]
fn mistakes_are_told_in_one_line_and_nothing_is_accepted() {
    run(async {
        let served = serve(Settings::default());
        let mistakes = [
            ("POST /", 404, "expected POST /<namespace>/<type>/<id>"),
            ("POST /example/greeter", 404, "expected POST /<namespace>/<type>/<id>"),
            ("POST /example/greeter/a/b", 404, "a `/` within a part is written `%2F`"),
            ("POST /example/greeter/", 400, "no part may be empty"),
            ("POST /example/greeter/%zz", 400, "two hexadecimal digits"),
            ("POST /example/nobody/x", 404, "nobody serves the function type example/nobody"),
            ("POST /dormouse.http/request/x", 403, "namespace `dormouse.http` cannot be a target"),
            ("POST /example/greeter/x?wait=soon", 400, "`wait=soon`: expected a duration"),
            ("PUT /example/greeter/x", 405, "expected POST"),
            ("GET /example/greeter/x", 405, "expected POST"),
        ];
        for (line, status, text) in mistakes {
            let answer = send(served.address, line, &[], "body").await;
            assert_eq!(answer.status, status, "{line}");
            assert!(answer.text().contains(text), "{line}: {}", answer.text());
            assert_eq!(answer.text().lines().count(), 1);
            assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
            assert_eq!(answer.header("allow"), if status == 405 { "POST" } else { "" });
        }
        let answer = send(served.address, "POST /example/greeter/x", &[], b"\xff\xfe").await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().starts_with("the body is no UTF-8 text"));
        assert!(served.memory.submitted().is_empty());
    });
}

#[test]
fn a_reply_that_does_not_come_in_time_is_a_504_and_the_message_accepted() {
    run(async {
        let served = serve(Settings::default());
        let begun = Instant::now();
        let answer = send(served.address, "POST /example/silent/x?wait=50ms", &[], "").await;
        assert_eq!(answer.status, 504);
        assert_eq!(answer.text(), "the message was accepted; no reply came within 50ms\n");
        assert!(begun.elapsed() >= Duration::from_millis(50));
        assert_eq!(served.memory.submitted().len(), 1);
        assert_eq!(served.memory.waiting_replies(), 0);
    });
}

#[test]
fn what_is_not_durable_in_time_is_a_503() {
    run(async {
        let served = serve(brief());
        served.memory.set_durable(false);
        for line in ["POST /example/greeter/x", "POST /example/greeter/x?wait=100ms"] {
            let answer = send(served.address, line, &[], "").await;
            assert_eq!(answer.status, 503, "{line}");
            assert!(answer.text().contains("was not durable within"), "{}", answer.text());
        }
    });
}

#[test]
fn a_wait_is_cut_to_the_manifests_longest() {
    run(async {
        let served = serve(brief());
        let answer = send(served.address, "POST /example/silent/x?wait=1h", &[], "").await;
        assert_eq!(answer.text(), "the message was accepted; no reply came within 200ms\n");
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let served = serve(Settings::default());
        let mut client = Client::connect(served.address).await;
        for name in ["a", "b", "c"] {
            let line = "POST /example/greeter/x?wait=5s";
            client.write(line, &[], name.as_bytes()).await;
        }
        for name in ["a", "b", "c"] {
            let answer = client.answer().await.unwrap();
            assert_eq!(answer.text(), format!("Hello {name}!"));
        }
    });
}

#[test]
fn a_client_that_leaves_gives_its_reply_up() {
    run(async {
        let served = serve(Settings::default());
        let mut client = Client::connect(served.address).await;
        client.write("POST /example/silent/x?wait=30s", &[], b"").await;
        while served.memory.waiting_replies() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(client);
        while served.memory.waiting_replies() == 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}
