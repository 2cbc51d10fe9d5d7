//! What StateFun's transports do, line by line: what counts as an answer, how servers of its SDKs signal
//! errors, and what is tried again. Where StateFun would end by stopping the job, a call here ends with
//! a text for its reader, and only its address waits.

use std::rc::Rc;
use std::time::{Duration, Instant};

use dormouse_statefun::transport::Transport;
use http_body_util::Full;
use tokio::io::AsyncWriteExt as _;

use crate::calls::{
    GOOD_RAW, NO_EFFECTS, assert_no_effects, bob, brief, call, function, ms, refusal, run,
};
use crate::server::{
    Answer, Seen, answer_raw, good, hyper_server, raw_server, read_request, status,
};

fn answer(status: u16, fields: &[(&str, &str)], body: &'static [u8]) -> Answer {
    let builder = http::Response::builder().status(status);
    let builder =
        fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
    builder.body(Full::from(body)).unwrap()
}

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

/// Calls a server that always answers so: how it ends, and in how many attempts.
async fn outcome(
    transport: Transport,
    always: (u16, &'static [(&'static str, &'static str)], &'static [u8]),
) -> (Result<(), String>, usize) {
    let (code, fields, body) = always;
    let (address, seen) = hyper_server(move |_| async move { answer(code, fields, body) }).await;
    let ended = call(format!("http://{address}/"), transport).await;
    let attempts = seen.requests.borrow().len();
    (ended.map(drop).map_err(|error| error.message), attempts)
}

/// With little time for attempts after the first.
fn okhttp() -> Transport {
    Transport { call: ms(60), connect: ms(60), read: None, write: None, ..Transport::okhttp() }
}

#[test]
fn okhttp_says_less_about_what_it_accepts() {
    run(async {
        let (address, seen) = hyper_server(async |_| good(NO_EFFECTS)).await;
        assert_no_effects(call(format!("http://{address}/f"), Transport::okhttp()).await);
        let head = &seen.heads.borrow()[0];
        assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/f"));
        assert_eq!(head.headers["content-type"], "application/octet-stream");
        assert_eq!(head.headers["accept-encoding"], "gzip");
        assert!(!head.headers.contains_key("accept"));
        assert_eq!(head.headers["user-agent"], "statefun");
    });
}

#[test]
fn every_status_from_200_to_299_is_good() {
    run(async {
        for code in [200, 201, 202, 206, 299] {
            for transport in [brief(), okhttp()] {
                let (ended, attempts) = outcome(transport, (code, &[OCTETS], NO_EFFECTS)).await;
                assert_eq!((ended, attempts), (Ok(()), 1), "{code}");
            }
        }
        // No content, and so no content type.
        let (ended, _) = outcome(brief(), (204, &[], b"")).await;
        assert!(ended.unwrap_err().contains("expected the content type"));
    });
}

#[test]
fn an_empty_body_of_the_right_type_has_no_effects() {
    run(async {
        for transport in [brief(), okhttp()] {
            let (ended, attempts) = outcome(transport, (200, &[OCTETS], b"")).await;
            assert_eq!((ended, attempts), (Ok(()), 1));
        }
    });
}

#[test]
fn the_content_type_is_compared_as_each_transport_does() {
    run(async {
        for (content_type, is_async_good, is_okhttp_good) in [
            ("application/octet-stream", true, true),
            ("Application/Octet-Stream", true, false),
            ("text/plain, application/octet-stream", true, false),
            ("application/octet-stream; charset=utf-8", false, false),
            ("text/plain", false, false),
            ("", false, false),
        ] {
            let fields: &'static [_] = Box::leak(Box::new([("Content-Type", content_type)]));
            for (transport, is_good) in [(brief(), is_async_good), (okhttp(), is_okhttp_good)] {
                let (ended, _) = outcome(transport, (200, fields, NO_EFFECTS)).await;
                assert_eq!(ended.is_ok(), is_good, "`{content_type}`: {ended:?}");
            }
        }
    });
}

#[test]
fn each_sdk_tells_of_a_failed_function_in_its_own_way() {
    run(async {
        for (sdk, always, said) in [
            ("javascript", (500, &[OCTETS][..], &b""[..]), "got 500 Internal Server Error ("),
            (
                "go",
                (500, &[("Content-Type", "text/plain; charset=utf-8")], b"no function for a/b\n"),
                "got 500 Internal Server Error, `no function for a/b` (",
            ),
            (
                "go, asked in the wrong way",
                (415, &[], b"invalid Content-Type"),
                "got 415 Unsupported Media Type, `invalid Content-Type` (",
            ),
            (
                "python",
                (500, &[("Content-Type", "text/plain")], b"500 Internal Server Error"),
                "got 500 Internal Server Error, `500 Internal Server Error` (",
            ),
            (
                "java",
                (200, &[("Status", "500")], b""),
                "got none, with the header `status: 500`: the function failed (",
            ),
        ] {
            let (ended, attempts) = outcome(brief(), always).await;
            let message = ended.unwrap_err();
            assert!(message.contains(said), "{sdk}: {message}");
            assert!(message.starts_with("calling example/person/Bob at http://127.0.0.1:"));
            assert!(attempts > 1, "{sdk}: {attempts}");
        }
    });
}

#[test]
fn async_tries_every_failure_again_and_okhttp_only_some() {
    run(async {
        const BAD_TYPE: &[(&str, &str)] = &[("Content-Type", "text/plain")];
        const GARBAGE: &[u8] = b"\xff\xff\xff";
        for (always, okhttp_tries_again) in [
            ((400, &[][..], &b""[..]), false),
            ((401, &[], b""), false),
            ((404, &[], b""), false),
            ((405, &[], b""), false),
            ((415, &[], b""), false),
            ((408, &[], b""), true),
            ((409, &[], b""), true),
            ((420, &[], b""), true),
            ((429, &[], b""), true),
            ((499, &[], b""), true),
            ((500, &[], b""), true),
            ((503, &[], b""), true),
            ((200, BAD_TYPE, NO_EFFECTS), false),
            ((200, &[OCTETS], GARBAGE), false),
        ] {
            let (ended, attempts) = outcome(brief(), always).await;
            assert!(ended.is_err() && attempts > 1, "async, {}: {attempts}", always.0);
            let (ended, attempts) = outcome(okhttp(), always).await;
            assert!(ended.is_err());
            assert_eq!(attempts > 1, okhttp_tries_again, "okhttp, {}: {attempts}", always.0);
        }
    });
}

#[test]
fn an_answer_that_is_too_long_is_tried_again_by_async_and_final_for_okhttp() {
    run(async {
        for (transport, tries_again) in [(brief(), true), (okhttp(), false)] {
            let transport = Transport { payload_bytes_max: 2, ..transport };
            let (ended, attempts) = outcome(transport, (200, &[OCTETS], NO_EFFECTS)).await;
            assert!(ended.unwrap_err().contains("`payload_max_bytes`"));
            assert_eq!(attempts > 1, tries_again);
        }
    });
}

#[test]
fn a_broken_connection_is_tried_again_by_both() {
    run(async {
        for transport in [Transport::default(), Transport::okhttp()] {
            let address = raw_server(async |number, mut stream| {
                if number < 3 {
                    read_request(&mut stream).await;
                } else {
                    answer_raw(&mut stream, GOOD_RAW).await;
                }
            })
            .await;
            assert_no_effects(call(format!("http://{address}/"), transport).await);
        }
    });
}

#[test]
fn a_hung_function_is_called_once_by_async_and_again_by_okhttp() {
    run(async {
        let hang = async |_| std::future::pending().await;
        let (address, seen) = hyper_server(hang).await;
        let message = refusal(call(format!("http://{address}/"), brief()).await);
        assert!(message.contains("expected an answer within "), "{message}");
        assert_eq!(seen.requests.borrow().len(), 1);
        // Each attempt of okhttp has all of `call`, and another begins while `call` has not passed.
        let (address, seen) = hyper_server(hang).await;
        let transport = Transport { read: Some(ms(20)), ..okhttp() };
        let message = refusal(call(format!("http://{address}/"), transport).await);
        assert!(message.contains("nothing came for 20ms"), "{message}");
        assert!(seen.requests.borrow().len() > 1);
    });
}

#[test]
fn the_budget_of_async_counts_everything() {
    run(async {
        // Failing answers that take a while, pauses, and a last attempt that hangs.
        let (address, seen) = hyper_server(async |number| {
            if number > 3 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(ms(20)).await;
            status(503)
        })
        .await;
        let begun = Instant::now();
        let transport = Transport { call: ms(400), ..Transport::default() };
        let message = refusal(call(format!("http://{address}/"), transport).await);
        assert!(begun.elapsed() >= ms(400), "{:?}", begun.elapsed());
        assert_eq!(seen.requests.borrow().len(), 4);
        let met = "expected a status from 200 to 299, got 503 Service Unavailable; then expected an \
                   answer within ";
        assert!(message.contains(met), "what came before is told, too: {message}");
    });
}

#[test]
fn okhttp_waits_for_a_connection_as_long_as_for_an_answer() {
    run(async {
        let (address, _) = hyper_server(async |_| std::future::pending().await).await;
        let transport = Transport {
            pool_size: 1,
            connect: ms(20),
            call: ms(150),
            read: None,
            ..Transport::okhttp()
        };
        let function = function(&format!("http://{address}/"), transport);
        let first = tokio::task::spawn_local(function.invoke(bob(0)));
        tokio::task::yield_now().await;
        let message = refusal(function.invoke(bob(0)).await);
        assert!(message.contains("expected an answer within 150"), "{message}");
        assert!(!message.contains("busy"), "{message}");
        refusal(first.await.unwrap());
    });
}

#[test]
fn idle_connections_of_okhttp_are_closed_and_those_in_use_are_not() {
    run(async {
        let (address, seen): (_, Rc<Seen>) = hyper_server(async |number| {
            if number == 2 {
                tokio::time::sleep(ms(300)).await;
            }
            good(NO_EFFECTS)
        })
        .await;
        let transport = Transport { idle: Some(ms(100)), ..Transport::okhttp() };
        let function = function(&format!("http://{address}/"), transport);
        for _ in 0..3 {
            assert_no_effects(function.invoke(bob(0)).await);
        }
        assert_eq!(seen.connections.get(), 1, "an answer that takes long is no idling");
        let limit = Instant::now() + Duration::from_secs(10);
        while seen.open.get() > 0 {
            assert!(Instant::now() < limit, "an idle connection stays open");
            tokio::time::sleep(ms(20)).await;
        }
        assert_no_effects(function.invoke(bob(0)).await);
        assert_eq!(seen.connections.get(), 2);
    });
}

#[test]
fn compressed_answers_and_errors_are_unpacked() {
    run(async {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"out of cheese").unwrap();
        let packed: &'static [u8] = Box::leak(encoder.finish().unwrap().into_boxed_slice());
        let (ended, _) = outcome(brief(), (500, &[("Content-Encoding", "gzip")], packed)).await;
        let message = ended.unwrap_err();
        assert!(message.contains("got 500 Internal Server Error, `out of cheese`"), "{message}");
        // A small answer that is a very large one.
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 40 << 20]).unwrap();
        let bomb: &'static [u8] = Box::leak(encoder.finish().unwrap().into_boxed_slice());
        assert!(bomb.len() < 50_000);
        let transport = Transport { call: Duration::from_secs(5), ..okhttp() };
        let (ended, _) =
            outcome(transport, (200, &[OCTETS, ("Content-Encoding", "gzip")], bomb)).await;
        let message = ended.unwrap_err();
        assert!(message.contains("the unpacked answer is longer than 33554432 bytes"), "{message}");
    });
}

/// Byte by byte.
async fn trickle(stream: &mut tokio::net::TcpStream, answer: &[u8]) {
    read_request(stream).await;
    for byte in answer {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(ms(20)).await;
    }
}

#[test]
fn an_answer_that_trickles_is_read_while_call_has_not_passed() {
    run(async {
        let address = raw_server(async |_, mut stream| trickle(&mut stream, GOOD_RAW).await).await;
        // Longer than the silence that is allowed, which no pause is.
        let transport = Transport { read: Some(ms(1_000)), ..Transport::okhttp() };
        let begun = Instant::now();
        assert_no_effects(call(format!("http://{address}/"), transport).await);
        assert!(begun.elapsed() > ms(1_000));
        let connections = Rc::new(std::cell::Cell::new(0));
        let seen = Rc::clone(&connections);
        let address = raw_server(move |number, mut stream| {
            seen.set(number);
            async move { trickle(&mut stream, GOOD_RAW).await }
        })
        .await;
        let transport = Transport { call: ms(200), ..Transport::default() };
        let message = refusal(call(format!("http://{address}/"), transport).await);
        assert!(message.contains("expected an answer within "), "{message}");
        assert_eq!(connections.get(), 1, "a call that has had its time is not made again");
    });
}

/// `localhost` has an address of each family on most machines, and the server listens on one of them.
#[test]
fn a_host_is_called_at_the_address_that_serves() {
    run(async {
        let (address, seen) = hyper_server(async |_| good(NO_EFFECTS)).await;
        let port = address.port();
        assert_no_effects(call(format!("http://localhost:{port}/f"), Transport::default()).await);
        let head = &seen.heads.borrow()[0];
        assert_eq!(head.headers["host"], format!("localhost:{port}"));
    });
}
