//! Remote functions against real servers, good and bad: what goes over the wire, what counts as an
//! answer, what is tried again, and how connections are shared.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod calls;
mod gather;
mod http2;
mod redirects;
mod server;
mod sockets;
mod statefun;
mod tls;

use std::rc::Rc;
use std::time::{Duration, Instant};

use calls::{
    GOOD_RAW, NO_EFFECTS, assert_no_effects, bob, brief, call, function, ms, refusal, run,
};
use dormouse_protocol::{FunctionType, Response, StateSpec};
use dormouse_sdk::function::FunctionProvider as _;
use dormouse_statefun::function::EndpointProvider;
use dormouse_statefun::transport::Transport;
use dormouse_statefun::url::UrlTemplate;
use http_body_util::Full;
use server::{answer_raw, good, hyper_server, raw_server, read_request, status};
use tokio::io::AsyncWriteExt as _;

#[test]
fn the_request_is_what_statefun_sends() {
    run(async {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let sender = Rc::new(std::cell::RefCell::new(Some(sender)));
        let address = raw_server(move |_, mut stream| {
            let sender = sender.borrow_mut().take().unwrap();
            async move {
                let request = read_request(&mut stream).await.unwrap();
                stream.write_all(GOOD_RAW).await.unwrap();
                let _ = sender.send(request);
            }
        })
        .await;
        let url = format!("http://{address}/statefun/{{function.name}}?v=1");
        assert_no_effects(call(url, Transport::default()).await);
        let (head, body) = receiver.await.unwrap();
        let port = address.port();
        let expected = [
            "POST /statefun/person?v=1 HTTP/1.1",
            &format!("host: 127.0.0.1:{port}"),
            "content-type: application/octet-stream",
            "accept: application/octet-stream",
            "accept-encoding: gzip,deflate",
            "connection: keep-alive",
            "user-agent: statefun",
            "content-length: 66",
        ];
        assert_eq!(head.lines().collect::<Vec<_>>(), expected);
        let golden = "a2063f0a160a076578616d706c651206706572736f6e1a03426f621a2512230a18696f2e73\
                      7461746566756e2e74797065732f737472696e6710011a050a03426f62";
        let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
    });
}

#[test]
fn calls_one_after_the_other_share_a_connection() {
    run(async {
        let (address, seen) = hyper_server(async |_| good(NO_EFFECTS)).await;
        let function = function(&format!("http://{address}/"), Transport::default());
        for _ in 0..20 {
            assert_no_effects(function.invoke(bob(0)).await);
        }
        assert_eq!(seen.requests.borrow().len(), 20);
        assert_eq!(seen.connections.get(), 1);
    });
}

#[test]
fn missing_states_come_back_to_be_registered() {
    run(async {
        const MISSING: &[u8] =
            b"\xaa\x06\x23\x0a\x21\x0a\x06visits\x12\x00\x1a\x15io.statefun.types/int";
        let (address, _) = hyper_server(async |_| good(MISSING)).await;
        let response = call(format!("http://{address}/"), Transport::default()).await;
        let Ok(Response::Incomplete(specs)) = response else {
            panic!("expected the missing states, got {response:?}");
        };
        let names: Vec<_> = specs.iter().map(|StateSpec { name, .. }| name.as_str()).collect();
        assert_eq!(names, ["visits"]);
    });
}

#[test]
fn failed_attempts_are_repeated_with_growing_delays() {
    run(async {
        let (address, seen) = hyper_server(async |number| match number {
            1 => status(500),
            2 => status(404),
            3 => status(200),
            _ => good(NO_EFFECTS),
        })
        .await;
        let begun = Instant::now();
        assert_no_effects(call(format!("http://{address}/"), Transport::default()).await);
        assert!(begun.elapsed() >= ms(4 + 8 + 16), "{:?}", begun.elapsed());
        let requests = seen.requests.borrow();
        assert_eq!(requests.len(), 4);
        assert!(requests.iter().all(|body| *body == requests[0]));
    });
}

#[test]
fn an_answer_without_the_content_type_is_no_answer() {
    run(async {
        let (address, seen) = hyper_server(async |_| {
            let builder = http::Response::builder().header("Status", "500");
            builder.body(Full::default()).unwrap()
        })
        .await;
        let transport = Transport { call: ms(60), ..brief() };
        let message = refusal(call(format!("http://{address}/f"), transport).await);
        assert!(
            message.contains("expected the content type `application/octet-stream`, got none"),
            "{message}"
        );
        assert!(message.contains("`status: 500`: the function failed"), "{message}");
        let attempts = seen.requests.borrow().len();
        assert!((3..=4).contains(&attempts), "{attempts}");
        assert!(message.contains(&format!("({attempts} attempts in ")), "{message}");
    });
}

#[test]
fn parameters_of_the_content_type_are_refused() {
    run(async {
        let (address, _) = hyper_server(async |_| {
            http::Response::builder()
                .header("Content-Type", "application/octet-stream; charset=utf-8")
                .body(Full::from(NO_EFFECTS))
                .unwrap()
        })
        .await;
        let message = refusal(call(format!("http://{address}/"), brief()).await);
        assert!(message.contains("got `application/octet-stream; charset=utf-8`"), "{message}");
    });
}

#[test]
fn the_text_of_an_error_is_quoted() {
    run(async {
        let (address, _) = hyper_server(async |_| {
            http::Response::builder()
                .status(500)
                .body(Full::from("no such function:\n\x1b[31mexample/person"))
                .unwrap()
        })
        .await;
        let message = refusal(call(format!("http://{address}/"), brief()).await);
        let expected =
            "got 500 Internal Server Error, `no such function:\\n\\u{1b}[31mexample/person`";
        assert!(message.contains(expected), "{message}");
    });
}

#[test]
fn garbage_is_tried_again_and_then_named() {
    run(async {
        let (address, seen) = hyper_server(async |_| good(b"\xff\xff\xff")).await;
        let message = refusal(call(format!("http://{address}/"), brief()).await);
        assert!(message.contains("the body is no FromFunction"), "{message}");
        assert!(seen.requests.borrow().len() > 1);
    });
}

#[test]
fn an_impossible_effect_is_not_tried_again() {
    run(async {
        // Changes the state `x`, which was not registered.
        let (address, seen) = hyper_server(async |_| good(b"\xa2\x06\x05\x0a\x03\x12\x01x")).await;
        let message = refusal(call(format!("http://{address}/"), Transport::default()).await);
        assert!(message.contains("Accessing a non-existing function state: x"), "{message}");
        assert_eq!(seen.requests.borrow().len(), 1);
    });
}

#[test]
fn a_body_that_ends_early_is_a_failed_attempt() {
    run(async {
        let address = raw_server(async |number, mut stream| {
            let cut = if number == 1 { GOOD_RAW.len() - 2 } else { GOOD_RAW.len() };
            answer_raw(&mut stream, &GOOD_RAW[..cut]).await;
        })
        .await;
        assert_no_effects(call(format!("http://{address}/"), Transport::default()).await);
        let address = raw_server(async |_, mut stream| {
            answer_raw(&mut stream, &GOOD_RAW[..GOOD_RAW.len() - 2]).await;
        })
        .await;
        let message = refusal(call(format!("http://{address}/"), brief()).await);
        assert!(message.contains("closed the connection in the middle of the answer"), "{message}");
    });
}

#[test]
fn a_server_that_says_nothing_and_closes_is_named() {
    run(async {
        let address = raw_server(async |_, mut stream| {
            read_request(&mut stream).await;
        })
        .await;
        let message = refusal(call(format!("http://{address}/"), brief()).await);
        assert!(message.contains("closed the connection before it answered"), "{message}");
    });
}

#[test]
fn something_that_is_no_http_server_is_named() {
    run(async {
        let address = raw_server(async |_, mut stream| {
            stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await.unwrap();
            read_request(&mut stream).await;
        })
        .await;
        let message = refusal(call(format!("http://{address}/"), brief()).await);
        assert!(
            message.contains("expected an HTTP answer, got `SSH-2.0-OpenSSH_9.6`"),
            "{message}"
        );
    });
}

#[test]
fn a_hanging_function_is_called_once() {
    run(async {
        let (address, seen) = hyper_server(async |_| std::future::pending().await).await;
        let begun = Instant::now();
        let message = refusal(call(format!("http://{address}/"), brief()).await);
        assert!(begun.elapsed() < ms(1_000));
        assert!(message.contains("expected an answer within"), "{message}");
        assert!(message.contains("(1 attempt in"), "{message}");
        assert_eq!(seen.requests.borrow().len(), 1);
    });
}

#[test]
fn an_endpoint_that_is_down_is_named() {
    run(async {
        let address = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let message = refusal(call(format!("http://{address}/"), brief()).await);
        assert!(message.contains(&format!("cannot connect to {address}: ")), "{message}");
        assert!(message.contains("attempts in"), "{message}");
    });
}

#[test]
fn a_kept_connection_that_the_server_closes_on_reuse_is_replaced_at_once() {
    run(async {
        let address = raw_server(async |_, mut stream| {
            if answer_raw(&mut stream, GOOD_RAW).await {
                // Closes only when it has the second request.
                read_request(&mut stream).await;
            }
        })
        .await;
        let transport = Transport {
            // Without a second try at once there would be none.
            call: Duration::from_secs(2),
            ..Transport::default()
        };
        let function = function(&format!("http://{address}/"), transport);
        for _ in 0..5 {
            assert_no_effects(function.invoke(bob(0)).await);
        }
    });
}

#[test]
fn a_kept_connection_that_was_closed_meanwhile_is_not_used() {
    run(async {
        let address = raw_server(async |_, mut stream| {
            answer_raw(&mut stream, GOOD_RAW).await;
        })
        .await;
        let function = function(&format!("http://{address}/"), Transport::okhttp());
        for _ in 0..3 {
            assert_no_effects(function.invoke(bob(0)).await);
            tokio::time::sleep(ms(20)).await;
        }
    });
}

#[test]
fn answers_come_in_every_framing_and_encoding() {
    run(async {
        let gzip = |bytes: &[u8]| {
            use std::io::Write as _;
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let head = "HTTP/1.1 200 OK\r\nContent-Type: Application/Octet-Stream\r\n";
        let packed = gzip(NO_EFFECTS);
        let answers: Vec<Vec<u8>> = vec![
            [
                head.as_bytes(),
                b"Transfer-Encoding: chunked\r\n\r\n1\r\n\xa2\r\n2\r\n\x06\x00\r\n0\r\n\r\n",
            ]
            .concat(),
            [head.as_bytes(), b"Connection: close\r\n\r\n\xa2\x06\x00"].concat(),
            [b"HTTP/1.1 100 Continue\r\n\r\n", GOOD_RAW].concat(),
            [head.as_bytes(), b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n", &packed[..]]
                .concat(),
            [head.as_bytes(), b"Content-Length: 0\r\n\r\n"].concat(),
        ];
        for answer in answers {
            let shown = String::from_utf8_lossy(&answer).into_owned();
            let answer = Rc::new(answer);
            let address = raw_server(move |_, mut stream| {
                let answer = Rc::clone(&answer);
                async move {
                    answer_raw(&mut stream, &answer).await;
                }
            })
            .await;
            let response = call(format!("http://{address}/"), brief()).await;
            assert!(response.is_ok(), "{shown}: {response:?}");
            assert_no_effects(response);
        }
    });
}

#[test]
fn an_answer_beyond_the_limit_is_refused() {
    run(async {
        let transport = || Transport { payload_bytes_max: 2, ..brief() };
        let (address, _) = hyper_server(async |_| good(NO_EFFECTS)).await;
        let message = refusal(call(format!("http://{address}/"), transport()).await);
        assert!(message.contains("longer than 2 bytes (`payload_max_bytes`)"), "{message}");
        let bomb = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\
                     transfer-encoding: chunked\r\n\r\n2\r\n\xa2\x06\r\n1\r\n\x00\r\n0\r\n\r\n";
        let address = raw_server(async |_, mut stream| {
            answer_raw(&mut stream, bomb).await;
        })
        .await;
        let message = refusal(call(format!("http://{address}/"), transport()).await);
        assert!(message.contains("longer than 2 bytes"), "{message}");
    });
}

#[test]
fn large_requests_and_answers_pass() {
    run(async {
        // An unknown field of 3 MB, which a reader skips.
        let body: &'static [u8] = Box::leak(
            [&[0x0a, 0x80, 0x80, 0xc0, 0x01][..], &vec![0; 3 << 20]].concat().into_boxed_slice(),
        );
        let (address, seen) = hyper_server(move |_| async move { good(body) }).await;
        let function = function(&format!("http://{address}/"), Transport::default());
        for _ in 0..2 {
            assert_no_effects(function.invoke(bob(5 << 20)).await);
        }
        assert!(seen.requests.borrow().iter().all(|body| body.len() > 5 << 20));
        assert_eq!(seen.connections.get(), 1);
    });
}

#[test]
fn an_early_refusal_of_a_large_request_is_understood() {
    run(async {
        let address = raw_server(async |_, mut stream| {
            let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\nhuge";
            stream.write_all(answer).await.unwrap();
            // Reads nothing, and stays.
            std::future::pending().await
        })
        .await;
        let function = function(&format!("http://{address}/"), Transport::okhttp());
        let message = refusal(function.invoke(bob(16 << 20)).await);
        assert!(message.contains("got 413, `huge`"), "{message}");
    });
}

#[test]
fn the_pool_is_bounded_and_serves_everybody() {
    run(async {
        let (address, seen) = hyper_server(async |_| {
            tokio::time::sleep(ms(1)).await;
            good(NO_EFFECTS)
        })
        .await;
        let transport = Transport { pool_size: 8, ..Transport::default() };
        let function = function(&format!("http://{address}/"), transport);
        let calls: Vec<_> =
            (0..500).map(|_| tokio::task::spawn_local(function.invoke(bob(0)))).collect();
        for call in calls {
            assert_no_effects(call.await.unwrap());
        }
        assert_eq!(seen.requests.borrow().len(), 500);
        assert_eq!(seen.connections.get(), 8);
    });
}

#[test]
fn waiting_for_a_connection_has_an_end() {
    run(async {
        let (address, seen) = hyper_server(async |_| std::future::pending().await).await;
        let transport =
            Transport { pool_size: 1, connect: ms(20), call: ms(300), ..Transport::default() };
        let function = function(&format!("http://{address}/"), transport);
        let hanging = tokio::task::spawn_local(function.invoke(bob(0)));
        tokio::task::yield_now().await;
        let message = refusal(function.invoke(bob(0)).await);
        assert!(message.contains("all 1 connections were busy for 20ms"), "{message}");
        assert!(refusal(hanging.await.unwrap()).contains("got none"));
        assert_eq!(seen.connections.get(), 1);
    });
}

#[test]
fn a_call_that_is_given_up_frees_its_place() {
    run(async {
        let (address, _) = hyper_server(async |number| {
            if number == 1 {
                std::future::pending::<()>().await;
            }
            good(NO_EFFECTS)
        })
        .await;
        let transport = Transport { pool_size: 1, ..Transport::default() };
        let function = function(&format!("http://{address}/"), transport);
        let hanging = tokio::task::spawn_local(function.invoke(bob(0)));
        let waiting = tokio::task::spawn_local(function.invoke(bob(0)));
        tokio::time::sleep(ms(50)).await;
        hanging.abort();
        assert_no_effects(waiting.await.unwrap());
    });
}

#[test]
fn idle_connections_end_with_their_time_to_live() {
    run(async {
        let (address, seen) = hyper_server(async |_| good(NO_EFFECTS)).await;
        let transport = Transport { pool_ttl: ms(1), ..Transport::default() };
        let function = function(&format!("http://{address}/"), transport);
        assert_no_effects(function.invoke(bob(0)).await);
        tokio::time::sleep(ms(300)).await;
        assert_eq!(seen.open.get(), 1, "the time to live is longer by 1 to 3 s");
        tokio::time::sleep(ms(4_000)).await;
        assert_eq!(seen.open.get(), 0);
        assert_no_effects(function.invoke(bob(0)).await);
        assert_eq!(seen.connections.get(), 2);
    });
}

#[test]
fn okhttp_takes_a_404_and_a_wrong_content_type_as_final() {
    run(async {
        let (address, seen) = hyper_server(async |number| match number {
            1 => status(500),
            _ => status(404),
        })
        .await;
        let message = refusal(call(format!("http://{address}/"), Transport::okhttp()).await);
        assert!(message.contains("got 404 Not Found (2 attempts"), "{message}");
        assert_eq!(seen.requests.borrow().len(), 2);
        let (address, seen) = hyper_server(async |_| status(200)).await;
        let message = refusal(call(format!("http://{address}/"), Transport::okhttp()).await);
        assert!(message.contains("got none (1 attempt"), "{message}");
        assert_eq!(seen.requests.borrow().len(), 1);
    });
}

#[test]
fn okhttp_tries_again_after_a_silence() {
    run(async {
        let (address, seen) = hyper_server(async |number| {
            if number == 1 {
                std::future::pending::<()>().await;
            }
            good(NO_EFFECTS)
        })
        .await;
        let transport = Transport { read: Some(ms(50)), ..Transport::okhttp() };
        assert_no_effects(call(format!("http://{address}/"), transport).await);
        assert_eq!(seen.requests.borrow().len(), 2);
    });
}

#[test]
fn a_pause_that_the_endpoint_asks_for_is_handed_on() {
    run(async {
        let (address, seen) = hyper_server(async |_| {
            let builder = http::Response::builder().status(503).header("Retry-After", "600");
            builder.body(Full::default()).unwrap()
        })
        .await;
        let error = call(format!("http://{address}/"), Transport::default()).await.unwrap_err();
        assert_eq!(error.retry_after, Some(Duration::from_secs(600)));
        assert_eq!(seen.requests.borrow().len(), 1);
    });
}

#[test]
fn a_name_that_makes_no_url_is_refused() {
    let template = UrlTemplate::parse("http://127.0.0.1:1/{function.name}").unwrap();
    let provider = EndpointProvider::new(template, Transport::default());
    let error = provider.function(FunctionType::new("example", "two words")).unwrap_err();
    assert!(error.message.contains("no endpoint for example/two words"), "{error}");
}
