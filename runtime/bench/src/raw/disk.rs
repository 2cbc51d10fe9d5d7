//! The disk: how long a durable write takes at least. 4 KB at a time over a file that is written
//! already, each followed by `fdatasync`.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::histogram::Histogram;

const BLOCK_BYTES: usize = 4_096;
const FILE_BYTES: usize = 16 << 20;

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
