//! The bare ring that the in-process ring is held against: a hop is one push into a mailbox and one
//! boxed `async fn`, with no store and no runtime around it. Two threads; rings stay on their thread,
//! or have every second mailbox on the other one.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;

use crate::load::traffic::PAYLOAD;
use crate::process::Usage;
use crate::raw::{Bare, bare};
use crate::rows::SHARDS;
use crate::rows::ring::{HOPS, TOKENS};

/// Hops between two looks at the clock and at the other thread.
const TURN: usize = 256;

type Hop = Pin<Box<dyn Future<Output = (usize, Bytes)> + Send>>;

/// Tokens that came from the other thread.
#[derive(Debug, Default)]
struct Inbox {
    tokens: Mutex<Vec<(usize, Bytes)>>,
    arrived: Condvar,
}

/// Mailboxes are numbered through all rings; `crosses` decides on which thread one lies.
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

fn thread_of(mailbox: usize, crosses: bool) -> usize {
    if crosses { mailbox % SHARDS } else { mailbox / HOPS % SHARDS }
}

fn work(thread: usize, crosses: bool, ends: Instant, inboxes: &[Inbox]) -> u64 {
    let mut mailboxes: Vec<VecDeque<Bytes>> = vec![VecDeque::new(); TOKENS * HOPS];
    let mut ready = VecDeque::new();
    for ring in 0..TOKENS {
        let first = ring * HOPS;
        if thread_of(first, crosses) == thread {
            mailboxes[first].push_back(Bytes::from_static(&PAYLOAD));
            ready.push_back(first);
        }
    }
    let mut leaving: Vec<Vec<(usize, Bytes)>> = vec![Vec::new(); inboxes.len()];
    let function = std::hint::black_box(hop as fn(usize, Bytes) -> Hop);
    let mut hops = 0;
    while Instant::now() < ends {
        for _ in 0..TURN {
            let Some(mailbox) = ready.pop_front() else { break };
            let Some(token) = mailboxes[mailbox].pop_front() else { continue };
            let (next, token) = poll_ready(function(mailbox, token));
            hops += 1;
            let next_thread = thread_of(next, crosses);
            if next_thread == thread {
                mailboxes[next].push_back(token);
                ready.push_back(next);
            } else {
                leaving[next_thread].push((next, token));
            }
        }
        for (inbox, leaving) in inboxes.iter().zip(&mut leaving) {
            if !leaving.is_empty() {
                inbox.tokens.lock().unwrap_or_else(PoisonError::into_inner).append(leaving);
                inbox.arrived.notify_one();
            }
        }
        for (mailbox, token) in arrived(&inboxes[thread], ready.is_empty()) {
            mailboxes[mailbox].push_back(token);
            ready.push_back(mailbox);
        }
    }
    hops
}

/// What came in; waits a little when there is nothing else to do.
fn arrived(inbox: &Inbox, is_idle: bool) -> Vec<(usize, Bytes)> {
    let mut tokens = inbox.tokens.lock().unwrap_or_else(PoisonError::into_inner);
    if tokens.is_empty() && is_idle {
        let waited = inbox.arrived.wait_timeout(tokens, Duration::from_millis(1));
        tokens = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    std::mem::take(&mut *tokens)
}

/// The function: behind a pointer, as a registry of functions has it.
fn hop(mailbox: usize, token: Bytes) -> Hop {
    Box::pin(async move {
        let (ring, position) = (mailbox / HOPS, mailbox % HOPS);
        (ring * HOPS + (position + 1) % HOPS, token)
    })
}

fn poll_ready(mut hop: Hop) -> (usize, Bytes) {
    loop {
        if let Poll::Ready(next) = hop.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return next;
        }
    }
}
