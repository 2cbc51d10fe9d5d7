//! The bare ring that the in-process ring is held against: a hop looks its target's mailbox up by
//! address, pushes the token into it, and runs one boxed `async fn`, with no store and no runtime
//! around it. Two threads; rings stay on their thread, or have every second mailbox on the other one.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use compact_str::{CompactString, format_compact};
use rustc_hash::FxHashMap;

use crate::load::traffic::PAYLOAD;
use crate::process::Usage;
use crate::raw::{Bare, bare};
use crate::rows::SHARDS;
use crate::rows::ring::{HOPS, TOKENS};

/// Hops between two looks at the clock and at the other thread.
const TURN: usize = 256;

/// The place in its ring, and the ring's id.
type Address = (u32, CompactString);

type Hop = Pin<Box<dyn Future<Output = (Address, Bytes)> + Send>>;

/// Tokens that came from the other thread.
#[derive(Debug, Default)]
struct Inbox {
    tokens: Mutex<Vec<(Address, Bytes)>>,
    arrived: Condvar,
}

/// One thread's mailboxes.
#[derive(Debug, Default)]
struct Mailboxes {
    by_address: FxHashMap<Address, usize>,
    all: Vec<(Address, VecDeque<Bytes>)>,
    /// Mailboxes with a token.
    ready: VecDeque<usize>,
}

/// Passes tokens on for so long; `crosses` decides on which thread a mailbox lies.
pub(crate) fn run(
    duration: Duration,
    crosses: bool,
    usage: impl Fn() -> Result<Usage>,
) -> Result<Bare> {
    let inboxes: Arc<Vec<Inbox>> = Arc::new((0..SHARDS).map(|_| Inbox::default()).collect());
    let before = usage()?;
    let began = Instant::now();
    let ends = began + duration;
    let threads: Vec<_> = (0..SHARDS)
        .map(|thread| {
            let inboxes = inboxes.clone();
            std::thread::spawn(move || work(thread, crosses, ends, &inboxes))
        })
        .collect();
    let mut hops = 0;
    for thread in threads {
        hops += thread.join().ok().context("a thread of the bare ring panicked")?;
    }
    Ok(bare(hops, began.elapsed(), before, usage()?))
}

/// One thread; answers how many hops it made.
fn work(thread: usize, crosses: bool, ends: Instant, inboxes: &[Inbox]) -> u64 {
    let mut mailboxes = Mailboxes::of_thread(thread, crosses);
    let mut leaving: Vec<(Address, Bytes)> = Vec::new();
    let other = &inboxes[(thread + 1) % inboxes.len()];
    let function = std::hint::black_box(hop as fn(&Address, Bytes) -> Hop);
    let mut hops = 0;
    while Instant::now() < ends {
        for _ in 0..TURN {
            let Some(mailbox) = mailboxes.ready.pop_front() else { break };
            let (address, tokens) = &mut mailboxes.all[mailbox];
            let Some(token) = tokens.pop_front() else { continue };
            let (next, token) = poll_ready(function(address, token));
            hops += 1;
            if crosses {
                leaving.push((next, token));
            } else {
                mailboxes.push(&next, token);
            }
        }
        if !leaving.is_empty() {
            other.tokens.lock().unwrap_or_else(PoisonError::into_inner).append(&mut leaving);
            other.arrived.notify_one();
        }
        for (address, token) in arrived(&inboxes[thread], mailboxes.ready.is_empty()) {
            mailboxes.push(&address, token);
        }
    }
    hops
}

impl Mailboxes {
    /// Those of the thread; the first of each ring holds its token.
    fn of_thread(thread: usize, crosses: bool) -> Self {
        let mut mailboxes = Self::default();
        for ring in 0..TOKENS {
            for place in 0..HOPS {
                let lies_on = if crosses { place % SHARDS } else { ring % SHARDS };
                if lies_on != thread {
                    continue;
                }
                let address: Address = (place as u32, format_compact!("token-{ring}"));
                mailboxes.by_address.insert(address.clone(), mailboxes.all.len());
                mailboxes.all.push((address.clone(), VecDeque::new()));
                if place == 0 {
                    mailboxes.push(&address, Bytes::from_static(&PAYLOAD));
                }
            }
        }
        mailboxes
    }

    fn push(&mut self, address: &Address, token: Bytes) {
        let mailbox = self.by_address[address];
        self.all[mailbox].1.push_back(token);
        self.ready.push_back(mailbox);
    }
}

/// What came in; waits a little when there is nothing else to do.
fn arrived(inbox: &Inbox, is_idle: bool) -> Vec<(Address, Bytes)> {
    let mut tokens = inbox.tokens.lock().unwrap_or_else(PoisonError::into_inner);
    if tokens.is_empty() && is_idle {
        let waited = inbox.arrived.wait_timeout(tokens, Duration::from_millis(1));
        tokens = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    std::mem::take(&mut *tokens)
}

/// The function: behind a pointer, as a registry of functions has it.
fn hop((place, ring): &Address, token: Bytes) -> Hop {
    let (place, ring) = (*place, ring.clone());
    Box::pin(async move { (((place + 1) % HOPS as u32, ring), token) })
}

fn poll_ready(mut hop: Hop) -> (Address, Bytes) {
    loop {
        if let Poll::Ready(next) = hop.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return next;
        }
    }
}
