//! What the listener promises by itself: lanes share the clients, quiet clients are shown out.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::future::ready;
use std::time::{Duration, Instant};

use dormouse_listener::{Answer, Listener};
use dormouse_testkit::client::Client;
use dormouse_testkit::{Memory, run};
use http::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[test]
fn clients_are_spread_evenly_over_the_lanes() {
    run(async {
        const LANES: usize = 3;
        let memory = Memory::new();
        let listener = Listener::new("127.0.0.1:0");
        let address = listener.open().unwrap();
        for lane in 0..LANES {
            let answer = move |_| ready(Response::new(Answer::new(lane.to_string())));
            tokio::task::spawn_local(listener.clone().serve(memory.lane(lane, LANES), answer));
        }
        let mut clients = Vec::new();
        let mut served = [0; LANES];
        for _ in 0..60 {
            let mut client = Client::connect(address).await;
            let lane: usize = client.send("GET /", &[], "").await.text().parse().unwrap();
            served[lane] += 1;
            clients.push(client);
        }
        assert!(served.iter().all(|n| (18..=22).contains(n)), "{served:?}");
        // Each connection stays where it is.
        let first = clients[0].send("GET /", &[], "").await.text().to_owned();
        assert_eq!(clients[0].send("GET /", &[], "").await.text(), first);
    });
}

#[test]
fn quiet_and_slow_clients_are_shown_out_and_busy_ones_are_not() {
    run(async {
        let memory = Memory::new();
        let listener = Listener::with_quiet_seconds("127.0.0.1:0", 2);
        let address = listener.open().unwrap();
        tokio::task::spawn_local(listener.serve(memory.lane(0, 1), async |_| {
            tokio::time::sleep(Duration::from_millis(3_500)).await;
            Response::new(Answer::new("done"))
        }));
        let mut busy = Client::connect(address).await;
        busy.write("GET /", &[], b"").await;
        let begun = Instant::now();
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        let trickle = async {
            while slow.write_all(b"G").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let closed = async {
            assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
            begun.elapsed()
        };
        let (closed, ()) = tokio::join!(closed, trickle);
        assert!(closed >= Duration::from_millis(900), "{closed:?}");
        assert!(begun.elapsed() < Duration::from_millis(3_400), "{:?}", begun.elapsed());
        assert_eq!(busy.answer().await.unwrap().text(), "done");
    });
}
