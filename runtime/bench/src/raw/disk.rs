//! The disk: how long a durable write takes at least (4 KB at a time over a file that is written
//! already, each followed by `fdatasync`), and how much it takes in a second.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::functions::generator::mix;
use crate::histogram::Histogram;

const BLOCK_BYTES: usize = 4_096;
const FILE_BYTES: usize = 16 << 20;

/// Of a sequential write, and of the file at most.
const CHUNK_BYTES: usize = 1 << 20;
const SEQUENTIAL_BYTES_MAX: u64 = 8 << 30;

/// Overwrites blocks of a new file in `directory` for so long.
pub(crate) fn overwrite_and_sync(directory: &Path, duration: Duration) -> Result<Histogram> {
    let path = directory.join("fdatasync");
    let file = File::create(&path)?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let block = [7; BLOCK_BYTES];
    let mut histogram = Histogram::new();
    let ends = Instant::now() + duration;
    let mut offset = 0;
    while Instant::now() < ends {
        let began = Instant::now();
        file.write_all_at(&block, offset as u64)?;
        file.sync_data()?;
        histogram.record(began.elapsed());
        offset = (offset + BLOCK_BYTES) % FILE_BYTES;
    }
    std::fs::remove_file(&path)?;
    Ok(histogram)
}

/// Writes a new file in `directory` from its beginning for so long, with a second thread that syncs
/// all the time, so that the disk is never without work. Answers what was written, and how long that
/// and the last sync took.
pub(crate) fn write_and_sync(directory: &Path, duration: Duration) -> Result<(u64, Duration)> {
    let path = directory.join("sequential");
    let mut file = File::create(&path)?;
    let syncing = file.try_clone()?;
    let is_over = AtomicBool::new(false);
    // Not zeroes, which some devices do not write.
    let chunk: Vec<u8> = (0..CHUNK_BYTES as u64 / 8).flat_map(|n| mix(n).to_le_bytes()).collect();
    let began = Instant::now();
    let written = std::thread::scope(|scope| {
        let syncer = scope.spawn(|| -> std::io::Result<()> {
            while !is_over.load(Ordering::Acquire) {
                syncing.sync_data()?;
            }
            Ok(())
        });
        let written = write_chunks(&mut file, &chunk, began + duration);
        is_over.store(true, Ordering::Release);
        syncer.join().ok().context("the sync thread panicked")??;
        written
    })?;
    file.sync_data()?;
    let elapsed = began.elapsed();
    std::fs::remove_file(&path)?;
    Ok((written, elapsed))
}

fn write_chunks(file: &mut File, chunk: &[u8], ends: Instant) -> Result<u64> {
    let mut written = 0;
    while Instant::now() < ends && written < SEQUENTIAL_BYTES_MAX {
        file.write_all(chunk)?;
        written += chunk.len() as u64;
    }
    Ok(written)
}
