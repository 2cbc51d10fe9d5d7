//! Entries of tables and buffers. A running function reads them while it holds its address; what it
//! changes of them is written with its other effects, one row each. Nothing of them is kept in memory:
//! a read waits until the address's last write can be read, and then asks the store.

use bytes::Bytes;
use dormouse_protocol::entries::PAGE_ROWS_MAX;
use dormouse_protocol::{EntryEffects, EntryPage, EntryRead, Expiration, Partition, Which};

use crate::action::{Action, GetFor, ScanFor, ScanRange};
use crate::activation::Phase;
use crate::breakage::{Breakage, breaks};
use crate::codec::DecodeError;
use crate::event::InvocationId;
use crate::keys::{self, Key};
use crate::record::{get_entry, put_entry};
use crate::schedule::MAIL_SHARE_BYTES_MIN;
use crate::scope::Awaiting;
use crate::shard::Shard;

/// An entry as it is found.
enum Found {
    Live(Bytes),
    Expired,
}

impl Shard {
    /// A running function asks.
    pub(crate) fn read(&mut self, id: InvocationId, read: EntryRead) {
        let Some(activation) = self.activations.current(id) else {
            return;
        };
        if activation.phase != Phase::Running {
            return;
        }
        let (partition, last_write) = (activation.partition, activation.last_write);
        let address = activation.address.clone();
        let scope = self.scope(partition);
        if last_write > scope.visible && !breaks(Breakage::ReadBeforeWrite) {
            scope.awaiting.push_back((last_write, Awaiting::Read(id, read)));
            return;
        }
        let spec = read.spec;
        let name = &self.types.get(address.function_type).specs[usize::from(spec)].name;
        keys::entry_prefix(&mut self.key, partition, &address, name);
        let row = |entry: &[u8]| [self.key.as_slice(), entry].concat();
        let action = match read.which {
            Which::One(key) => {
                let keys = vec![row(&key)];
                Action::Get { purpose: GetFor::Entry { id, spec, key }, keys }
            }
            Which::Page { from, to, rows_max } => {
                let limits = &self.config.limits;
                let rows_max = rows_max.clamp(1, limits.scan_rows_max.min(PAGE_ROWS_MAX));
                // Many may read at once: each takes its share of memory.
                let share = (limits.memory_bytes_max / self.in_flight).max(MAIL_SHARE_BYTES_MIN);
                let bytes_max = limits.scan_bytes_max.min(share);
                let range = ScanRange { from: row(&from), to: row(&to), rows_max, bytes_max };
                Action::Scan { purpose: ScanFor::Entries { id, spec }, range }
            }
        };
        self.actions.push(action);
    }

    pub(crate) fn entry_read(
        &mut self,
        id: InvocationId,
        spec: u16,
        key: Bytes,
        values: &[Option<Bytes>],
    ) -> Result<(), DecodeError> {
        if self.activations.current(id).is_none_or(|found| found.phase != Phase::Running) {
            return Ok(());
        }
        let mut page = EntryPage::default();
        if let Some(row) = values.iter().flatten().next()
            && let Found::Live(value) = self.look_at(id.slot, spec, &key, row)?
        {
            page.rows.push((key, value));
        }
        self.actions.push(Action::Rows { id, page });
        Ok(())
    }

    pub(crate) fn page_read(
        &mut self,
        id: InvocationId,
        spec: u16,
        rows: &[(Bytes, Bytes)],
        more: bool,
    ) -> Result<(), DecodeError> {
        if self.activations.current(id).is_none_or(|found| found.phase != Phase::Running) {
            return Ok(());
        }
        let mut page = EntryPage::default();
        let mut last = None;
        for (row_key, row) in rows {
            let (_, Key::Entry { entry, .. }) = keys::parse(row_key)? else {
                return Err(DecodeError { expected: "the key of an entry" });
            };
            let key = row_key.slice(row_key.len() - entry.len()..);
            last = Some(key.clone());
            if let Found::Live(value) = self.look_at(id.slot, spec, &key, row)? {
                page.rows.push((key, value));
            }
        }
        page.next = last.filter(|_| more).map(|last| [&last[..], &[0]].concat().into());
        self.actions.push(Action::Rows { id, page });
        Ok(())
    }

    /// What a row holds now. One that has expired is deleted: the function sees that it is gone, so it
    /// must stay gone, whatever clock comes next. One that expires after its last use lives on.
    fn look_at(
        &mut self,
        slot: u32,
        spec: u16,
        key: &[u8],
        row: &Bytes,
    ) -> Result<Found, DecodeError> {
        let (expires_at_ms, value) = get_entry(row)?;
        let value = row.slice(row.len() - value.len()..);
        let partition = self.activations.get(slot).partition;
        let time_ms = self.time_ms(partition);
        let is_expired = expires_at_ms != 0 && expires_at_ms <= time_ms;
        let expiration = self.expiration(slot, spec);
        if is_expired {
            if !breaks(Breakage::ReviveExpired) {
                self.write_entry(slot, spec, key, None);
            }
            return Ok(Found::Expired);
        }
        let is_used = matches!(expiration, Expiration::AfterInvoke(_));
        if is_used && !breaks(Breakage::ForgetUse) {
            self.write_entry(slot, spec, key, Some(&value));
        }
        Ok(Found::Live(value))
    }

    fn expiration(&mut self, slot: u32, spec: u16) -> Expiration {
        let function_type = self.activations.get(slot).address.function_type;
        self.types.get(function_type).specs[usize::from(spec)].expiration
    }

    /// What an invocation has changed, row by row.
    pub(crate) fn write_entries(&mut self, slot: u32, partition: Partition, entries: EntryEffects) {
        for change in entries.changes {
            self.write_entry(slot, change.spec, &change.key, change.value.as_deref());
        }
        for cleared in entries.cleared {
            let activation = self.activations.get(slot);
            let (function_type, spec) = (activation.address.function_type, cleared.spec);
            let name = &self.types.get(function_type).specs[usize::from(spec)].name;
            keys::cleared(&mut self.key, partition, &activation.address, name, &cleared.prefix);
            self.put(partition, &[]);
            self.note_cleared(partition);
        }
    }

    /// Puts or deletes a row in the open commit; the instance stays awake until that can be read.
    fn write_entry(&mut self, slot: u32, spec: u16, key: &[u8], value: Option<&[u8]>) {
        let partition = self.activations.get(slot).partition;
        let expires_at_ms = match self.expiration(slot, spec) {
            Expiration::Never => 0,
            Expiration::AfterWrite(ttl_ms) | Expiration::AfterInvoke(ttl_ms) => {
                self.time_ms(partition).saturating_add(ttl_ms)
            }
        };
        let number = self.scope(partition).number;
        let activation = self.activations.get(slot);
        activation.last_write = number;
        let function_type = activation.address.function_type;
        let name = &self.types.get(function_type).specs[usize::from(spec)].name;
        keys::entry_prefix(&mut self.key, partition, &activation.address, name);
        self.key.extend_from_slice(key);
        match value {
            None => self.delete(partition),
            Some(value) => {
                self.value.clear();
                put_entry(&mut self.value, expires_at_ms, value);
                self.put_scratch(partition);
            }
        }
    }
}
