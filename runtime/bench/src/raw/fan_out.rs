//! The bare fan-out that the in-process one is held against: a source's boxed `async fn` makes 128
//! messages; each is pushed into its target's mailbox, looked up by id, and taken out again by one
//! boxed `async fn`. Two threads, each with its own mailboxes, no store and no runtime around it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use compact_str::{CompactString, format_compact};
use rustc_hash::FxHashMap;

use crate::functions::generator::{BATCH, mix};
use crate::load::traffic::PAYLOAD;
use crate::process::Usage;
use crate::raw::{Bare, bare};
use crate::rows::SHARDS;
use crate::rows::counter::KEYS;

type Sent = Vec<(CompactString, Bytes)>;
type Source = Pin<Box<dyn Future<Output = Sent> + Send>>;
type Leaf = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Sends for so long.
pub(crate) fn run(duration: Duration, usage: impl Fn() -> Result<Usage>) -> Result<Bare> {
    let are_ready = Arc::new(Barrier::new(SHARDS + 1));
    let threads: Vec<_> = (0..SHARDS)
        .map(|thread| {
            let are_ready = are_ready.clone();
            std::thread::spawn(move || work(thread, duration, &are_ready))
        })
        .collect();
    are_ready.wait();
    let before = usage()?;
    let began = Instant::now();
    let mut messages = 0;
    for thread in threads {
        messages += thread.join().ok().context("a thread of the bare fan-out panicked")?;
    }
    Ok(bare(messages, began.elapsed(), before, usage()?))
}

/// One thread; answers how many messages leaves have taken.
fn work(thread: usize, duration: Duration, are_ready: &Barrier) -> u64 {
    let ids: Arc<[CompactString]> =
        (thread..KEYS).step_by(SHARDS).map(|key| format_compact!("k{key:06}")).collect();
    let by_id: FxHashMap<CompactString, usize> =
        ids.iter().enumerate().map(|(mailbox, id)| (id.clone(), mailbox)).collect();
    let mut mailboxes: Vec<VecDeque<Bytes>> = vec![VecDeque::new(); ids.len()];
    let source = std::hint::black_box(send as fn(Arc<[CompactString]>, u64) -> Source);
    let leaf = std::hint::black_box(take as fn(Bytes) -> Leaf);
    let mut ready = VecDeque::new();
    let (mut taken, mut next) = (0, (thread as u64) << 40);
    are_ready.wait();
    let ends = Instant::now() + duration;
    while Instant::now() < ends {
        for (id, message) in poll_ready(source(ids.clone(), next)) {
            let mailbox = by_id[&id];
            mailboxes[mailbox].push_back(message);
            ready.push_back(mailbox);
        }
        next += BATCH;
        while let Some(mailbox) = ready.pop_front() {
            if let Some(message) = mailboxes[mailbox].pop_front() {
                poll_ready(leaf(message));
                taken += 1;
            }
        }
    }
    taken
}

/// The functions: behind pointers, as a registry of functions has them.
fn send(ids: Arc<[CompactString]>, first: u64) -> Source {
    Box::pin(async move {
        let target = |n| ids[(mix(n) % ids.len() as u64) as usize].clone();
        let message = || Bytes::copy_from_slice(&PAYLOAD);
        (first..first + BATCH).map(|n| (target(n), message())).collect()
    })
}

fn take(message: Bytes) -> Leaf {
    Box::pin(async move {
        std::hint::black_box(message.len());
    })
}

fn poll_ready<T>(mut future: Pin<Box<dyn Future<Output = T> + Send>>) -> T {
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}
