//! Functions that wait, for a timer, for an answer over a socket, for blocking work: only their own
//! address waits with them, up to the bound of calls in flight.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use dormouse_sdk::ingress::Reply;
use dormouse_sdk::{Context, FunctionError, function};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use crate::application::{Application, ask, begin};

/// A gate of one test, which keeps calls waiting until the test opens it.
struct Gate {
    /// How many calls may end.
    places: Semaphore,
    is_open: Mutex<bool>,
    opened: Condvar,
    /// Where the server is that answers when the gate is open.
    port: OnceLock<u16>,
    /// Calls that have begun to wait.
    waiting: AtomicUsize,
}

impl Gate {
    const fn new() -> Self {
        Self {
            places: Semaphore::const_new(0),
            is_open: Mutex::new(false),
            opened: Condvar::new(),
            port: OnceLock::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
        self.places.add_permits(1_000);
    }

    /// Blocks the thread.
    fn wait(&self) {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
    }

    /// Until so many calls wait.
    async fn waited_for(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.waiting.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < deadline, "only {:?} of {count} wait", self.waiting);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

static SLOW: Gate = Gate::new();

/// Waits as it is told.
async fn slow(ctx: &mut Context, how: String) -> Result<(), FunctionError> {
    SLOW.waiting.fetch_add(1, Ordering::Relaxed);
    match how.as_str() {
        "timer" => {
            while SLOW.places.available_permits() == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        "http" => {
            let port = *SLOW.port.get().ok_or_else(|| FunctionError::new("no server"))?;
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        }
        "blocking" => tokio::task::spawn_blocking(|| SLOW.wait()).await?,
        _ => return Err(FunctionError::new("how?")),
    }
    ctx.reply(how)
}

async fn fast(ctx: &mut Context, number: i64) -> Result<(), FunctionError> {
    ctx.reply(number)
}

function! { "test/waiter", slow }
function! { "test/fast", fast }

/// Answers each request once the gate is open.
async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::task::spawn_local(async move {
            let mut request = [0; 1_024];
            let _ = stream.read(&mut request).await;
            let _place = SLOW.places.acquire().await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        });
    }
}

#[tokio::test]
async fn functions_that_wait_hold_up_their_own_address_only() {
    const EACH: usize = 40;
    Application::new(1, 4)
        .run(async |lane| {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            SLOW.port.set(listener.local_addr().unwrap().port()).unwrap();
            tokio::task::spawn_local(serve(listener));
            let (mut replies, ways) = (Vec::new(), ["timer", "http", "blocking"]);
            for number in 0..EACH {
                for how in ways {
                    let id = format!("{how}{number}");
                    replies.push((how, begin(&lane, "test/waiter", &id, how).await));
                }
            }
            SLOW.waited_for(EACH * ways.len()).await;
            // The same shard, also the same ids: all of these are answered while all of those wait.
            for number in 0..200_i64 {
                let id = format!("timer{number}");
                assert_eq!(ask::<i64>(&lane, "test/fast", &id, number).await, number);
            }
            // One more for an address that waits comes behind.
            let behind = begin(&lane, "test/waiter", "timer0", "timer").await;
            assert_eq!(ask::<i64>(&lane, "test/fast", "timer0", 1_i64).await, 1);
            assert_eq!(SLOW.waiting.load(Ordering::Relaxed), EACH * ways.len());
            SLOW.open();
            for (how, Reply { value, .. }) in replies {
                assert_eq!(
                    dormouse_protocol::types::decode_string(&value.await.value).unwrap(),
                    how
                );
            }
            behind.value.await;
            assert_eq!(SLOW.waiting.load(Ordering::Relaxed), EACH * ways.len() + 1);
        })
        .await;
}

static BOUNDED: Gate = Gate::new();
static BEGUN: Mutex<Vec<String>> = Mutex::new(Vec::new());

async fn bounded(ctx: &mut Context, _: i64) -> Result<(), FunctionError> {
    BEGUN.lock().unwrap().push(ctx.id().to_owned());
    BOUNDED.waiting.fetch_add(1, Ordering::Relaxed);
    BOUNDED.places.acquire().await?.forget();
    ctx.reply(0_i64)
}

function! { "test/bounded", bounded }

#[tokio::test]
async fn at_the_bound_of_calls_in_flight_the_next_wait_for_a_place_in_order() {
    const BOUND: usize = 4;
    let mut application = Application::new(1, 4);
    // One type never takes more than half of the places.
    application.settings.limits.in_flight = 2 * BOUND;
    let metrics = Arc::clone(&application.metrics);
    application
        .run(async move |lane| {
            let (sender, mut done) = mpsc::unbounded_channel();
            for number in 0..BOUND + 3 {
                let reply = begin(&lane, "test/bounded", &number.to_string(), 0_i64).await;
                let sender = sender.clone();
                tokio::task::spawn_local(async move {
                    reply.value.await;
                    sender.send(number).unwrap();
                });
            }
            BOUNDED.waited_for(BOUND).await;
            // What is durable has been handled by the shard: those beyond the bound wait in memory.
            let load = &metrics.shard(0).load;
            assert_eq!((load.in_flight.get(), load.backlog_messages.get()), (4, 7));
            assert_eq!(BEGUN.lock().unwrap().len(), BOUND);
            for ended in 1..=3 {
                BOUNDED.places.add_permits(1);
                done.recv().await.unwrap();
                BOUNDED.waited_for(BOUND + ended).await;
                assert_eq!(BEGUN.lock().unwrap().len(), BOUND + ended, "one place, one call");
            }
            let expected = (0..BOUND + 3).map(|number| number.to_string());
            assert_eq!(*BEGUN.lock().unwrap(), expected.collect::<Vec<_>>());
            BOUNDED.places.add_permits(BOUND);
            for _ in 0..BOUND {
                done.recv().await.unwrap();
            }
        })
        .await;
}

static STUCK: Gate = Gate::new();

async fn stuck(_: &mut Context, _: i64) -> Result<(), FunctionError> {
    STUCK.waiting.fetch_add(1, Ordering::Relaxed);
    Ok(tokio::task::spawn_blocking(|| STUCK.wait()).await?)
}

function! { "test/stuck", stuck }

#[tokio::test]
async fn blocking_work_that_does_not_end_does_not_hold_up_a_stop() {
    let mut application = Application::new(1, 4);
    application.settings.runtime.stop_timeout = Duration::from_millis(200);
    // Stops, or fails after the patience of the test.
    application
        .run(async |lane| {
            drop(begin(&lane, "test/stuck", "1", 0_i64).await);
            STUCK.waited_for(1).await;
        })
        .await;
    STUCK.open();
}
