//! Delayed messages: durable, ordered by due time and arrival, the near ones in memory. A token is
//! scoped to the sender's id; using it again replaces, cancelling is a blind delete.

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use dormouse_protocol::{Message, Partition};

use crate::action::{Action, GetFor, ScanFor, ScanRange, TokenRow};
use crate::breakage::{Breakage, breaks};
use crate::codec::DecodeError;
use crate::keys::{self, Key};
use crate::partition_state::{DUE_END, DueKey, NearTimer};
use crate::record::{Due, get_due, get_token, put_due_message, put_due_token, put_token};
use crate::scope::Awaiting;
use crate::shard::Shard;

impl Shard {
    /// Stores a message from an instance of `partition` (its caller) until `delay_ms` from now.
    pub(crate) fn send_delayed(
        &mut self,
        partition: Partition,
        delay_ms: u64,
        message: Message,
        token: Option<CompactString>,
    ) {
        self.stats.delayed_sent += 1;
        let due_ms = self.time_ms(partition).saturating_add(delay_ms);
        let part = self.part(partition);
        part.arrival += 1;
        let arrival = part.arrival;
        self.value.clear();
        if let Some(token) = &token {
            let sender = message.caller.as_ref().expect("a delayed message has a sender");
            let id = sender.id.clone();
            self.forget_token(partition, &id, token);
            keys::token(&mut self.key, partition, &id, token);
            put_token(&mut self.value, due_ms, arrival, &message);
            self.put_scratch(partition);
            self.value.clear();
            put_due_token(&mut self.value, &id, token, message.weight());
        } else {
            put_due_message(&mut self.value, &message);
        }
        keys::due(&mut self.key, partition, due_ms, arrival);
        self.put_scratch(partition);
        let commit = self.scope(partition).number;
        let timers = &mut self.part(partition).timers;
        timers.far_commit = commit;
        if timers.loading || (due_ms, arrival) < timers.loaded_upto {
            let timer = NearTimer { token, message: Arc::new(message) };
            timers.insert((due_ms, arrival), timer);
            let is_before = (due_ms, arrival) < timers.cursor;
            self.shorten_near(partition);
            if is_before && !breaks(Breakage::TimerBehindCursor) {
                self.list_cursor(partition);
            }
        }
        self.register_due(partition);
        self.load_timers(partition);
    }

    /// Cancels the message that holds `token` under the sender id `id`, if there is one.
    pub(crate) fn cancel(
        &mut self,
        partition: Partition,
        id: &CompactString,
        token: &CompactString,
    ) {
        if breaks(Breakage::CancelInMemory) {
            let timers = &mut self.part(partition).timers;
            if let Some(key) = timers.tokens.remove(&(id.clone(), token.clone())) {
                timers.remove(key);
            }
            self.register_due(partition);
            return;
        }
        self.stats.cancellations += 1;
        self.forget_token(partition, id, token);
        keys::token(&mut self.key, partition, id, token);
        self.delete(partition);
        // A read must not see the token as it was before.
        let commit = self.scope(partition).number;
        if !breaks(Breakage::ScanBeforeCancel) {
            self.part(partition).timers.far_commit = commit;
        }
        self.register_due(partition);
        self.load_timers(partition);
    }

    /// Drops what memory knows of a token; its due row goes too when it is known, else it is found
    /// stale when its time comes.
    fn forget_token(&mut self, partition: Partition, id: &CompactString, token: &CompactString) {
        let timers = &mut self.part(partition).timers;
        let owned = (id.clone(), token.clone());
        let known = timers.tokens.get(&owned).copied();
        if timers.loading {
            timers.touched.insert(owned);
        }
        if let Some(key) = known {
            timers.remove(key);
            self.delete_due(partition, key);
        }
    }

    /// Deletes the row of a message that will not fire. Where that never ends, as with messages that are
    /// always cancelled, the next start must not have to read past all of them.
    fn delete_due(&mut self, partition: Partition, (due_ms, arrival): DueKey) {
        keys::due(&mut self.key, partition, due_ms, arrival);
        self.delete(partition);
        let gone_max = self.gone_max();
        let timers = &mut self.part(partition).timers;
        timers.gone += 1;
        if timers.gone >= gone_max {
            self.list_cursor(partition);
        }
    }

    /// Rows of cancelled messages that a start reads past, at most, before the cursor is moved.
    pub(crate) fn gone_max(&self) -> usize {
        (self.config.limits.timers_near_max / 4).max(1)
    }

    /// Lists the partition among those whose cursor the open commit writes.
    fn list_cursor(&mut self, partition: Partition) {
        let timers = &mut self.part(partition).timers;
        if !std::mem::replace(&mut timers.is_touched, true) {
            self.scope(partition).open.cursors.push(partition);
        }
    }

    /// Keeps the delayed messages in memory within their bounds: the latest are left to the store.
    fn shorten_near(&mut self, partition: Partition) {
        let near_max = self.config.limits.timers_near_max;
        let bytes_max = self.config.limits.timers_near_bytes_max;
        let timers = &mut self.part(partition).timers;
        while !timers.loading
            && timers.near.len() > 1
            && (timers.near.len() > near_max || timers.near_bytes > bytes_max)
        {
            let (key, _) = timers.near.last_key_value().expect("there is more than one");
            let key = *key;
            timers.remove(key);
            timers.loaded_upto = timers.loaded_upto.min(key);
        }
    }

    /// Registers the partition under the time at which it next has something to do.
    pub(crate) fn register_due(&mut self, partition: Partition) {
        let part = self.parts[usize::from(partition.0)].as_deref_mut();
        let timers = &mut part.expect("the partition is owned").timers;
        let next = timers.next_due_ms();
        if next == timers.registered_ms {
            return;
        }
        if let Some(at_ms) = timers.registered_ms {
            self.due.remove(&(at_ms, partition));
        }
        if let Some(at_ms) = next {
            self.due.insert((at_ms, partition));
        }
        timers.registered_ms = next;
    }

    /// Sends the delayed messages whose time has come, a bounded number per turn.
    pub(crate) fn fire_due(&mut self) {
        let mut budget = self.config.limits.timers_per_turn;
        while let Some((at_ms, partition)) = self.due.first().copied() {
            let early_ms = if breaks(Breakage::FireEarly) { 20 } else { 0 };
            if at_ms > self.now_ms + early_ms || budget == 0 {
                return;
            }
            budget -= 1;
            self.fire_first(partition);
            self.register_due(partition);
            self.load_timers(partition);
        }
    }

    fn fire_first(&mut self, partition: Partition) {
        let now_ms = self.now_ms;
        let timers = &mut self.part(partition).timers;
        let Some((key, timer)) = timers.pop_first() else {
            return;
        };
        let (due_ms, arrival) = key;
        assert!(
            timers.fired <= key && (due_ms <= now_ms || breaks(Breakage::FireEarly)),
            "partition {partition}: message {arrival}, due at {due_ms}, fires at {now_ms} after {:?}",
            timers.fired
        );
        timers.fired = (due_ms, arrival + 1);
        self.list_cursor(partition);
        keys::due(&mut self.key, partition, key.0, key.1);
        self.delete(partition);
        let message = Arc::unwrap_or_clone(timer.message);
        if let Some(token) = &timer.token {
            let sender = message.caller.as_ref().expect("a delayed message has a sender");
            keys::token(&mut self.key, partition, &sender.id, token);
            self.delete(partition);
        }
        self.stats.delayed_fired += 1;
        self.send(partition, message);
    }

    /// Reads later messages from the store when few of those in memory are left.
    pub(crate) fn load_timers(&mut self, partition: Partition) {
        let near_max = self.config.limits.timers_near_max;
        let bytes_max = self.config.limits.timers_near_bytes_max;
        let visible = self.scope(partition).visible;
        let timers = &mut self.part(partition).timers;
        let has_enough = timers.near.len() > near_max / 4 || timers.near_bytes > bytes_max / 4;
        if timers.loading || timers.loaded_upto == DUE_END || has_enough {
            return;
        }
        timers.loading = true;
        let commit = timers.far_commit;
        if commit > visible {
            self.scope(partition).awaiting.push_back((commit, Awaiting::Timers(partition)));
        } else {
            self.scan_timers(partition);
        }
    }

    pub(crate) fn scan_timers(&mut self, partition: Partition) {
        let near_max = self.config.limits.timers_near_max;
        let bytes_max = self.config.limits.timers_near_bytes_max / 2;
        let timers = &mut self.part(partition).timers;
        let (mut from, mut to) = (Vec::new(), Vec::new());
        keys::due(&mut from, partition, timers.loaded_upto.0, timers.loaded_upto.1);
        keys::due(&mut to, partition, u64::MAX, u64::MAX);
        let range = ScanRange { from, to, rows_max: near_max / 2, bytes_max };
        self.actions.push(Action::Scan { purpose: ScanFor::Timers { partition }, range });
    }

    pub(crate) fn timers_scanned(
        &mut self,
        partition: Partition,
        rows: &[(Bytes, Bytes)],
        more: bool,
    ) -> Result<(), DecodeError> {
        let bytes_max = self.config.limits.timers_near_bytes_max / 2;
        let mut tokens = Vec::new();
        let mut tokens_bytes = 0;
        let mut upto = DUE_END;
        for (key, value) in rows {
            let (_, Key::Due { due_ms, arrival }) = keys::parse(key)? else {
                return Err(DecodeError { expected: "the key of a delayed message" });
            };
            let due = get_due(value)?;
            if let Due::Token { bytes, .. } = due {
                tokens_bytes += bytes;
                if tokens_bytes > bytes_max && !tokens.is_empty() {
                    // Their messages lie elsewhere: no more are read at once than there is room for.
                    upto = (due_ms, arrival);
                    break;
                }
            }
            if more {
                upto = (due_ms, arrival + 1);
            }
            match due {
                Due::Message(message) => {
                    let timer = NearTimer { token: None, message: Arc::new(message) };
                    self.part(partition).timers.insert((due_ms, arrival), timer);
                }
                Due::Token { id, token, .. } => {
                    tokens.push(TokenRow { due_ms, arrival, id, token });
                }
            }
        }
        if tokens.is_empty() {
            self.timers_loaded(partition, upto);
            return Ok(());
        }
        let mut keys = Vec::with_capacity(tokens.len());
        for row in &tokens {
            let mut key = Vec::new();
            keys::token(&mut key, partition, &row.id, &row.token);
            keys.push(key);
        }
        let purpose = GetFor::Tokens { partition, rows: tokens, upto };
        self.actions.push(Action::Get { purpose, keys });
        Ok(())
    }

    pub(crate) fn tokens_loaded(
        &mut self,
        partition: Partition,
        rows: &[TokenRow],
        upto: DueKey,
        values: &[Option<Bytes>],
    ) -> Result<(), DecodeError> {
        for (row, value) in rows.iter().zip(values) {
            let timers = &mut self.part(partition).timers;
            let is_touched = timers.touched.contains(&(row.id.clone(), row.token.clone()));
            let stored = value.as_ref().map(|bytes| get_token(bytes)).transpose()?;
            let message = stored
                .filter(|(due_ms, arrival, _)| (*due_ms, *arrival) == (row.due_ms, row.arrival))
                .map(|(_, _, message)| message);
            match message {
                Some(message) if !is_touched => {
                    let token = Some(row.token.clone());
                    let timer = NearTimer { token, message: Arc::new(message) };
                    timers.insert((row.due_ms, row.arrival), timer);
                }
                _ if timers.near.contains_key(&(row.due_ms, row.arrival)) => {}
                _ => self.delete_due(partition, (row.due_ms, row.arrival)),
            }
        }
        self.timers_loaded(partition, upto);
        Ok(())
    }

    fn timers_loaded(&mut self, partition: Partition, upto: DueKey) {
        let timers = &mut self.part(partition).timers;
        timers.loading = false;
        timers.touched.clear();
        timers.loaded_upto = upto;
        // Messages sent while the load was under way went into memory whatever their time.
        while let Some((key, _)) = timers.near.last_key_value().filter(|(key, _)| **key >= upto) {
            let key = *key;
            timers.remove(key);
        }
        self.shorten_near(partition);
        self.register_due(partition);
        self.load_timers(partition);
    }
}
