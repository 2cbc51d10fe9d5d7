//! All that a store holds, as text: to compare what is read after damage, or by a later version, with
//! what was written. And a small data directory that has rows in its base and in its log.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_engine::commit::OpIter;
use dormouse_engine::keys;
use dormouse_protocol::Partition;

use crate::conformance::{Workload, open_shard, wait, wait_durable};
use crate::log::record::{HEADER_BYTES, Header, Seed, decode_body, encode_metas, seal};
use crate::log::segment::SegmentHeader;
use crate::{EmbeddedOptions, EmbeddedStore, Store, StoreError};

/// Partitions of the data directory that [`fill`] makes; all of them have rows.
pub const PARTITIONS: [u16; 3] = [0, 1, 2];
/// Commits that are in its base, and as many again that are only in its log.
const COMMITS: usize = 8;
/// Bytes of a value that are shown in full.
const SHOWN_BYTES_MAX: usize = 40;

/// Options with which a data directory stays small.
#[must_use]
pub fn small(directory: &Path) -> EmbeddedOptions {
    let mut options = EmbeddedOptions::new(directory, PARTITIONS.len() as u16);
    options.segment_bytes = 4 << 10;
    options.log_bytes_max = 1 << 20;
    options.dirty_bytes_max = 1 << 20;
    options.base_cache_bytes = 1 << 20;
    options.reader_threads = 1;
    options.checkpoint_after_idle = Duration::from_secs(3_600);
    options.scrub_interval = None;
    options
}

/// Makes a data directory with rows in the base, and others that are only in the log.
pub fn fill(directory: &Path) -> Result<(), StoreError> {
    let mut workload = Workload::new(11, &PARTITIONS);
    append(&*EmbeddedStore::open(small(directory))?.0, &mut workload)?;
    // A start writes what it has replayed to the base.
    let (store, _) = EmbeddedStore::open(small(directory))?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::read_dir(directory.join("base/tables")).is_ok_and(|t| t.count() == 0)
        || std::fs::read(directory.join("base/current")).is_ok_and(|current| current[0] == 0)
    {
        assert!(Instant::now() < deadline, "no checkpoint was written");
        std::thread::sleep(Duration::from_millis(5));
    }
    append(&*store, &mut workload)
}

fn append(store: &dyn Store, workload: &mut Workload) -> Result<(), StoreError> {
    let mut shard = open_shard(store, 0, &PARTITIONS);
    for _ in 0..COMMITS {
        let last = shard.append(&workload.commit())?;
        wait_durable(&*shard, last)?;
    }
    store.close()
}

/// Opens a data directory, reads all rows, and closes it: a line for each row.
pub fn read_all(options: &EmbeddedOptions) -> Result<Vec<String>, StoreError> {
    let (store, _) = EmbeddedStore::open(options.clone())?;
    let lines = rows(&store);
    store.close()?;
    lines
}

/// A value, or length and checksum of a long one.
fn shown(value: &[u8]) -> String {
    if value.len() <= SHOWN_BYTES_MAX {
        return value.escape_ascii().to_string();
    }
    format!("({} bytes, CRC-32 {:08x})", value.len(), crc32fast::hash(value))
}

fn rows(store: &Arc<EmbeddedStore>) -> Result<Vec<String>, StoreError> {
    let mut lines = vec![format!("application {}", store.application())];
    let mut shard = open_shard(&**store, 0, &PARTITIONS);
    for partition in PARTITIONS.map(Partition) {
        let opened = wait(shard.open(partition))?;
        lines.push(format!("{partition} {:?}", opened.meta));
        for space in keys::SPACES {
            let from = keys::space_prefix(space, partition);
            let to = keys::prefix_end(&from).expect("a space has an end");
            let (rows, _) = wait(shard.scan(from, to, usize::MAX, usize::MAX))?;
            for (key, value) in &rows {
                lines.push(format!("{} {}", key.escape_ascii(), shown(value)));
            }
            // By key as well: filters and indexes are asked in another way than by scans.
            let keys = rows.iter().map(|(key, _)| key.to_vec()).collect();
            let values = wait(shard.get(keys, usize::MAX))?;
            assert!(
                values.iter().zip(&rows).all(|(value, (_, row))| value.as_ref() == Some(row)),
                "a row reads differently by key"
            );
        }
    }
    Ok(lines)
}

/// Reads bytes as everything that stands in a log, for the fuzzer: each answers or refuses. Checksums are
/// made to fit, or nothing behind them would be reached.
pub fn read_as_log(bytes: &[u8]) {
    let seed = SegmentHeader::decode(bytes).map_or(Seed::new(1, 1), |header| header.seed());
    let mut record = bytes.to_vec();
    if record.len() >= HEADER_BYTES {
        seal(&mut record, 0, &seed);
        if let Some(header) = Header::read(&record, &seed) {
            let body = header.body(&record);
            assert!(body.is_none_or(|body| body.len() + HEADER_BYTES <= header.record_bytes()));
        }
    }
    if let Ok((metas, ops)) = decode_body(bytes) {
        let mut again = Vec::new();
        encode_metas(&mut again, &metas);
        again.extend_from_slice(ops);
        assert_eq!(decode_body(&again), Ok((metas, ops)), "what was read cannot be read again");
        OpIter::new(ops).for_each(drop);
    }
}
