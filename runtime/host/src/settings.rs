//! What a process may choose for itself: where it stores, how many threads it uses, what it may
//! hold in memory. Made by the command line from defaults, `--config`, `--set` and flags;
//! the table of names is [`keys::KEYS`].

pub mod keys;
pub mod memory;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::settings::memory::Shares;

/// Settings of one process. Small structs, one per concern: pass on only the one that is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub store: StoreSettings,
    pub runtime: RuntimeSettings,
    pub admin: AdminSettings,
    pub log: LogSettings,
    pub limits: Limits,
}

/// Where and how state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    pub kind: StoreKind,
    /// Data directory; used by the embedded store only.
    pub data: PathBuf,
    /// Start although a removed egress still has unconfirmed records.
    pub allow_orphans: bool,
    /// Length of one log segment.
    pub segment_bytes: u64,
    /// Log length at which the base is brought up to date.
    pub log_bytes_max: u64,
    /// Changes in memory that the base does not have yet, before work waits.
    pub dirty_bytes_max: u64,
    /// Blocks of the base kept in memory.
    pub cache_bytes: u64,
    /// The whole base is read and checked once in so long; `None`: never.
    pub scrub_interval: Option<Duration>,
}

/// Which store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreKind {
    /// Gone with the process.
    Memory,
    /// Log and base in the data directory.
    #[default]
    Embedded,
}

/// Threads, partitions, memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// One thread each; `None`: as many as cores.
    pub shards: Option<usize>,
    /// `None`: what the data directory was made with, else [`PARTITIONS_DEFAULT`].
    pub partitions: Option<u16>,
    /// Bound of the peak resident size.
    pub memory_bytes: u64,
    /// An instance without messages for so long is put to sleep.
    pub idle_sleep: Duration,
    /// What accepts work and finishes none for so long is said to stand still; `None`: never.
    pub stall_after: Option<Duration>,
    /// A stopping process gives the invocations in flight so long.
    pub stop_timeout: Duration,
}

/// Partitions of a data directory that is made without saying how many.
pub const PARTITIONS_DEFAULT: u16 = 128;

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// `None`: off.
    pub listen: Option<SocketAddr>,
}

/// What is written to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    /// Directives such as `warn` or `info,dormouse_host=debug`.
    pub filter: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// With its state, the target and the framing, a request then mostly fits the mebibyte that some servers and
/// proxies take at most (aiohttp and nginx, as they come).
const BATCH_BYTES: u64 = 768 * 1024;

/// The bounds of queues and buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages of one address kept in memory; more wait in the store.
    pub mailbox_messages: usize,
    /// Bytes of messages of one address kept in memory.
    pub mailbox_bytes: u64,
    /// Messages handed to a function in one invocation.
    pub batch_messages: usize,
    /// Bytes of messages handed to a function in one invocation.
    pub batch_bytes: u64,
    /// Invocations that one shard has under way.
    pub in_flight: usize,
    /// Bytes on their way from one partition to another that are kept in memory.
    pub channel_window_bytes: u64,
    /// Records of one partition that one egress has been handed and not confirmed.
    pub egress_window: usize,
    /// Messages accepted and not finished, in bytes; beyond it ingresses wait.
    pub backlog_bytes: u64,
    /// Bytes of messages in the making, such as bodies being received; more wait.
    pub bodies_bytes: u64,
    /// First pause of an address after a failure.
    pub retry_delay_min: Duration,
    /// Longest pause of an address after failures.
    pub retry_delay_max: Duration,
    /// Dead letters that one partition keeps, and their bytes; beyond it addresses are blocked.
    pub dead_letter_messages: u64,
    pub dead_letter_bytes: u64,
}

const MIB: u64 = 1024 * 1024;

const MEMORY_DEFAULT: u64 = 512 * MIB;
const SHARES_DEFAULT: Shares = Shares::of(MEMORY_DEFAULT);

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            kind: StoreKind::Embedded,
            data: PathBuf::from(".dormouse"),
            allow_orphans: false,
            segment_bytes: 16 * MIB,
            log_bytes_max: 128 * MIB,
            dirty_bytes_max: SHARES_DEFAULT.dirty,
            cache_bytes: SHARES_DEFAULT.cache,
            scrub_interval: Some(Duration::from_secs(24 * 3_600)),
        }
    }
}

impl Default for RuntimeSettings {
    fn default() -> Self {
        Self {
            shards: None,
            partitions: None,
            memory_bytes: MEMORY_DEFAULT,
            idle_sleep: Duration::from_secs(60),
            stall_after: Some(Duration::from_secs(10)),
            stop_timeout: Duration::from_secs(30),
        }
    }
}

impl RuntimeSettings {
    /// Shards to start: the chosen number, else one per core.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.shards.unwrap_or_else(cores)
    }
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9095))) }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "warn".to_owned() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mailbox_messages: 10_000,
            mailbox_bytes: MIB,
            batch_messages: 1_000,
            batch_bytes: BATCH_BYTES,
            in_flight: 16_384,
            channel_window_bytes: 256 * 1024,
            egress_window: 256,
            backlog_bytes: SHARES_DEFAULT.backlog,
            bodies_bytes: SHARES_DEFAULT.bodies,
            retry_delay_min: Duration::from_secs(1),
            retry_delay_max: Duration::from_secs(300),
            dead_letter_messages: 10_000,
            dead_letter_bytes: 8 * MIB,
        }
    }
}
