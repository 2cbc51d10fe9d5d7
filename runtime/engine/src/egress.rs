//! Records on their way out: numbered per partition and queue, kept until the egress confirms them. A
//! bounded number is handed over; more wait in the store.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::{Address, Partition, TypedValue};

use crate::action::{Action, EgressOut, ScanFor, ScanRange};
use crate::breakage::{Breakage, breaks};
use crate::codec::DecodeError;
use crate::keys;
use crate::partition_state::EgressQueue;
use crate::record::{get_egress, put_egress};
use crate::scope::Awaiting;
use crate::shard::Shard;

impl Shard {
    pub(crate) fn send_egress(
        &mut self,
        partition: Partition,
        outbox: &Arc<str>,
        sender: &Address,
        value: TypedValue,
    ) {
        self.stats.egress_sent += 1;
        let window = self.config.limits.egress_window_len;
        let commit = self.scope(partition).number;
        let part = self.part(partition);
        let queues = &mut part.egress;
        if !queues.contains_key(outbox) {
            queues.insert(outbox.clone(), EgressQueue::new(1, 0));
        }
        let queue = queues.get_mut(outbox).expect("inserted above");
        let number = queue.next;
        queue.next += 1;
        let fits = !queue.spilled && queue.unconfirmed.len() < window;
        if fits {
            queue.unconfirmed.insert(number);
            queue.handed = number;
        } else {
            queue.spilled = true;
            queue.spill_commit = commit;
        }
        let is_new = !std::mem::replace(&mut queue.is_touched, true);
        keys::egress(&mut self.key, partition, outbox, number);
        self.value.clear();
        put_egress(&mut self.value, sender, &value);
        self.put_scratch(partition);
        let open = &mut self.scope(partition).open;
        if is_new {
            open.egress.push((partition, outbox.clone()));
        }
        if fits {
            let outbox = outbox.clone();
            let out = EgressOut { partition, outbox, number, sender: sender.clone(), value };
            open.releases.push(Action::Egress(Box::new(out)));
            self.stats.egress_unconfirmed += 1;
        }
    }

    pub(crate) fn egress_confirmed(
        &mut self,
        partition: Partition,
        outbox: &Arc<str>,
        number: u64,
    ) {
        let Some(part) = &mut self.parts[usize::from(partition.0)] else {
            return;
        };
        let Some(queue) = part.egress.get_mut(outbox) else {
            return;
        };
        if !queue.unconfirmed.remove(&number) {
            return;
        }
        self.stats.egress_unconfirmed -= 1;
        let is_new = !std::mem::replace(&mut queue.is_touched, true);
        keys::egress(&mut self.key, partition, outbox, number);
        self.delete(partition);
        if is_new {
            self.scope(partition).open.egress.push((partition, outbox.clone()));
        }
        self.load_egress(partition, outbox);
    }

    /// Reads records beyond those handed over, when half of the window is free and they are readable.
    pub(crate) fn load_egress(&mut self, partition: Partition, outbox: &Arc<str>) {
        let window = self.config.limits.egress_window_len;
        let visible = self.scope(partition).visible;
        let Some(queue) = self.part(partition).egress.get_mut(outbox) else {
            return;
        };
        let has_room = queue.unconfirmed.len() * 2 <= window;
        if breaks(Breakage::ForgetEgress) && queue.handed > 0 {
            return;
        }
        if !queue.spilled || queue.loading || !has_room || queue.is_awaiting {
            return;
        }
        if queue.spill_commit > visible {
            queue.is_awaiting = true;
            let awaiting = Awaiting::Egress(partition, outbox.clone());
            let commit = queue.spill_commit;
            self.scope(partition).awaiting.push_back((commit, awaiting));
            return;
        }
        self.scan_egress(partition, outbox);
    }

    /// Reads what is readable now: later records may have been left to a commit that is not.
    fn scan_egress(&mut self, partition: Partition, outbox: &Arc<str>) {
        let window = self.config.limits.egress_window_len;
        let visible = self.scope(partition).visible;
        let bytes_max = self.config.limits.scan_bytes_max;
        let Some(queue) = self.part(partition).egress.get_mut(outbox) else {
            return;
        };
        queue.loading = true;
        queue.asked = (queue.spill_commit <= visible).then_some(queue.spill_commit);
        let rows_max = window - queue.unconfirmed.len();
        let (mut from, mut to) = (Vec::new(), Vec::new());
        keys::egress(&mut from, partition, outbox, queue.handed + 1);
        keys::egress(&mut to, partition, outbox, u64::MAX);
        let range = ScanRange { from, to, rows_max, bytes_max };
        let purpose = ScanFor::Egress { partition, outbox: outbox.clone() };
        self.actions.push(Action::Scan { purpose, range });
    }

    pub(crate) fn egress_loaded(
        &mut self,
        partition: Partition,
        outbox: &Arc<str>,
        rows: &[(Bytes, Bytes)],
        more: bool,
    ) -> Result<(), DecodeError> {
        let window = self.config.limits.egress_window_len;
        let index = self.scope_index(partition);
        let part = self.parts[usize::from(partition.0)].as_deref_mut();
        let Some(queue) = part.and_then(|part| part.egress.get_mut(outbox)) else {
            return Ok(());
        };
        queue.loading = false;
        for (key, value) in rows {
            let (_, keys::Key::Egress { number, .. }) = keys::parse(key)? else {
                return Err(DecodeError { expected: "the key of an egress record" });
            };
            let (sender, value) = get_egress(value)?;
            queue.unconfirmed.insert(number);
            queue.handed = number;
            let out = EgressOut { partition, outbox: outbox.clone(), number, sender, value };
            // What was read may not be durable yet: it leaves with the commit that is open now.
            self.scopes[index].open.releases.push(Action::Egress(Box::new(out)));
        }
        assert!(
            queue.unconfirmed.len() <= window,
            "partition {partition}: {} records of {outbox} are handed over, at most {window} may be",
            queue.unconfirmed.len()
        );
        if !more && queue.asked == Some(queue.spill_commit) {
            queue.spilled = false;
        }
        self.stats.egress_unconfirmed += rows.len() as u64;
        self.load_egress(partition, outbox);
        Ok(())
    }

    /// The records left to the store have become readable.
    pub(crate) fn resume_egress(&mut self, partition: Partition, outbox: &Arc<str>) {
        if let Some(queue) = self.part(partition).egress.get_mut(outbox) {
            queue.is_awaiting = false;
            self.scan_egress(partition, outbox);
        }
    }
}
