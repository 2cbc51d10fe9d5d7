//! What shards ask for: commits and reads of the store, frames to other shards. Calls of functions and
//! what leaves the process have their own files.

use std::fmt::Write as _;

use dormouse_engine::{Action, Commit, Event, Frame, FrameBody, Op, keys};
use dormouse_protocol::Partition;

use super::{Item, Lane, Purpose, Read, What, World};
use crate::store::{Ticket, Verdict};

impl World {
    pub(super) fn act(&mut self, shard: usize, action: Action) -> Result<(), String> {
        if self.trace.is_on() {
            let text = describe_action(&action);
            self.trace.line(format_args!("{} shard {shard} -> {text}", self.time_us));
        }
        match action {
            Action::Append { scope, commit } => self.append(shard, scope, commit),
            Action::Get { purpose, keys } => {
                let first = keys[0].clone();
                self.ask_store(shard, Purpose::Get(purpose, keys), &first);
                Ok(())
            }
            Action::Scan { purpose, range } => {
                let first = range.from.clone();
                self.ask_store(shard, Purpose::Scan(purpose, range), &first);
                Ok(())
            }
            Action::Frame(frame) => {
                self.send_frame(shard, &frame);
                Ok(())
            }
            Action::Invoke { id, invocation } => self.invoke(shard, id, &invocation),
            Action::Rows { id, page } => self.rows(shard, id, page),
            Action::Accepted(token) => self.accepted(shard, token),
            Action::Reply { id, value } => self.replied(shard, &id, &value),
            Action::Egress(out) => self.egress(shard, &out),
            Action::Blocked { failures, retry_in_ms, .. } => {
                if failures == 0 || retry_in_ms > 300_000 + 30_000 {
                    return Err(format!("blocked after {failures} failures for {retry_in_ms} ms"));
                }
                Ok(())
            }
            Action::GivenUp { address, attempts, fate, .. } => {
                self.given_up(&address, attempts, fate)
            }
            Action::Redeemed(token) => self.redeemed(shard, token),
            Action::Halt(error) => Err(format!("shard {shard} halts: {error}")),
        }
    }

    fn append(&mut self, shard: usize, scope: u32, commit: Commit) -> Result<(), String> {
        let tenure = if self.commits_alone() { self.tenure(shard, scope as u16) } else { 0 };
        let ticket = Ticket { shard, scope, tenure, number: commit.number };
        let number = commit.number;
        let commits =
            self.life.commits.entry((shard, scope, tenure)).or_insert((number - 1, number - 1));
        if number != commits.0 + 1 {
            return Err(format!("{ticket:?} comes after {}", commits.0));
        }
        commits.0 = number;
        if number - commits.1 > self.life.limits.commits_in_flight_max as u64 {
            return Err(format!("{ticket:?}: too many commits in flight: {commits:?}"));
        }
        let log = self.store.log_of(scope);
        self.store.append(ticket, commit);
        if self.commits_alone() {
            let delay_us = self.rng.tail(0, self.scenario.store_us_max);
            let at_us = self.in_lane(Lane::Log(log), delay_us);
            self.at(at_us, What::Show { log });
            return Ok(());
        }
        self.store.take_next(log, false)?;
        let event = Event::Appended { scope, number };
        if self.life.appends_at_once {
            self.slots[shard].shard.handle(event);
        } else {
            let delay_us = self.rng.below(self.scenario.store_us_max / 10 + 1);
            let at_us = self.in_lane(Lane::Scope(shard, scope), delay_us);
            self.deliver_to(ticket, at_us, event);
        }
        self.plan_sync(log);
        Ok(())
    }

    /// The store looks at the next commit of a partition.
    pub(super) fn show(&mut self, log: usize) -> Result<(), String> {
        let refuses = !self.is_calm && self.rng.chance(self.scenario.refusals);
        let Some((ticket, mut verdict)) = self.store.take_next(log, refuses)? else {
            return Ok(());
        };
        let Ticket { shard, scope, number, .. } = ticket;
        let mut delay_us = 0;
        if !self.is_calm && self.rng.chance(self.scenario.answers_lost) {
            // The answer is lost: asked again, the store must say the same and do nothing.
            delay_us = self.rng.tail(0, 500_000);
            if verdict == Verdict::Taken {
                verdict = self.store.take_again(log, ticket)?;
            }
            if self.rng.chance(300) {
                verdict = Verdict::Refused("nobody knows");
            }
        }
        let at_us = self.in_lane(Lane::Scope(shard, scope), delay_us);
        match verdict {
            Verdict::Taken | Verdict::Known => {
                self.deliver_to(ticket, at_us, Event::Appended { scope, number });
            }
            Verdict::Refused(why) => {
                self.trace.line(format_args!("{} {ticket:?} is refused: {why}", self.time_us));
                self.deliver_to(
                    ticket,
                    at_us,
                    Event::Refused { partition: Partition(scope as u16) },
                );
            }
        }
        self.plan_sync(log);
        Ok(())
    }

    fn plan_sync(&mut self, log: usize) {
        let (taken, durable) = self.store.progress(log);
        if taken > durable && self.life.syncing.insert(log) {
            let delay_us = self.rng.tail(0, self.scenario.store_us_max);
            let at_us = (self.time_us + delay_us).max(self.stalled_until_us);
            self.at(at_us, What::Sync { log });
        }
    }

    pub(super) fn sync(&mut self, log: usize) -> Result<(), String> {
        self.life.syncing.remove(&log);
        if std::mem::take(&mut self.disk_fails) {
            self.trace.line(format_args!("{} log {log}: the sync fails", self.time_us));
            return self.crash();
        }
        let (taken, durable) = self.store.progress(log);
        if taken > durable {
            let count = self.rng.range(1, (taken - durable) as u64) as usize;
            self.sync_some(log, count)?;
        }
        if self.rng.chance(100) {
            self.store.drop_taken();
        }
        self.plan_sync(log);
        Ok(())
    }

    pub(super) fn sync_some(&mut self, log: usize, count: usize) -> Result<(), String> {
        for ticket in self.store.sync(log, count)? {
            let Ticket { shard, scope, number, .. } = ticket;
            self.trace.line(format_args!("{} durable: {ticket:?}", self.time_us));
            let delay_us = self.rng.below(self.scenario.store_us_max / 4 + 1);
            let at_us = self.in_lane(Lane::Scope(shard, scope), delay_us);
            self.deliver_to(ticket, at_us, Event::Durable { scope, number });
        }
        Ok(())
    }

    /// A read is answered later, as of any moment between.
    fn ask_store(&mut self, shard: usize, purpose: Purpose, first_key: &[u8]) {
        // Every key, also the beginning of one, starts with its space and partition.
        let partition = u16::from_be_bytes([first_key[1], first_key[2]]);
        let tenure = self.tenure(shard, partition);
        let read = Read { purpose, partition, tenure };
        let delay_us = self.rng.tail(0, self.scenario.store_us_max);
        let at_us = self.time_us + delay_us;
        if self.rng.chance(500) {
            self.answer_read(shard, at_us, read);
        } else {
            self.at(at_us, What::Read { shard, read });
        }
    }

    /// Reads now, the answer comes at its time. Who is no longer the owner is told so.
    pub(super) fn answer_read(&mut self, shard: usize, at_us: u64, read: Read) {
        let Read { purpose, partition, tenure } = read;
        let partition = Partition(partition);
        let event = if self.commits_alone() && !self.store.may_read(partition, tenure) {
            Event::Refused { partition }
        } else {
            self.read(purpose)
        };
        let tenure = self.commits_alone().then_some((partition.0, tenure));
        self.at(at_us, What::Deliver { shard, item: Item { event, run: None, tenure } });
    }

    fn read(&mut self, purpose: Purpose) -> Event {
        match purpose {
            Purpose::Get(purpose, keys) => Event::Got { purpose, values: self.store.get(&keys) },
            Purpose::Scan(purpose, range) => {
                let (rows, more) = self.store.scan(&range);
                // A store that stops at a bound need not know whether that was all.
                let more = more || (rows.len() >= range.rows_max && self.rng.chance(500));
                Event::Scanned { purpose, rows, more }
            }
        }
    }

    fn send_frame(&mut self, sender: usize, frame: &Frame) {
        let (from, to) = (frame.from.0, frame.to.0);
        if let FrameBody::Ask | FrameBody::Batch { .. } = frame.body {
            let shard = self.slots[sender].known_owners[usize::from(to)];
            self.slots[shard].peers.entry((from, to)).or_default().insert(sender);
            self.carry(shard, frame);
            return;
        }
        let peers = self.slots[sender].peers.get(&(to, from)).cloned().unwrap_or_default();
        for shard in peers {
            self.carry(shard, frame);
        }
    }

    fn carry(&mut self, shard: usize, frame: &Frame) {
        let delay_us = self.rng.tail(0, self.scenario.frame_us_max);
        let event = Event::Frame(frame.clone());
        if self.scenario.frames_stray == 0 {
            let at_us = self.in_lane(Lane::Pair(frame.from.0, frame.to.0), delay_us);
            self.deliver_at(at_us, shard, event);
            return;
        }
        if self.rng.chance(150) {
            let again_us = self.time_us + self.rng.tail(0, 3_000_000);
            self.deliver_at(again_us, shard, Event::Frame(frame.clone()));
        }
        self.deliver_at(self.time_us + delay_us, shard, event);
    }

    pub(super) fn answer_at(&mut self, at_us: u64, shard: usize, item: Item) {
        self.at(at_us, What::Deliver { shard, item });
    }
}

fn describe_action(action: &Action) -> String {
    match action {
        Action::Append { scope, commit } => {
            let mut text = format!("append scope {scope} commit {}:", commit.number);
            for part in &commit.parts {
                let _ = write!(text, " {}@{}", part.partition, part.seq);
            }
            for op in commit.ops.iter() {
                let (sign, key) = match op {
                    Op::Put { key, .. } => ('+', key),
                    Op::Delete { key } => ('-', key),
                };
                match keys::parse(key) {
                    Ok((partition, key)) => {
                        let _ = write!(text, " {sign}{partition}:{key:?}");
                    }
                    Err(error) => text.push_str(&error.to_string()),
                }
            }
            let _ = write!(text, " trims {:?}", commit.trims);
            text
        }
        Action::Get { purpose, keys } => format!("get {purpose:?} ({} keys)", keys.len()),
        Action::Scan { purpose, range } => {
            let key = keys::parse(&range.from);
            format!("scan {purpose:?} from {key:?}, {} rows", range.rows_max)
        }
        Action::Invoke { id, invocation } => {
            let ids: Vec<_> = invocation
                .messages
                .iter()
                .filter_map(|message| crate::payload::number(&message.value.value))
                .collect();
            format!("invoke {id:?} {} {ids:?}", invocation.target)
        }
        Action::Frame(frame) => describe_frame(frame),
        other => format!("{other:?}"),
    }
}

pub(super) fn describe_event(event: &Event) -> String {
    match event {
        Event::Frame(frame) => describe_frame(frame),
        Event::Got { purpose, values } => {
            let found = values.iter().flatten().count();
            format!("got {purpose:?}: {found} of {}", values.len())
        }
        Event::Scanned { purpose, rows, more } => {
            let keys: Vec<_> =
                rows.iter().filter_map(|(key, _)| keys::parse(key).ok()).map(|row| row.1).collect();
            format!("scanned {purpose:?}: {keys:?} more {more}")
        }
        Event::Submit { message, token } => {
            let id = crate::payload::number(&message.value.value);
            format!("submit {id:?} to {} {token:?}", message.target)
        }
        Event::Done { id, result } => match result {
            Ok(dormouse_engine::Completed::Effects { .. }) => format!("done {id:?}"),
            other => format!("done {id:?} {other:?}"),
        },
        other => format!("{other:?}"),
    }
}

fn describe_frame(frame: &Frame) -> String {
    let Frame { from, to, body } = frame;
    match body {
        FrameBody::Batch { epoch, after, opens, messages } => {
            let ids: Vec<_> = messages
                .iter()
                .filter_map(|message| crate::payload::number(&message.value.value))
                .collect();
            format!("frame {from}>{to} batch epoch {epoch} after {after} opens {opens} {ids:?}")
        }
        other => format!("frame {from}>{to} {other:?}"),
    }
}
