//! What may leave at which moment.
//!
//! | moment | may leave |
//! | --- | --- |
//! | effect applied | messages inside the scope; state to the next invocation |
//! | appended, in a store where that is never refused alone | messages to other scopes of this process, and confirmations |
//! | durable | ingress acknowledgements, replies, egress records; without such a store also the row above |

use crate::action::Action;
use crate::breakage::{Breakage, breaks};
use crate::scope::Awaiting;
use crate::shard::Shard;

impl Shard {
    /// The store has taken the commit in its order.
    pub(crate) fn appended(&mut self, scope: u32, number: u64) {
        let index = scope as usize;
        let scope = &mut self.scopes[index];
        let next = scope.visible + 1;
        assert_eq!(number, next, "scope {index}: commit {number} was taken, {next} is next");
        scope.visible = number;
        if self.config.is_prefix {
            self.release_channels(index, number);
        }
        if breaks(Breakage::TrimEarly) && !self.config.is_prefix {
            let scope = &mut self.scopes[index];
            let confirms =
                scope.in_flight.iter_mut().map(|sealed| std::mem::take(&mut sealed.confirms));
            self.actions.extend(confirms.flatten().map(Action::Frame));
        }
        if breaks(Breakage::ReleaseEarly) {
            for sealed in &mut self.scopes[index].in_flight {
                self.actions.append(&mut sealed.releases);
            }
        }
        self.resume_awaiting(index);
    }

    fn release_channels(&mut self, index: usize, number: u64) {
        let scope = &mut self.scopes[index];
        let first = scope.in_flight.front().expect("the commit is in flight").number;
        let sealed = &mut scope.in_flight[(number - first) as usize];
        assert_eq!(sealed.number, number);
        let sends = std::mem::take(&mut sealed.sends);
        let confirms = std::mem::take(&mut sealed.confirms);
        for (sender, receiver, upto) in sends {
            self.release_sends(sender, receiver, upto);
            // Entries left to the store may be readable now.
            self.load_outbox(sender, receiver);
        }
        for frame in confirms {
            self.note_confirmed(&frame);
            self.actions.push(Action::Frame(frame));
        }
    }

    /// What was left to the store has become readable: who waits for it goes on.
    fn resume_awaiting(&mut self, index: usize) {
        let visible = self.scopes[index].visible;
        while let Some((number, _)) = self.scopes[index].awaiting.front() {
            if *number > visible {
                return;
            }
            match self.scopes[index].awaiting.pop_front() {
                Some((_, Awaiting::Mail(id))) => self.resume(id),
                Some((_, Awaiting::Read(id, read))) => self.read(id, read),
                Some((_, Awaiting::Cleared(partition))) => self.cleanings.push_back(partition),
                Some((_, Awaiting::Timers(partition))) => self.scan_timers(partition),
                Some((_, Awaiting::Recovery(partition))) => self.search(partition),
                Some((_, Awaiting::Egress(partition, outbox))) => {
                    self.resume_egress(partition, &outbox);
                }
                None => return,
            }
        }
    }

    /// Everything up to this commit survives a crash: what waited for that leaves.
    pub(crate) fn durable(&mut self, scope: u32, number: u64) {
        let index = scope as usize;
        let visible = self.scopes[index].visible;
        assert!(
            number <= visible,
            "scope {index}: commit {number} is durable, {visible} was taken"
        );
        while let Some(sealed) = self.scopes[index].in_flight.front() {
            let done = sealed.number;
            if done > number {
                return;
            }
            if !self.config.is_prefix {
                self.release_channels(index, done);
            }
            let scope = &mut self.scopes[index];
            scope.durable = done;
            let sealed = scope.in_flight.pop_front().expect("looked at above");
            assert!(sealed.sends.is_empty() && sealed.confirms.is_empty());
            self.actions.extend(sealed.releases);
        }
    }
}
