//! Bounds: bodies, memory, slow clients, many clients, the port, the end.

use std::sync::Arc;
use std::time::Duration;

use dormouse_http::ingress::{HttpIngress, Settings};
use dormouse_sdk::ingress::Ingress as _;
use dormouse_testkit::client::{Client, send};
use dormouse_testkit::run;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::serve;

const LINE: &str = "POST /example/greeter/x?wait=5s";

fn small() -> Settings {
    Settings { body_bytes_max: 1_000, ..Settings::default() }
}

#[test]
fn a_body_up_to_the_limit_passes_and_one_byte_more_does_not() {
    run(async {
        let served = serve(small());
        assert_eq!(send(served.address, LINE, &[], vec![b'a'; 1_000]).await.status, 200);
        let answer = send(served.address, LINE, &[], vec![b'a'; 1_001]).await;
        assert_eq!((answer.status, answer.text()), (413, "the body is longer than 1000 bytes\n"));
        assert_eq!(served.memory.submitted().len(), 1);
    });
}

#[test]
fn a_client_that_sends_far_too_much_sees_the_refusal() {
    run(async {
        let served = serve(small());
        // Writes all of it before it reads.
        let answer = send(served.address, LINE, &[], vec![b'a'; 20 << 20]).await;
        assert_eq!(answer.status, 413);
        assert!(served.memory.admitted().1 <= 1_000);
    });
}

#[test]
fn a_chunked_body_has_the_same_limit() {
    run(async {
        let served = serve(small());
        let send_chunks = async |count: usize| {
            let mut client = Client::connect(served.address).await;
            let head = format!("{LINE} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
            client.stream.write_all(head.as_bytes()).await.unwrap();
            for _ in 0..count {
                let chunk = format!("64\r\n{}\r\n", "a".repeat(100));
                client.stream.write_all(chunk.as_bytes()).await.unwrap();
            }
            client.stream.write_all(b"0\r\n\r\n").await.unwrap();
            client.answer().await.unwrap()
        };
        let answer = send_chunks(10).await;
        assert_eq!((answer.status, answer.body.len()), (200, 1_007));
        assert_eq!(send_chunks(11).await.status, 413);
        assert_eq!(served.memory.admitted().0, 0);
    });
}

#[test]
fn bodies_are_read_into_admitted_memory_only() {
    run(async {
        let served = serve(Settings::default());
        served.memory.set_admission_limit(10_000);
        let address = served.address;
        let sends = (0..40).map(|_| {
            tokio::task::spawn_local(
                async move { send(address, LINE, &[], vec![b'a'; 3_000]).await },
            )
        });
        for sent in sends.collect::<Vec<_>>() {
            assert_eq!(sent.await.unwrap().status, 200);
        }
        let (now, most) = served.memory.admitted();
        assert_eq!(now, 0);
        assert!((3_000..=10_000).contains(&most), "{most}");
    });
}

#[test]
fn a_body_that_gets_no_memory_is_refused_in_time() {
    run(async {
        let wait_max = Duration::from_millis(50);
        let served = serve(Settings { wait_max, ..Settings::default() });
        served.memory.set_admission_limit(0);
        let answer = send(served.address, "POST /example/greeter/x", &[], "Ada").await;
        assert_eq!(answer.status, 503);
        let text = "no room became free within 50ms; nothing was accepted, try again later\n";
        assert!(answer.text().ends_with(text), "{}", answer.text());
        assert_eq!(answer.header("retry-after"), "1");
        // A client that waits shorter for its reply does not wait longer for room.
        let answer = send(served.address, "POST /example/greeter/x?wait=10ms", &[], "Ada").await;
        assert!(answer.text().contains("within 10ms"), "{}", answer.text());
    });
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    run(async {
        let body_grace = Duration::from_millis(50);
        let served = serve(Settings { body_grace, ..Settings::default() });
        let mut client = Client::connect(served.address).await;
        let head = format!("{LINE} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc");
        client.stream.write_all(head.as_bytes()).await.unwrap();
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.text()), (408, "the body did not come within 50ms\n"));
        assert_eq!(client.answer().await, None);
        assert_eq!(served.memory.admitted().0, 0);
    });
}

#[test]
fn a_broken_request_ends_only_its_own_connection() {
    run(async {
        let served = serve(Settings::default());
        for garbage in ["GET\r\n\r\n", "\x16\x03\x01\x02\x00", "POST /a HTTP/9.9\r\n\r\n"] {
            let mut client = Client::connect(served.address).await;
            client.stream.write_all(garbage.as_bytes()).await.unwrap();
            client.stream.shutdown().await.unwrap();
            let answer = client.answer().await;
            assert!(answer.is_none_or(|answer| answer.status == 400), "{garbage:?}");
        }
        let mut client = Client::connect(served.address).await;
        let head = format!("{LINE} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc");
        client.stream.write_all(head.as_bytes()).await.unwrap();
        drop(client);
        assert_eq!(send(served.address, LINE, &[], "Ada").await.text(), "Hello Ada!");
        assert_eq!(served.memory.submitted().len(), 1);
    });
}

#[test]
fn two_thousand_clients_at_once_are_served() {
    run(async {
        let served = serve(Settings::default());
        let mut clients = Vec::new();
        for _ in 0..2_000 {
            clients.push(Client::connect(served.address).await);
        }
        for client in &mut clients {
            client.write(LINE, &[], b"Ada").await;
        }
        for client in &mut clients {
            assert_eq!(client.answer().await.unwrap().text(), "Hello Ada!");
        }
    });
}

#[test]
fn a_port_in_use_is_named() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let error = HttpIngress::new(address.to_string(), Settings::default()).open().unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot listen on {address}: ")), "{text}");
    assert!(text.contains("another process"), "{text}");
    let error = HttpIngress::new("no.such.host.invalid:80", Settings::default()).open();
    assert!(error.unwrap_err().to_string().starts_with("cannot listen on no.such.host.invalid:80"));
}

#[test]
fn a_second_listener_on_an_open_port_is_refused() {
    let first = Arc::new(HttpIngress::new("127.0.0.1:0", Settings::default()));
    let listens = first.open().unwrap().unwrap();
    let address = listens.strip_prefix("http://").unwrap();
    assert!(HttpIngress::new(address, Settings::default()).open().is_err());
}

#[test]
fn stopping_finishes_what_is_in_flight_and_closes_the_rest() {
    run(async {
        let served = serve(Settings::default());
        let mut idle = Client::connect(served.address).await;
        assert_eq!(idle.send(LINE, &[], "Ada").await.status, 200);
        let silent = TcpStream::connect(served.address).await.unwrap();
        let mut busy = Client::connect(served.address).await;
        busy.write("POST /example/slow/x?wait=5s", &[], b"300").await;
        while served.memory.waiting_replies() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        served.memory.stop(Duration::from_secs(20));
        let answer = busy.answer().await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, "1"));
        assert_eq!(busy.answer().await, None);
        assert_eq!(idle.answer().await, None);
        served.serving.await.unwrap();
        drop(silent);
        assert!(TcpStream::connect(served.address).await.is_err());
    });
}

#[test]
fn a_reply_that_comes_while_the_process_stops_is_answered() {
    run(async {
        let served = serve(Settings::default());
        let mut client = Client::connect(served.address).await;
        client.write("POST /example/slow/x?wait=50s", &[], b"1500").await;
        while served.memory.waiting_replies() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        served.memory.stop(Duration::from_secs(20));
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, "1"));
        served.serving.await.unwrap();
    });
}

#[test]
fn who_waits_in_vain_is_told_that_the_process_stops() {
    run(async {
        let served = serve(Settings::default());
        let mut waiting = Client::connect(served.address).await;
        waiting.write("POST /example/silent/x?wait=50s", &[], b"").await;
        let mut durable = Client::connect(served.address).await;
        durable.write("POST /example/silent/x?wait=50s", &["idempotency-key: k"], b"").await;
        while served.memory.waiting_replies() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        served.memory.set_durable(false);
        let mut unsure = Client::connect(served.address).await;
        unsure.write("POST /example/silent/y?wait=50s", &[], b"").await;
        while served.memory.waiting_replies() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        served.memory.stop(Duration::from_millis(200));
        let accepted = "the message was accepted; this process is stopping";
        let in_doubt = "this process is stopping, and the message was not durable before";
        for (client, status, text) in
            [(waiting, 504, accepted), (durable, 504, accepted), (unsure, 503, in_doubt)]
        {
            let mut client = client;
            let answer = client.answer().await.unwrap();
            assert_eq!(answer.status, status);
            assert!(answer.text().starts_with(text), "{}", answer.text());
        }
        served.serving.await.unwrap();
    });
}

#[test]
fn who_waits_for_room_is_refused_when_the_process_stops() {
    run(async {
        let served = serve(Settings::default());
        served.memory.set_admission_limit(0);
        let mut client = Client::connect(served.address).await;
        client.write(LINE, &[], b"Ada").await;
        // Refused only if it is in: a client that is not is shown out.
        while !served.memory.is_admission_awaited() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        served.memory.stop(Duration::from_secs(20));
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 503);
        assert_eq!(answer.text(), "the runtime is stopping; nothing was accepted\n");
        assert_eq!(answer.header("retry-after"), "1");
        assert!(served.memory.submitted().is_empty());
        served.serving.await.unwrap();
    });
}
