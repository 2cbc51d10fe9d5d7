//! A client: one order after the other to actors drawn by chance. Without an idempotency key a lost
//! answer leaves the order in doubt; with one it is sent again until it is answered, and counts once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use dormouse_chaos::actor::now_ms;
use dormouse_chaos::order::{self, ACTORS, ORDER, Order};

use crate::connection::{Connection, Lost};
use crate::ledger::{Fate, Ledger};

/// Longest time that an order is sent again for: far longer than any fault lasts.
const STUCK_AFTER: Duration = Duration::from_secs(180);
/// Longest pause between two orders, in microseconds.
const PAUSE_MICROS_MAX: u64 = 8_000;
/// Pause before an order is sent again.
const AGAIN: Duration = Duration::from_millis(20);

/// Where and until when clients work.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) seed: u64,
    pub(crate) round: u64,
    pub(crate) port: u16,
    pub(crate) is_over: AtomicBool,
}

/// One client, for as long as a round takes.
struct Client {
    work: Arc<Work>,
    connection: Connection,
    /// The order is sent with a key.
    has_key: bool,
    /// It waits for the actor's answer.
    waits: bool,
}

/// Works until it is over. Clients take turns in how they send: with and without a key, waiting and not.
pub(crate) fn work(work: Arc<Work>, mut ledger: Ledger) -> Result<Ledger> {
    let number = ledger.client;
    let mut rng = fastrand::Rng::with_seed(work.seed ^ work.round << 32 ^ u64::from(number));
    let mut client = Client {
        connection: Connection::new(work.port),
        has_key: number & 1 == 1,
        waits: number & 2 == 2,
        work,
    };
    while !client.work.is_over.load(Ordering::Relaxed) {
        let actor = rng.u32(..ACTORS);
        let serial = ledger.next(actor);
        let task = order::task(client.work.seed, number, actor, serial);
        let order = Order { client: number, serial, made_ms: now_ms(), task };
        let fate = client.send(actor, &order);
        let fate = fate.with_context(|| format!("actor {actor}, {order:?}"))?;
        ledger.note(actor, task, fate);
        std::thread::sleep(Duration::from_micros(rng.u64(..PAUSE_MICROS_MAX)));
    }
    Ok(ledger)
}

impl Client {
    /// Sends until it is known, or cannot be known, what became of it.
    fn send(&mut self, actor: u32, order: &Order) -> Result<Fate> {
        let (function, id) = order::address(actor);
        let wait = if self.waits { "?wait=10s" } else { "" };
        let mut head = format!(
            "POST /{function}/{id}{wait} HTTP/1.1\r\ncontent-type: application/vnd.{ORDER}\r\n"
        );
        if self.has_key {
            head += &format!("idempotency-key: {}-{}\r\n", order.client, order.serial);
        }
        let body = serde_json::to_vec(order)?;
        let began = Instant::now();
        loop {
            let fate = match self.connection.request(&head, &body) {
                Ok((status, text)) => self.fate(order, status, &text)?,
                Err(Lost::Unsent) => None,
                Err(Lost::Unanswered) if self.has_key => None,
                Err(Lost::Unanswered) => Some(Fate::Doubtful),
            };
            if let Some(fate) = fate {
                return Ok(fate);
            }
            ensure!(began.elapsed() < STUCK_AFTER, "not answered for {STUCK_AFTER:?}");
            std::thread::sleep(AGAIN);
        }
    }

    /// What an answer means; `None`: send it again.
    fn fate(&self, order: &Order, status: u16, text: &str) -> Result<Option<Fate>> {
        Ok(match status {
            202 if !self.waits => Some(Fate::Accepted),
            200 if self.waits => {
                ensure!(text == order.serial.to_string(), "the answer is {text:?}");
                Some(Fate::Done { at_ms: now_ms() })
            }
            408 | 503 | 504 if self.has_key => None,
            504 if text.contains("the message was accepted") => Some(Fate::Accepted),
            503 if text.contains("nothing was accepted") => Some(Fate::Refused),
            503 => Some(Fate::Doubtful),
            // A process that was paused may find that the body took too long.
            408 => Some(Fate::Refused),
            _ => bail!("status {status}: {text}"),
        })
    }
}
