//! Messages to partitions of other scopes: numbered by the sender, repeated until confirmed, taken
//! once by the receiver.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::partition::placement_hash;
use dormouse_protocol::{Address, Message, Partition};
use smallvec::SmallVec;

use crate::action::{Action, ScanFor, ScanRange};
use crate::breakage::{Breakage, breaks};
use crate::channel::{BatchMessages, Frame, FrameBody, InMark, OutChannel};
use crate::codec::{DecodeError, Reader};
use crate::commit::Trim;
use crate::keys;
use crate::record::{get_message, put_message};
use crate::scope::Scoping;
use crate::shard::Shard;

impl Shard {
    /// Numbers a message and puts it into the outbox; it leaves when its commit may.
    pub(crate) fn send_numbered(
        &mut self,
        sender: Partition,
        receiver: Partition,
        message: &Arc<Message>,
    ) {
        let window_bytes_max = self.config.limits.channel_window_bytes;
        let channel = self.channel(sender, receiver);
        let number = channel.next;
        channel.next += 1;
        if !channel.spilled && channel.window_bytes < window_bytes_max {
            channel.push(message.clone());
        } else {
            channel.spilled = true;
        }
        let is_new = !std::mem::replace(&mut channel.is_touched, true);
        if is_new {
            self.scope(sender).open.sends.push((sender, receiver));
        }
        keys::outbox(&mut self.key, sender, receiver, number);
        self.value.clear();
        put_message(&mut self.value, message, true);
        self.put_scratch(sender);
    }

    fn channel(&mut self, sender: Partition, receiver: Partition) -> &mut OutChannel {
        let slot = &mut self.part(sender).channels[usize::from(receiver.0)];
        slot.get_or_insert_with(|| Box::new(OutChannel::fresh()))
    }

    /// The commit that holds all entries up to `upto` may leave.
    pub(crate) fn release_sends(&mut self, sender: Partition, receiver: Partition, upto: u64) {
        let channel = self.channel(sender, receiver);
        channel.released = channel.released.max(upto);
        self.send_window(sender, receiver);
    }

    /// Sends what is in memory, may leave, and has not been sent.
    fn send_window(&mut self, sender: Partition, receiver: Partition) {
        let channel = self.channel(sender, receiver);
        let upto = channel.released.min(channel.window_end() - 1);
        if !channel.is_open || upto <= channel.sent {
            return;
        }
        let after = channel.sent;
        assert!(
            channel.window_first <= after + 1,
            "what was not sent is in memory or in the store"
        );
        let skip = (after + 1 - channel.window_first) as usize;
        let count = (upto - after) as usize;
        let messages = channel.window.iter().skip(skip).take(count).cloned().collect();
        channel.sent = upto;
        let opens = std::mem::replace(&mut channel.opens, false);
        let body = FrameBody::Batch { epoch: channel.epoch, after, opens, messages };
        self.actions.push(Action::Frame(Frame { from: sender, to: receiver, body }));
    }

    /// Whether the open commit holds messages to other scopes that are for one of these partitions.
    #[must_use]
    pub fn has_sends_to(&self, is_one: impl Fn(Partition) -> bool) -> bool {
        let mut sends = self.scopes.iter().flat_map(|scope| &scope.open.sends);
        sends.any(|(_, receiver)| is_one(*receiver))
    }

    /// Looks at what frames that come soon will need, which changes nothing: at their messages and who will
    /// get these, and at what is confirmed. Step by step for all of them, since one look waits for memory
    /// that the next one depends on: the processor then waits for all of them at once.
    pub fn look_ahead<'a>(&self, frames: impl Iterator<Item = &'a Frame>) {
        let mut targets = SmallVec::<[&Address; 64]>::new();
        for frame in frames {
            match &frame.body {
                FrameBody::Batch { messages, .. } => {
                    let begun = targets.len();
                    targets.extend(messages.iter().map(|message| &message.target));
                    // Written by another processor.
                    targets[begun..].iter().for_each(|target| {
                        black_box(target.id.len());
                    });
                }
                FrameBody::Confirm { .. } => self.fetch_confirmed(frame.to, frame.from),
                _ => {}
            }
        }
        let guess = |target| self.activations.guess(placement_hash(target), target);
        let guessed: SmallVec<[u32; 64]> = targets.into_iter().filter_map(guess).collect();
        guessed.into_iter().for_each(|slot| self.activations.fetch(slot));
    }

    fn fetch_confirmed(&self, sender: Partition, receiver: Partition) {
        let part = self.parts[usize::from(sender.0)].as_ref();
        let channel = part.and_then(|part| part.channels[usize::from(receiver.0)].as_ref());
        black_box(channel.and_then(|channel| Some(channel.window.front()?.weight())));
    }

    /// Looks at what sending on a channel needs.
    #[inline]
    pub(crate) fn fetch_channel(&self, sender: Partition, receiver: Partition) {
        let part = self.parts[usize::from(sender.0)].as_ref();
        if let Some(channel) = part.and_then(|part| part.channels[usize::from(receiver.0)].as_ref())
        {
            black_box((channel.next, channel.window.back().map(Arc::as_ptr), channel.is_touched));
        }
    }

    /// A frame for a partition of this shard. One for a partition that it does not own is dropped: its
    /// sender asks again when ownership changes.
    pub(crate) fn frame(&mut self, frame: Frame) {
        if self.parts[usize::from(frame.to.0)].is_none() {
            return;
        }
        let Frame { from, to, body } = frame;
        match body {
            FrameBody::Batch { epoch, after, opens, messages } => {
                self.deliver(to, from, (epoch, after, opens), messages);
            }
            FrameBody::Confirm { epoch, taken } => self.confirmed(to, from, epoch, taken),
            FrameBody::Gap { epoch, taken } => self.resend(to, from, epoch, taken),
            FrameBody::Ask => {
                let mark = self.part(to).marks[usize::from(from.0)].unwrap_or_default();
                let taken = if breaks(Breakage::StatusEarly) { mark.taken } else { mark.confirmed };
                let body = FrameBody::Status { epoch: mark.epoch, taken };
                self.actions.push(Action::Frame(Frame { from: to, to: from, body }));
            }
            FrameBody::Status { epoch, taken } => self.open_channel(to, from, epoch, taken),
        }
    }

    /// Takes the messages of a batch that are new to `receiver`.
    fn deliver(
        &mut self,
        receiver: Partition,
        sender: Partition,
        (epoch, after, opens): (u64, u64, bool),
        messages: BatchMessages,
    ) {
        let mut mark = self.part(receiver).marks[usize::from(sender.0)].unwrap_or_default();
        if epoch < mark.epoch {
            return;
        }
        if epoch > mark.epoch {
            if !opens {
                // The batch that opens the epoch was lost on the way, or is still coming.
                self.answer_gap(receiver, sender, mark);
                return;
            }
            mark = InMark { epoch, taken: after, confirmed: after, is_touched: mark.is_touched };
        }
        if after > mark.taken && !breaks(Breakage::SkipGapCheck) {
            self.answer_gap(receiver, sender, mark);
            return;
        }
        let upto = after + messages.len() as u64;
        if upto <= mark.taken {
            self.stats.duplicates_dropped += messages.len() as u64;
        }
        let repeated = mark.taken.saturating_sub(after) as usize;
        let known = if breaks(Breakage::SkipDedupe) { 0 } else { repeated };
        mark.taken = mark.taken.max(upto);
        // Also for a repeat: its sender has not heard the confirmation.
        if !std::mem::replace(&mut mark.is_touched, true) {
            self.scope(receiver).open.marks.push((receiver, sender));
            self.touch(receiver);
        }
        self.part(receiver).marks[usize::from(sender.0)] = Some(mark);
        if breaks(Breakage::ConfirmEarly) {
            let body = FrameBody::Confirm { epoch: mark.epoch, taken: mark.taken };
            self.actions.push(Action::Frame(Frame { from: receiver, to: sender, body }));
        }
        for message in messages.into_iter().skip(known) {
            let hash = placement_hash(&message.target);
            self.enqueue(receiver, hash, message);
        }
    }

    /// The mark that a confirmation names will not be lost.
    pub(crate) fn note_confirmed(&mut self, frame: &Frame) {
        if let FrameBody::Confirm { epoch, taken } = frame.body
            && let Some(mark) = &mut self.part(frame.from).marks[usize::from(frame.to.0)]
            && mark.epoch == epoch
        {
            mark.confirmed = mark.confirmed.max(taken);
        }
    }

    fn answer_gap(&mut self, receiver: Partition, sender: Partition, mark: InMark) {
        let body = FrameBody::Gap { epoch: mark.epoch, taken: mark.taken };
        self.actions.push(Action::Frame(Frame { from: receiver, to: sender, body }));
    }

    /// The receiver will not lose what it has taken: it need not be kept here.
    fn confirmed(&mut self, sender: Partition, receiver: Partition, epoch: u64, taken: u64) {
        let Some(channel) = &mut self.part(sender).channels[usize::from(receiver.0)] else {
            return;
        };
        let is_news = epoch == channel.epoch && taken > channel.trimmed;
        let last = channel.next - 1;
        if !is_news || self.sent_by_others((sender, receiver), last, taken) {
            return;
        }
        let channel = self.channel(sender, receiver);
        channel.trim(taken);
        channel.sent = channel.sent.max(taken);
        let trim = Trim { from: sender, to: receiver, upto: taken };
        let now_ms = self.now_ms;
        self.scope(sender).open.trim(trim, now_ms);
        self.load_outbox(sender, receiver);
    }

    /// Whether another owner of `sender` has sent what this one has not: then this one is a former owner,
    /// which the store will tell it. Where partitions do not change hands, that cannot be.
    fn sent_by_others(&self, channel: (Partition, Partition), last: u64, taken: u64) -> bool {
        let (sender, receiver) = channel;
        assert!(
            taken <= last || self.config.scoping == Scoping::Partition,
            "{receiver} has taken message {taken} of {sender}, which has sent {last}"
        );
        taken > last
    }

    /// The receiver misses something: everything after what it has taken is sent again.
    fn resend(&mut self, sender: Partition, receiver: Partition, epoch: u64, taken: u64) {
        let Some(channel) = &mut self.part(sender).channels[usize::from(receiver.0)] else {
            return;
        };
        let is_stale = breaks(Breakage::DropStaleGap) && taken < channel.trimmed;
        if epoch > channel.epoch || is_stale {
            return;
        }
        if epoch == channel.epoch && taken < channel.trimmed {
            // Overtaken by a confirmation, and a batch was not taken; or from a former owner, who would
            // miss the same for ever. The owner says how far it is.
            if channel.is_open {
                self.ask(sender, receiver);
            }
            return;
        }
        channel.opens = epoch < channel.epoch;
        let known = if epoch < channel.epoch { 0 } else { taken };
        channel.sent = known.max(channel.trimmed);
        self.send_window(sender, receiver);
    }

    /// Asks the receiver how far it is; nothing is sent until its owner has answered.
    pub(crate) fn ask(&mut self, sender: Partition, receiver: Partition) {
        let channel = self.channel(sender, receiver);
        channel.is_open = false;
        channel.asked = channel.trimmed;
        let frame = Frame { from: sender, to: receiver, body: FrameBody::Ask };
        self.actions.push(Action::Frame(frame));
    }

    /// The receiver has said how far it is: what it has not taken is sent.
    fn open_channel(&mut self, sender: Partition, receiver: Partition, epoch: u64, taken: u64) {
        let channel = self.channel(sender, receiver);
        if channel.is_open {
            return;
        }
        assert!(
            epoch <= channel.epoch,
            "{receiver} knows epoch {epoch} of {sender}, which is at {}",
            channel.epoch
        );
        let (known, last) = (epoch == channel.epoch, channel.next - 1);
        // Less than it had confirmed when it was asked: a former owner's answer, or an older one.
        // Another one follows.
        let is_old = known && taken < channel.asked;
        if is_old || (known && self.sent_by_others((sender, receiver), last, taken)) {
            return;
        }
        let channel = self.channel(sender, receiver);
        channel.is_open = true;
        if epoch < channel.epoch {
            channel.opens = true;
            channel.sent = channel.trimmed;
        } else {
            channel.sent = taken.max(channel.trimmed);
            if taken > channel.trimmed {
                channel.trim(taken);
                let trim = Trim { from: sender, to: receiver, upto: taken };
                let now_ms = self.now_ms;
                self.scope(sender).open.trim(trim, now_ms);
            }
        }
        let channel = self.channel(sender, receiver);
        channel.spilled = channel.window_end() < channel.next;
        self.send_window(sender, receiver);
        self.load_outbox(sender, receiver);
    }

    /// Reads entries beyond the window, when half of it is free. Only what may leave is read: the rest
    /// follows when its commit is released.
    pub(crate) fn load_outbox(&mut self, sender: Partition, receiver: Partition) {
        let rows_max = self.config.limits.scan_rows_max;
        let window_bytes_max = self.config.limits.channel_window_bytes;
        let channel = self.channel(sender, receiver);
        let has_room = channel.window_bytes * 2 <= window_bytes_max;
        let is_readable = channel.window_end() <= channel.released;
        if !channel.spilled || channel.loading || !channel.is_open || !has_room || !is_readable {
            return;
        }
        channel.loading = true;
        let (first, last) = (channel.window_end(), channel.released);
        let mut from = Vec::new();
        keys::outbox(&mut from, sender, receiver, first);
        let mut to = Vec::new();
        keys::outbox(&mut to, sender, receiver, last + 1);
        let range = ScanRange { from, to, rows_max, bytes_max: window_bytes_max };
        let purpose = ScanFor::Outbox { partition: sender, receiver };
        self.actions.push(Action::Scan { purpose, range });
    }

    pub(crate) fn outbox_loaded(
        &mut self,
        sender: Partition,
        receiver: Partition,
        rows: &[(Bytes, Bytes)],
        _more: bool,
    ) -> Result<(), DecodeError> {
        let channel = self.channel(sender, receiver);
        channel.loading = false;
        for (key, value) in rows {
            let (_, keys::Key::Outbox { number, .. }) = keys::parse(key)? else {
                return Err(DecodeError { expected: "the key of an outbox entry" });
            };
            if number < channel.window_end() {
                continue; // Confirmed while it was read.
            }
            let next = channel.window_end();
            assert_eq!(number, next, "outbox {sender}>{receiver}: found {number}, missing {next}");
            channel.push(Arc::new(get_message(&mut Reader::new(value), None)?));
        }
        channel.spilled = channel.window_end() < channel.next;
        self.send_window(sender, receiver);
        self.load_outbox(sender, receiver);
        Ok(())
    }
}
