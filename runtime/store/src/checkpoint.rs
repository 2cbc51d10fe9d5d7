//! Writes what is in memory to the base, in the background, and gives up the log that it covers.
//!
//! A checkpoint freezes the layer of each shard at its own moment: `floor`, the lowest of these log
//! positions, is what the base then covers (operations are absolute, so replaying from `floor` over a
//! base that holds some later ones ends the same). The base may only get what is durable in the log,
//! and log files go only when the base has said that it is durable.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use dormouse_engine::codec::{DecodeError, Reader, put_varint};
use rustc_hash::FxHashMap;

use crate::StoreError;
use crate::base::{Base, OWN_SPACE, Snapshot};
use crate::embedded::Disk;
use crate::memory::Shards;
use crate::outboxes::{Dead, Span, Spans, changed, dead, dead_keys, encode_span, span_key};
use crate::overlay::Layer;
use crate::signals::{Signals, lock};
use crate::state::Channel;

/// The row that says which log positions the base holds.
const CHECKPOINT_KEY: [u8; 2] = [OWN_SPACE, b'l'];

/// Which log positions a base holds; all zero for an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Covered {
    /// Everything up to here.
    pub(crate) floor: u64,
    /// Nothing above here. All of it was durable in the log before it was written.
    pub(crate) top: u64,
}

/// Which log positions the base holds.
pub(crate) fn covered_by(base: &Snapshot) -> Result<Covered, StoreError> {
    let Some(value) = base.get(&CHECKPOINT_KEY)? else {
        return Ok(Covered::default());
    };
    decode_covered(&value).map_err(|error| StoreError::Unstorable {
        problem: format!("the base's log position is a {error}"),
    })
}

fn encode_covered(covered: Covered) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_varint(&mut bytes, covered.floor);
    put_varint(&mut bytes, covered.top);
    bytes
}

fn decode_covered(value: &[u8]) -> Result<Covered, DecodeError> {
    let mut reader = Reader::new(value);
    Ok(Covered {
        floor: reader.varint("log position")?,
        top: reader.varint("highest log position")?,
    })
}

/// How shards ask for a checkpoint, and `close` for the end.
#[derive(Debug, Default)]
pub(crate) struct Trigger {
    state: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wanted {
    checkpoint: bool,
    stop: bool,
}

impl Trigger {
    pub(crate) fn request(&self) {
        let mut state = lock(&self.state);
        if !state.checkpoint {
            state.checkpoint = true;
            self.changed.notify_one();
        }
    }

    pub(crate) fn stop(&self) {
        lock(&self.state).stop = true;
        self.changed.notify_one();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.state).stop
    }

    /// Waits for a request, at most `timeout`; whether there was one.
    fn wait(&self, timeout: Duration) -> bool {
        let state = lock(&self.state);
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, timeout, |state| !state.checkpoint && !state.stop)
            .expect("no thread of the store panics while it holds a lock");
        std::mem::take(&mut state.checkpoint)
    }
}

/// The checkpoint thread.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    pub(crate) disk: Arc<Disk>,
    pub(crate) shards: Arc<Shards>,
    pub(crate) compactor: Arc<Compactor>,
    /// What recovery replayed: the frozen layer that all shards begin with.
    pub(crate) recovered: Arc<Mutex<Option<Arc<Layer>>>>,
    pub(crate) recovered_lsn: u64,
    pub(crate) recovered_trimmed: FxHashMap<Channel, u64>,
    pub(crate) after_idle: Duration,
}

/// The layers of one checkpoint.
struct Frozen {
    layers: Vec<Arc<Layer>>,
    dead: Vec<Dead>,
    /// What the base holds once they are written.
    covered: Covered,
    /// [`crate::log::Log::appended_bytes`] when it was frozen.
    appended_bytes: u64,
}

impl Checkpointer {
    /// The body of the checkpoint thread.
    pub(crate) fn run(self) {
        if let Err(error) = self.work() {
            self.disk.signals.poison(&error);
        }
    }

    fn work(&self) -> Result<(), StoreError> {
        let recovered = lock(&self.recovered).clone();
        if let Some(layer) = recovered {
            self.write_recovered(layer)?;
        }
        loop {
            let before = self.disk.log.appended_bytes();
            let requested =
                self.disk.is_checkpoint_due() || self.disk.trigger.wait(self.after_idle);
            if self.disk.trigger.is_stopped() {
                return Ok(());
            }
            let is_idle = !requested && before == self.disk.log.appended_bytes();
            let has_work = self.disk.dirty_bytes.load(Ordering::Relaxed) > 0;
            if self.disk.is_checkpoint_due() || (is_idle && has_work) {
                self.checkpoint()?;
            }
        }
    }

    fn write_recovered(&self, layer: Arc<Layer>) -> Result<(), StoreError> {
        let trimmed = |channel: Channel| {
            let trimmed = self.recovered_trimmed.get(&channel);
            trimmed.copied().unwrap_or(0)
        };
        let frozen = Frozen {
            dead: dead(&lock(&self.disk.spans), trimmed),
            covered: Covered { floor: self.recovered_lsn, top: self.recovered_lsn },
            appended_bytes: self.disk.log.appended_bytes(),
            layers: vec![layer],
        };
        self.write(frozen)
    }

    #[cfg(test)]
    pub(crate) fn checkpoint_now(&self) -> Result<(), StoreError> {
        self.checkpoint()
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        let frozen = self.freeze();
        self.write(frozen)
    }

    /// Freezes the layers of all shards; none is opened meanwhile.
    fn freeze(&self) -> Frozen {
        let spans = lock(&self.disk.spans).clone();
        let log = &self.disk.log;
        self.shards.with_all(|states| {
            let mut frozen = Frozen {
                layers: Vec::new(),
                dead: Vec::new(),
                appended_bytes: log.appended_bytes(),
                covered: Covered { floor: log.last_lsn(), top: log.last_lsn() },
            };
            for state in states {
                let mut state = lock(state);
                // The shard appends under this lock: all its records up to here are in the layer.
                frozen.covered.top = log.last_lsn();
                frozen.layers.push(state.freeze());
                frozen.dead.extend(dead(&spans, |channel| state.trimmed(channel)));
            }
            frozen
        })
    }

    /// Writes the layers to the base, then lets them and the log behind them go.
    fn write(&self, frozen: Frozen) -> Result<(), StoreError> {
        self.disk.log.wait_durable(frozen.covered.top)?;
        let mut spans = lock(&self.disk.spans).clone();
        let layers = frozen.layers.iter().map(|layer| &**layer);
        let to_write =
            ToWrite { layers: layers.collect(), dead: &frozen.dead, covered: frozen.covered };
        to_write.write(&self.disk.base, &mut spans)?;
        *lock(&self.disk.spans) = spans;
        self.let_go(frozen)?;
        self.compactor.begin();
        self.compactor.wait_for_room()
    }

    fn let_go(&self, frozen: Frozen) -> Result<(), StoreError> {
        let disk = &self.disk;
        let gone = self.shards.with_all(|states| {
            lock(&self.recovered).take();
            states.iter().map(|state| lock(state).drop_frozen()).collect::<Vec<_>>()
        });
        let bytes: usize = frozen.layers.iter().map(|layer| layer.bytes()).sum();
        drop((gone, frozen.layers));
        disk.dirty_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        disk.covered_bytes.store(frozen.appended_bytes, Ordering::Relaxed);
        disk.segments.recycle(frozen.covered.floor)?;
        disk.signals.wake();
        Ok(())
    }
}

/// What one checkpoint writes to the base. All of it must be durable in the log.
#[derive(Debug)]
pub(crate) struct ToWrite<'a> {
    pub(crate) layers: Vec<&'a Layer>,
    /// Outbox entries in the base that are trimmed.
    pub(crate) dead: &'a [Dead],
    /// What the base holds when this is written.
    pub(crate) covered: Covered,
}

impl ToWrite<'_> {
    /// Writes in one step, and brings `spans` to what the base holds then.
    pub(crate) fn write(&self, base: &Base, spans: &mut Spans) -> Result<(), StoreError> {
        let sent = self
            .layers
            .iter()
            .flat_map(|layer| layer.sent())
            .filter(|(_, value)| value.is_some())
            .map(|(key, _)| key);
        let changed = changed(spans, self.dead, sent);
        let own = self.own_rows(&changed);
        let own = own.iter().map(|(key, value)| (&key[..], value.as_deref()));
        let rows = self.layers.iter().flat_map(|layer| layer.entries()).chain(own);
        let mut rows: Vec<_> = rows.map(|(key, value)| (front_of(key), key, value)).collect();
        rows.sort_unstable_by_key(|(front, key, _)| (*front, *key));
        // A trimmed entry may also have been deleted: two tombstones.
        rows.dedup_by_key(|(_, key, _)| *key);
        base.ingest(rows.into_iter().map(|(_, key, value)| (key, value)))?;
        for (channel, span) in changed {
            match span {
                Some(span) => spans.insert(channel, span),
                None => spans.remove(&channel),
            };
        }
        Ok(())
    }

    /// Rows beside those of the layers.
    fn own_rows(
        &self,
        changed: &FxHashMap<Channel, Option<Span>>,
    ) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let dead = dead_keys(self.dead).map(|key| (key, None));
        let spans =
            changed.iter().map(|(channel, span)| (span_key(*channel), span.map(encode_span)));
        let position = (CHECKPOINT_KEY.to_vec(), Some(encode_covered(self.covered)));
        dead.chain(spans).chain([position]).collect()
    }
}

/// The first bytes of a key, in its order: nearly all keys differ in them, and whoever sorts keys that lie all
/// over the memory waits for each look at one.
fn front_of(key: &[u8]) -> u128 {
    let mut front = [0; 16];
    let length = key.len().min(front.len());
    front[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(front)
}

/// The compaction thread: works off what checkpoints leave, one step at a time.
#[derive(Debug)]
pub(crate) struct Compactor {
    base: Arc<Base>,
    signals: Arc<Signals>,
    state: Mutex<Compaction>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Compaction {
    wanted: bool,
    stop: bool,
}

impl Compactor {
    pub(crate) fn new(base: Arc<Base>, signals: Arc<Signals>) -> Self {
        Self {
            base,
            signals,
            state: Mutex::new(Compaction { wanted: true, stop: false }),
            changed: Condvar::new(),
        }
    }

    /// The body of the compaction thread.
    pub(crate) fn run(&self) {
        while self.wait() {
            match self.base.compact() {
                Ok(true) => self.begin(),
                Ok(false) => {}
                Err(error) => {
                    self.signals.poison(&error);
                    self.stop();
                }
            }
            self.changed.notify_all();
        }
    }

    /// There may be something to compact.
    fn begin(&self) {
        lock(&self.state).wanted = true;
        self.changed.notify_all();
    }

    pub(crate) fn stop(&self) {
        lock(&self.state).stop = true;
        self.changed.notify_all();
    }

    fn wait(&self) -> bool {
        let state = lock(&self.state);
        let mut state = self
            .changed
            .wait_while(state, |state| !state.wanted && !state.stop)
            .expect("no thread of the store panics while it holds a lock");
        state.wanted = false;
        !state.stop
    }

    /// Waits while compaction is too far behind for one more checkpoint.
    fn wait_for_room(&self) -> Result<(), StoreError> {
        let mut state = lock(&self.state);
        while self.base.fresh_runs() > self.base.fresh_runs_max() && !state.stop {
            self.signals.check()?;
            // Compaction tells after each step; the time limit only covers a step that finds nothing.
            state = self
                .changed
                .wait_timeout(state, Duration::from_millis(100))
                .expect("no thread of the store panics while it holds a lock")
                .0;
        }
        Ok(())
    }
}
