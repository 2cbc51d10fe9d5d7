//! Requests with an idempotency key.

use std::time::Duration;

use dormouse_http::ingress::Settings;
use dormouse_protocol::partition_of;
use dormouse_testkit::client::{Answer, send};
use dormouse_testkit::run;

use super::{Served, brief, serve};

async fn post(served: &Served, path: &str, key: &str, body: &str) -> (u16, String) {
    let header = format!("idempotency-key: {key}");
    let answer: Answer = send(served.address, &format!("POST {path}"), &[&header], body).await;
    (answer.status, answer.text().to_owned())
}

fn ok(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

#[test]
fn a_repeat_gets_the_stored_reply() {
    run(async {
        let served = serve(Settings::default());
        for _ in 0..3 {
            let answer = post(&served, "/example/counter/c?wait=5s", "k", "add").await;
            assert_eq!(answer, ok("1"));
        }
        assert_eq!(post(&served, "/example/counter/c?wait=5s", "l", "add").await, ok("2"));
        assert!(served.memory.failures().is_empty(), "{:?}", served.memory.failures());
    });
}

#[test]
fn the_same_key_with_another_body_is_refused() {
    run(async {
        let served = serve(Settings::default());
        assert_eq!(post(&served, "/example/counter/c?wait=5s", "k", "add").await, ok("1"));
        for path in ["/example/counter/c?wait=5s", "/example/counter/c"] {
            let (status, text) = post(&served, path, "k", "other").await;
            assert_eq!(status, 422);
            assert!(text.contains("was used for a request with another body"), "{text}");
        }
        assert_eq!(post(&served, "/example/counter/c?wait=5s", "k", "add").await, ok("1"));
    });
}

#[test]
fn a_request_that_does_not_wait_is_accepted_each_time_and_done_once() {
    run(async {
        let served = serve(Settings::default());
        for _ in 0..3 {
            let (status, _) = post(&served, "/example/counter/c", "k", "add").await;
            assert_eq!(status, 202);
        }
        assert_eq!(post(&served, "/example/counter/c?wait=5s", "k", "add").await, ok("1"));
        assert_eq!(post(&served, "/example/counter/c?wait=5s", "new", "add").await, ok("2"));
    });
}

#[test]
fn repeats_attach_while_the_reply_is_awaited() {
    run(async {
        let served = serve(Settings::default());
        let (a, b, c) = tokio::join!(
            post(&served, "/example/slow/s?wait=5s", "k", "150"),
            post(&served, "/example/slow/s?wait=5s", "k", "150"),
            post(&served, "/example/slow/s?wait=10ms", "k", "150"),
        );
        assert_eq!((a, b), (ok("1"), ok("1")));
        assert_eq!(c.0, 504);
        assert_eq!(post(&served, "/example/slow/s?wait=5s", "k", "150").await, ok("1"));
    });
}

#[test]
fn keys_of_different_targets_do_not_meet() {
    run(async {
        let served = serve(Settings::default());
        let first = post(&served, "/example/counter/a%3Ab?wait=5s", "c:d/e", "add").await;
        let second = post(&served, "/example/counter/a?wait=5s", "b:c:d/e", "add").await;
        let third = post(&served, "/example/echo/a?wait=5s", "b:c:d/e", "add").await;
        assert_eq!((first, second, third), (ok("1"), ok("1"), ok("add")));
        let instances = served.memory.submitted();
        assert_eq!(instances.len(), 3);
        for (instance, id) in instances.iter().zip(["a:b", "a", "a"]) {
            assert_eq!(instance.target.function_type.as_str(), "dormouse.http/request");
            let mut target = instance.target.clone();
            target.function_type = dormouse_protocol::FunctionType::new("example", "counter");
            target.id = id.into();
            assert_eq!(partition_of(&instance.target, 128), partition_of(&target, 128));
        }
    });
}

#[test]
fn a_request_is_forgotten_after_a_day() {
    run(async {
        let served = serve(Settings::default());
        assert_eq!(post(&served, "/example/counter/c?wait=5s", "k", "add").await, ok("1"));
        assert_eq!(served.memory.fire_delayed(), [24 * 3_600 * 1_000]);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(post(&served, "/example/counter/c?wait=5s", "k", "other").await, ok("2"));
    });
}

#[test]
fn a_reply_that_is_too_long_to_keep_reaches_those_who_wait() {
    run(async {
        let served = serve(Settings::default());
        let (status, text) = post(&served, "/example/large/x?wait=5s", "k", "2000000").await;
        assert_eq!((status, text.len()), (200, 2_000_000));
        let (status, text) = post(&served, "/example/large/x?wait=5s", "k", "2000000").await;
        assert_eq!(status, 410);
        assert!(text.starts_with("the request was done; its reply was longer than 1048576 bytes"));
    });
}

#[test]
fn keys_are_bounded() {
    run(async {
        let served = serve(brief());
        let (status, text) = post(&served, "/example/echo/x", &"k".repeat(257), "").await;
        assert_eq!(status, 400);
        assert_eq!(text, "expected an Idempotency-Key of 1 to 256 bytes of UTF-8\n");
        let path = format!("/example/echo/{}", "x".repeat(32 * 1024 - 10));
        let (status, text) = post(&served, &path, "key", "").await;
        assert_eq!(status, 400);
        assert!(text.contains("have 32781 bytes together"), "{text}");
        assert!(served.memory.submitted().is_empty());
    });
}

#[test]
fn a_function_that_never_replies_is_a_504_each_time() {
    run(async {
        let served = serve(Settings::default());
        for _ in 0..2 {
            let (status, text) = post(&served, "/example/silent/x?wait=50ms", "k", "").await;
            assert_eq!(status, 504);
            assert!(text.starts_with("the message was accepted; no reply came"), "{text}");
        }
    });
}

#[test]
fn what_is_not_durable_in_time_is_a_503() {
    run(async {
        let served = serve(brief());
        served.memory.set_durable(false);
        for path in ["/example/counter/c?wait=50ms", "/example/counter/c"] {
            let (status, text) = post(&served, path, "k", "add").await;
            assert_eq!(status, 503, "{text}");
        }
    });
}
