//! The egress `example.bank.v1/journal`: appends each record, a text, as a line to a file. A line begins
//! with the record's partition and number, so the file itself says how far it is: what the runtime hands over
//! again after a crash is not written again. Every record is in the file exactly once, in the order of
//! its partition. The file belongs to the application's data directory: with another one, numbers begin anew.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dormouse_protocol::{TypedValue, types};
use dormouse_sdk::egress::{Egress, EgressEntry};
use dormouse_sdk::ingress::{Lane, LocalFuture, OpenError};
use dormouse_sdk::manifest::{Diagnostics, Fields, values};
use dormouse_sdk::module::{Binder, Bindings, Component, EgressBinding};
use dormouse_sdk::register_binder;
use tokio::sync::Notify;
use tokio::time::sleep;

/// The kind's name.
pub const KIND: &str = "example.bank.v1/journal";

/// Longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 64 << 10;

/// Pause after the file could not be written.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

register_binder!(Binder { kind: KIND, summary: "records as lines of a file", bind });

/// A file that grows.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Handed over and not written. The runtime bounds how many there are: `limits.egress-window`.
    waiting: Mutex<Vec<EgressEntry>>,
    arrived: Notify,
    file: Mutex<Option<Written>>,
}

/// What is in the file, and durable.
#[derive(Debug)]
struct Written {
    file: File,
    bytes: u64,
    /// By partition, the number of its last record.
    last: BTreeMap<u16, u64>,
}

fn bind(component: &Component, bindings: &mut Bindings, diagnostics: &mut Diagnostics) {
    let strict = component.is_strict();
    let Some(mut fields) = Fields::of(&component.spec, "spec", strict, diagnostics) else {
        return;
    };
    let id = fields.required_id(diagnostics);
    let path = fields.required("path", "a file, beside the manifest", diagnostics);
    let path = path.and_then(|node| values::text(node, "path", diagnostics));
    fields.finish(diagnostics);
    let (Some(id), Some(path)) = (id, path) else {
        return;
    };
    let span = component.span.clone();
    let path = span.file.parent().map(|folder| folder.join(path)).unwrap_or_else(|| path.into());
    let journal =
        Journal { path, waiting: Mutex::default(), arrived: Notify::new(), file: Mutex::default() };
    bindings.egresses.push(EgressBinding { span, id, egress: Arc::new(journal) });
}

impl Egress for Journal {
    fn open(&self) -> Result<Option<String>, OpenError> {
        let shown = self.path.display();
        let written = Written::open(&self.path)
            .map_err(|error| OpenError(format!("cannot append to {shown}: {error}")))?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
        Ok(Some(shown.to_string()))
    }

    fn check(&self, value: &TypedValue) -> Result<String, String> {
        text(value).map(|_| String::new())
    }

    fn has_queue(&self, name: &str) -> bool {
        name.is_empty()
    }

    fn deliver(&self, entries: Vec<EgressEntry>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(entries);
        self.arrived.notify_one();
    }

    /// Writes on a thread for blocking work, one batch after the other, on behalf of all lanes.
    fn serve(self: Arc<Self>, lane: Lane) -> LocalFuture<()> {
        Box::pin(async move {
            if lane.index() != 0 {
                return;
            }
            let mut unwritten = Vec::new();
            let mut stopped = std::pin::pin!(lane.stopped());
            loop {
                tokio::select! {
                    () = self.arrived.notified() => {}
                    _ = &mut stopped => return,
                }
                while self.take_into(&mut unwritten) {
                    let journal = Arc::clone(&self);
                    let batch = std::mem::take(&mut unwritten);
                    let write = move || (journal.write(&batch), batch);
                    let Ok((result, batch)) = tokio::task::spawn_blocking(write).await else {
                        return;
                    };
                    match result {
                        Ok(()) => batch.into_iter().for_each(|entry| entry.receipt.confirm()),
                        Err(error) => {
                            let path = self.path.display();
                            tracing::error!(%error, "cannot append to {path}; the records wait");
                            unwritten = batch;
                            tokio::select! {
                                () = sleep(RETRY_PAUSE) => {}
                                _ = &mut stopped => return,
                            }
                        }
                    }
                }
            }
        })
    }
}

impl Journal {
    /// Adds what has been handed over; whether there is anything to write.
    fn take_into(&self, unwritten: &mut Vec<EgressEntry>) -> bool {
        unwritten.append(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        !unwritten.is_empty()
    }

    /// Returns when all entries are durable.
    fn write(&self, entries: &[EgressEntry]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let mut last = written.last.clone();
        let mut lines = String::new();
        for entry in entries {
            let (partition, number) = (entry.receipt.partition.0, entry.receipt.number);
            if last.get(&partition).is_some_and(|last| number <= *last) {
                continue; // Written before a crash, but not confirmed.
            }
            last.insert(partition, number);
            let text = text(&entry.value).map_err(io::Error::other)?;
            lines += &format!("{partition}.{number} {text}\n");
        }
        // What an earlier attempt has left behind is overwritten.
        written.file.set_len(written.bytes)?;
        written.file.seek(SeekFrom::Start(written.bytes))?;
        written.file.write_all(lines.as_bytes())?;
        written.file.sync_data()?;
        written.bytes += lines.len() as u64;
        written.last = last;
        Ok(())
    }
}

impl Written {
    /// Reads how far the file is. A last line that is not whole was never confirmed, and goes.
    fn open(path: &PathBuf) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut last = BTreeMap::new();
        let mut bytes = 0;
        let mut lines = BufReader::new(&file);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            let place = std::str::from_utf8(&line).ok().and_then(place);
            let (partition, number) = place.ok_or_else(|| {
                io::Error::other(format!(
                    "at byte {bytes}: expected a line of the journal; is it another file?"
                ))
            })?;
            last.insert(partition, number);
            bytes += line.len() as u64;
            line.clear();
        }
        file.set_len(bytes)?;
        Ok(Self { file, bytes, last })
    }
}

/// Partition and number at the beginning of a line.
fn place(line: &str) -> Option<(u16, u64)> {
    let (partition, number) = line.split_once(' ')?.0.split_once('.')?;
    Some((partition.parse().ok()?, number.parse().ok()?))
}

fn text(value: &TypedValue) -> Result<String, String> {
    if value.typename != types::STRING {
        let found = value.typename.escape_debug();
        return Err(format!("expected a record of type `{}`, got `{found}`", types::STRING));
    }
    let text = types::decode_string(&value.value).map_err(|error| error.to_string())?;
    if text.contains('\n') || text.len() > RECORD_BYTES_MAX {
        return Err(format!("expected one line of at most {RECORD_BYTES_MAX} bytes"));
    }
    Ok(text)
}
