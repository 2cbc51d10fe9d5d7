//! Says what is wrong with a table: its file, and which keys cannot be read any more. Called when the
//! tree could not read something, and by the scrub for a table whose checksum does not fit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lsm_tree::{Cache, Checksum, InternalValue, Table};

use crate::StoreError;
use crate::base::files::{self, RESTORE, TableFile};

/// Bytes of a key in a message; the rest is left out.
const SHOWN_BYTES_MAX: usize = 64;
/// Blocks of a table under examination kept in memory.
const CACHE_BYTES: u64 = 1 << 20;

/// What is wrong with the first table that is not as it was written; `None` when all are.
pub(crate) fn first_of<'a>(
    tables: impl IntoIterator<Item = &'a TableFile>,
    context: &str,
) -> Option<StoreError> {
    tables.into_iter().find_map(|table| match files::is_whole(table, |_| true) {
        Ok(Some(false)) => Some(of_table(table, context)),
        Ok(_) => None,
        Err(error) => Some(error),
    })
}

/// What is wrong with a table whose checksum does not fit. `context` says how it was found.
pub(crate) fn of_table(table: &TableFile, context: &str) -> StoreError {
    // The tree takes some kinds of damage for impossible and panics.
    let keys =
        catch_unwind(AssertUnwindSafe(|| lost_keys(table))).ok().flatten().unwrap_or_else(|| {
            String::from("its description cannot be read, so all its keys are lost")
        });
    let problem =
        format!("its bytes are not those that were written: {keys} ({context}); {RESTORE}");
    let error = StoreError::DamagedFile { path: table.path.clone(), problem };
    tracing::error!(%error, "damage");
    error
}

/// Which keys of the table cannot be read; `None` when not even that is known.
fn lost_keys(table: &TableFile) -> Option<String> {
    let opened = Table::recover(
        table.path.clone(),
        Checksum::from_raw(table.checksum),
        table.seqno,
        0,
        Arc::new(Cache::with_capacity_bytes(CACHE_BYTES)),
        None,
        false,
        true,
    )
    .ok()?;
    let range = &opened.metadata.key_range;
    let (first, last) = (shown(range.min()), shown(range.max()));
    let Some(after) = last_readable(opened.iter()) else {
        return Some(format!(
            "rows can be read, its filter or description cannot; keys {first} to {last}"
        ));
    };
    let before = last_readable(opened.iter().rev()).flatten();
    let after = after.map_or(format!("from {first}"), |key| format!("after {}", shown(&key)));
    let before = before.map_or(format!("up to {last}"), |key| format!("before {}", shown(&key)));
    Some(format!("keys {after} and {before} cannot be read"))
}

/// The last key in front of the first row that cannot be read; `None` when all can.
fn last_readable(
    rows: impl Iterator<Item = lsm_tree::Result<InternalValue>>,
) -> Option<Option<Vec<u8>>> {
    let mut last = None;
    for row in rows {
        match row {
            Ok(row) => last = Some(row.key.user_key.to_vec()),
            Err(_) => return Some(last),
        }
    }
    None
}

/// A key in a message.
pub(crate) fn shown(key: &[u8]) -> String {
    match key.get(..SHOWN_BYTES_MAX) {
        Some(front) => format!("\"{}...\"", front.escape_ascii()),
        None => format!("\"{}\"", key.escape_ascii()),
    }
}
