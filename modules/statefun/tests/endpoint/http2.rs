//! HTTP/2 in the clear, for endpoints that the manifest says speak it; over TLS see `tls.rs`.

use bytes::Bytes;
use dormouse_statefun::transport::{HttpVersion, Transport};
use http::Version;
use http_body_util::Full;

use crate::calls::{NO_EFFECTS, assert_no_effects, bob, brief, call, function, ms, refusal, run};
use crate::server::{HTTP2, Spoken, answer_raw, good, hyper_server, plain_server, raw_server};

fn two() -> Transport {
    Transport { http_version: HttpVersion::Two, ..Transport::default() }
}

#[test]
fn many_calls_share_one_connection() {
    run(async {
        let (address, seen) = plain_server(HTTP2, async |_| {
            tokio::time::sleep(ms(5)).await;
            good(NO_EFFECTS)
        })
        .await;
        let function = function(&format!("http://{address}/f?v=1"), two());
        let calls: Vec<_> =
            (0..200).map(|_| tokio::task::spawn_local(function.invoke(bob(0)))).collect();
        for call in calls {
            assert_no_effects(call.await.unwrap());
        }
        assert_eq!(seen.connections.get(), 1);
        assert!(seen.busiest.get() > 10, "{}", seen.busiest.get());
        assert_eq!(seen.requests.borrow()[0].len(), 66);
        let heads = seen.heads.borrow();
        assert_eq!((heads[0].version, heads[0].method.as_str()), (Version::HTTP_2, "POST"));
        assert_eq!(heads[0].uri.to_string(), format!("http://{address}/f?v=1"));
        for (name, value) in [
            ("content-type", "application/octet-stream"),
            ("accept", "application/octet-stream"),
            ("accept-encoding", "gzip,deflate"),
            ("user-agent", "statefun"),
            ("content-length", "66"),
        ] {
            assert_eq!(heads[0].headers[name], value);
        }
    });
}

#[test]
fn the_endpoint_limits_the_calls_at_once() {
    run(async {
        let spoken = Spoken { streams: Some(4), ..HTTP2 };
        let (address, seen) = plain_server(spoken, async |_| {
            tokio::time::sleep(ms(2)).await;
            good(NO_EFFECTS)
        })
        .await;
        let function = function(&format!("http://{address}/"), two());
        // The first answer brings the endpoint's limit.
        assert_no_effects(function.invoke(bob(0)).await);
        let calls: Vec<_> =
            (0..60).map(|_| tokio::task::spawn_local(function.invoke(bob(0)))).collect();
        for call in calls {
            assert_no_effects(call.await.unwrap());
        }
        assert_eq!((seen.connections.get(), seen.busiest.get()), (1, 4));
    });
}

#[test]
fn the_pool_size_limits_the_calls_at_once() {
    run(async {
        let (address, seen) = plain_server(HTTP2, async |_| {
            tokio::time::sleep(ms(2)).await;
            good(NO_EFFECTS)
        })
        .await;
        let transport = Transport { pool_size: 3, ..two() };
        let function = function(&format!("http://{address}/"), transport);
        let calls: Vec<_> =
            (0..60).map(|_| tokio::task::spawn_local(function.invoke(bob(0)))).collect();
        for call in calls {
            assert_no_effects(call.await.unwrap());
        }
        assert_eq!((seen.connections.get(), seen.busiest.get()), (1, 3));
    });
}

#[test]
fn an_endpoint_that_asks_to_leave_gets_a_new_connection() {
    run(async {
        let spoken = Spoken { requests: Some(10), ..HTTP2 };
        let (address, seen) = plain_server(spoken, async |_| good(NO_EFFECTS)).await;
        // Without another try at once, none of these fits into the budget of attempts.
        let function = function(&format!("http://{address}/"), two());
        for _ in 0..50 {
            assert_no_effects(function.invoke(bob(0)).await);
        }
        assert!((5..=10).contains(&seen.connections.get()), "{}", seen.connections.get());
    });
}

#[test]
fn large_bodies_pass_in_both_directions() {
    run(async {
        // An unknown field of 3 MB, which a reader skips.
        let body: &'static [u8] = Box::leak(
            [&[0x0a, 0x80, 0x80, 0xc0, 0x01][..], &vec![0; 3 << 20]].concat().into_boxed_slice(),
        );
        let (address, seen) = plain_server(HTTP2, move |_| async move { good(body) }).await;
        let function = function(&format!("http://{address}/"), two());
        for _ in 0..2 {
            assert_no_effects(function.invoke(bob(5 << 20)).await);
        }
        assert!(seen.requests.borrow().iter().all(|body| body.len() > 5 << 20));
        assert_eq!(seen.connections.get(), 1);
    });
}

#[test]
fn an_answer_beyond_the_limit_is_refused() {
    run(async {
        let (address, _) = plain_server(HTTP2, async |_| good(NO_EFFECTS)).await;
        let http_version = HttpVersion::Two;
        // Long enough for one answer on a busy machine.
        let transport =
            Transport { payload_bytes_max: 2, http_version, call: ms(1_000), ..brief() };
        let message = refusal(call(format!("http://{address}/"), transport).await);
        assert!(message.contains("longer than 2 bytes (`payload_max_bytes`)"), "{message}");
    });
}

#[test]
fn failures_are_judged_as_with_the_older_version() {
    run(async {
        let (address, seen) = plain_server(HTTP2, async |number| match number {
            1 => http::Response::builder().status(404).body(Full::default()).unwrap(),
            2 => http::Response::new(Full::default()),
            _ => good(NO_EFFECTS),
        })
        .await;
        assert_no_effects(call(format!("http://{address}/"), two()).await);
        assert_eq!(seen.requests.borrow().len(), 3);
        let (address, _) = plain_server(HTTP2, async |_| {
            let body = Bytes::from_static(b"no such function");
            http::Response::builder().status(500).body(Full::from(body)).unwrap()
        })
        .await;
        let transport = Transport { http_version: HttpVersion::Two, ..brief() };
        let message = refusal(call(format!("http://{address}/"), transport).await);
        assert!(message.contains("got 500 Internal Server Error, `no such function`"), "{message}");
    });
}

#[test]
fn silence_ends_an_attempt_of_okhttp() {
    run(async {
        let (address, seen) = plain_server(HTTP2, async |number| {
            if number == 1 {
                std::future::pending::<()>().await;
            }
            good(NO_EFFECTS)
        })
        .await;
        let transport = Transport {
            http_version: HttpVersion::Two,
            read: Some(ms(50)),
            write: Some(ms(50)),
            ..Transport::okhttp()
        };
        assert_no_effects(call(format!("http://{address}/"), transport).await);
        assert_eq!(seen.requests.borrow().len(), 2);
        assert_eq!(seen.connections.get(), 2, "a connection that was silent is not used again");
    });
}

#[test]
fn an_endpoint_that_speaks_another_version_is_named() {
    run(async {
        let (address, _) = hyper_server(async |_| good(NO_EFFECTS)).await;
        let transport = Transport { http_version: HttpVersion::Two, ..brief() };
        let message = refusal(call(format!("http://{address}/"), transport).await);
        assert!(message.contains("HTTP/2 failed"), "{message}");
        // The other way round: what an endpoint of HTTP/2 says first is no answer.
        let address = raw_server(async |_, mut stream| {
            answer_raw(&mut stream, b"\0\0\x12\x04\0\0\0\0\0").await;
        })
        .await;
        let message = refusal(call(format!("http://{address}/"), brief()).await);
        assert!(message.contains("expected an HTTP answer, got"), "{message}");
        assert!(message.contains("`http_version: 2`"), "{message}");
    });
}

#[test]
fn an_old_connection_is_replaced_and_ends() {
    run(async {
        let (address, seen) = plain_server(HTTP2, async |_| good(NO_EFFECTS)).await;
        let transport = Transport { pool_ttl: ms(1), ..two() };
        let function = function(&format!("http://{address}/"), transport);
        assert_no_effects(function.invoke(bob(0)).await);
        assert_eq!(seen.open.get(), 1);
        tokio::time::sleep(ms(4_500)).await;
        assert_eq!(seen.open.get(), 0, "nobody uses it, so it is closed");
        assert_no_effects(function.invoke(bob(0)).await);
        assert_eq!(seen.connections.get(), 2);
    });
}
