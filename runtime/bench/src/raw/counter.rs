//! The bare loop that the in-process counter is held against: what has to be done for a durable keyed
//! counter, and nothing else. Two threads look up a key, run one boxed `async fn` on a 100-byte
//! message, and note the key as changed; one thread syncs. Whenever it is free, a thread writes each
//! changed key once to its buffer and hands it over: the same coalescing, checksum and group commit.

use std::fs::File;
use std::future::Future;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use compact_str::{CompactString, format_compact};
use rustc_hash::FxHashMap;

use crate::load::traffic::PAYLOAD;
use crate::process::Usage;
use crate::raw::{Bare, bare};
use crate::rows::SHARDS;
use crate::rows::counter::KEYS;

/// The log is written round and round over a file of this size.
const LOG_BYTES: u64 = 128 << 20;

/// Messages between two looks at the clock and the sync thread.
const TURN: usize = 256;

type Step = Pin<Box<dyn Future<Output = i64> + Send>>;

/// A key's count, and whether it is in the list of changed keys.
#[derive(Debug)]
struct Slot {
    id: CompactString,
    count: i64,
    is_changed: bool,
}

/// Between the workers and the sync thread.
#[derive(Debug, Default)]
struct Handover {
    queue: Mutex<Queue>,
    arrived: Condvar,
    /// Messages of each worker that are durable.
    durable: [AtomicU64; SHARDS],
}

#[derive(Debug, Default)]
struct Queue {
    /// Of which worker, and how many messages it has counted.
    buffers: Vec<(usize, u64, Vec<u8>)>,
    is_over: bool,
}

/// Counts for so long in `directory`; the log is on its disk. `usage` measures this process.
pub(crate) fn run(
    directory: &Path,
    duration: Duration,
    usage: impl Fn() -> Result<Usage>,
) -> Result<Bare> {
    let path = directory.join("bare-loop");
    let file = preallocate(&path)?;
    let handover = Arc::new(Handover::default());
    let shared = handover.clone();
    let syncing = std::thread::spawn(move || sync(&file, &shared));
    let before = usage()?;
    let began = Instant::now();
    let workers: Vec<_> = (0..SHARDS)
        .map(|index| {
            let shared = handover.clone();
            std::thread::spawn(move || work(index, began + duration, &shared))
        })
        .collect();
    let mut counted = 0;
    for worker in workers {
        counted += worker.join().ok().context("a worker panicked")?;
    }
    handover.lock().is_over = true;
    handover.arrived.notify_one();
    syncing.join().ok().context("the sync thread panicked")??;
    let (elapsed, after) = (began.elapsed(), usage()?);
    std::fs::remove_file(&path)?;
    let durable: u64 = handover.durable.iter().map(|count| count.load(Ordering::Acquire)).sum();
    ensure!(durable == counted, "the bare loop made {durable} of {counted} messages durable");
    Ok(bare(durable, elapsed, before, after))
}

fn preallocate(path: &Path) -> Result<File> {
    let file = File::create(path)?;
    let zeroes = vec![0; 1 << 20];
    for offset in (0..LOG_BYTES).step_by(zeroes.len()) {
        file.write_all_at(&zeroes, offset)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// One thread: makes messages, counts, hands its changes over. Answers how many it counted.
fn work(index: usize, ends: Instant, handover: &Handover) -> u64 {
    let ids: Vec<CompactString> =
        (index..KEYS).step_by(SHARDS).map(|key| format_compact!("k{key:06}")).collect();
    let by_id: FxHashMap<CompactString, usize> =
        ids.iter().enumerate().map(|(slot, id)| (id.clone(), slot)).collect();
    let slot = |id: &CompactString| Slot { id: id.clone(), count: 0, is_changed: false };
    let mut slots: Vec<Slot> = ids.iter().map(slot).collect();
    let mut changed = Vec::new();
    let (mut counted, mut handed) = (0_u64, 0_u64);
    let function = std::hint::black_box(count as fn(i64, Bytes) -> Step);
    let mut random = index as u64 + 1;
    while Instant::now() < ends {
        for _ in 0..TURN {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let id = ids[(random >> 33) as usize % ids.len()].clone();
            let slot = by_id[&id];
            let message = Bytes::copy_from_slice(&PAYLOAD);
            slots[slot].count = poll_ready(function(slots[slot].count, message));
            if !slots[slot].is_changed {
                slots[slot].is_changed = true;
                changed.push(slot);
            }
        }
        counted += TURN as u64;
        if handover.durable[index].load(Ordering::Acquire) == handed {
            handover.push(index, counted, encode(&mut slots, &mut changed));
            handed = counted;
        }
    }
    handover.push(index, counted, encode(&mut slots, &mut changed));
    counted
}

/// The function: behind a pointer, as a registry of functions has it.
fn count(stored: i64, message: Bytes) -> Step {
    Box::pin(async move {
        std::hint::black_box(message.len());
        stored + 1
    })
}

fn poll_ready(mut step: Step) -> i64 {
    loop {
        if let Poll::Ready(count) = step.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return count;
        }
    }
}

/// Each changed key once: length of the id, id, count; a checksum over all of it at the front.
fn encode(slots: &mut [Slot], changed: &mut Vec<usize>) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(4 + changed.len() * 24);
    buffer.extend_from_slice(&[0; 4]);
    for slot in changed.drain(..) {
        let slot = &mut slots[slot];
        slot.is_changed = false;
        buffer.extend_from_slice(&(slot.id.len() as u16).to_le_bytes());
        buffer.extend_from_slice(slot.id.as_bytes());
        buffer.extend_from_slice(&slot.count.to_le_bytes());
    }
    let checksum = crc32fast::hash(&buffer[4..]);
    buffer[..4].copy_from_slice(&checksum.to_le_bytes());
    buffer
}

/// Writes what the workers have handed over, syncs, and says so.
fn sync(file: &File, handover: &Handover) -> Result<()> {
    let mut offset = 0;
    loop {
        let mut queue = handover.lock();
        while queue.buffers.is_empty() {
            if queue.is_over {
                return Ok(());
            }
            queue = handover.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let buffers = std::mem::take(&mut queue.buffers);
        drop(queue);
        for (_, _, buffer) in &buffers {
            if offset + buffer.len() as u64 > LOG_BYTES {
                offset = 0;
            }
            file.write_all_at(buffer, offset)?;
            offset += buffer.len() as u64;
        }
        file.sync_data()?;
        for (worker, counted, _) in buffers {
            handover.durable[worker].store(counted, Ordering::Release);
        }
    }
}

impl Handover {
    fn push(&self, worker: usize, counted: u64, buffer: Vec<u8>) {
        self.lock().buffers.push((worker, counted, buffer));
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
