//! The thin async shell of one shard: it takes turns. A turn feeds the engine what has come in, does
//! what the engine asks, seals, hands the commit to the store, and tells others what may leave.

mod agenda;
mod alarm;
mod budget;
mod cadence;
mod calls;
pub(crate) mod dead;
pub(crate) mod functions;
pub(crate) mod gate;
pub(crate) mod inbox;
pub(crate) mod lane;
pub(crate) mod process;
mod reads;
mod report;
pub(crate) mod room;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use dormouse_engine::{
    Action, Commit, Completed, Event, Fence, Frame, InvocationId, Limits, Opened, Scoping, Shard,
    ShardConfig, SubmitToken,
};
use dormouse_protocol::{FunctionType, Invocation, InvokeError, Message, Partition, TypedValue};
use dormouse_sdk::egress::{EgressEntry, Receipt};
use dormouse_store::{Lsn, ShardStore, StoreError};
use rustc_hash::FxHashMap;

use crate::clock::Clock;
use crate::driver::agenda::Agenda;
use crate::driver::alarm::Alarm;
use crate::driver::budget::Budget;
use crate::driver::cadence::{Cadence, Open, SEAL_BYTES};
use crate::driver::calls::Calls;
use crate::driver::dead::Desk;
use crate::driver::functions::{FunctionTable, SharedTable};
use crate::driver::inbox::{Acknowledge, Incoming, Local};
use crate::driver::lane::LaneState;
use crate::driver::process::{Process, QUEUE_SEPARATOR};
use crate::driver::reads::Reads;
use crate::driver::report::Report;
use crate::metrics::ShardMetrics;
use crate::stall::pulse::Pulse;

/// How often instances are put to sleep while states wait for their memory, at least, in milliseconds.
const SWEEP_POLL_MS: u64 = 20;

/// How often a stopping shard looks whether it has settled, at least.
const STOPPING_POLL: Duration = Duration::from_millis(20);

/// Frames that are taken together: their messages' targets are looked up before the first is.
const TAKEN_TOGETHER: usize = 16;

/// Events of this thread's own tasks that one turn takes.
const LOCAL_PER_TURN: usize = 4_096;

/// One shard's driver. Lives on the shard's thread.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) index: usize,
    pub(crate) shard: Shard,
    pub(crate) store: Box<dyn ShardStore>,
    pub(crate) lane: Rc<LaneState>,
    table: SharedTable,
    process: Arc<Process>,
    pub(crate) pulse: Arc<Pulse>,
    metrics: Arc<ShardMetrics>,
    clock: Clock,
    alarm: Alarm,
    /// Commits handed to the store and not durable: position, scope, number, when.
    in_flight: VecDeque<(Lsn, u32, u64, Instant)>,
    acknowledges: FxHashMap<u64, (Acknowledge, Instant)>,
    pub(crate) next_token: u64,
    /// Invocations that wait to be started.
    agenda: Agenda<(InvocationId, Box<Invocation>)>,
    /// Invocations that read entries.
    calls: Calls,
    /// Frames that came in and were not taken yet.
    arrived: VecDeque<Frame>,
    /// Frames for each shard, sent when the turn ends or a commit is sealed.
    frames: Vec<Vec<Frame>>,
    /// Replies for each lane, sent at the end of the turn.
    replies: Vec<Vec<(u64, TypedValue)>>,
    egress: Vec<dormouse_engine::EgressOut>,
    pub(crate) reads: Reads,
    actions: Vec<Action>,
    incoming: Vec<Incoming>,
    report: Report,
    /// Who asks for dead letters.
    pub(crate) desk: Desk,
    cadence: Cadence,
    /// When calls under way are given up, once the process is asked to stop.
    stops_at: Option<Instant>,
}

impl Driver {
    pub(crate) fn new(
        index: usize,
        process: Arc<Process>,
        store: Box<dyn ShardStore>,
        limits: Limits,
        reads_bytes_max: usize,
    ) -> Self {
        let reads = Reads::new(reads_bytes_max, limits.memory_bytes_max);
        let metrics = process.metrics.shard(index);
        let table = FunctionTable::new(process.clone(), metrics.clone());
        let table = SharedTable(Rc::new(RefCell::new(table)));
        let config = ShardConfig {
            partitions: process.partitions,
            scoping: Scoping::Shard,
            is_prefix: true,
            limits,
        };
        let mut clock = Clock::new();
        let mut shard = Shard::new(config, Box::new(table.clone()));
        shard.advance(clock.now_ms());
        Self {
            index,
            shard,
            store,
            lane: LaneState::new(index, process.clone()),
            table,
            metrics,
            clock,
            alarm: Alarm::default(),
            in_flight: VecDeque::new(),
            acknowledges: FxHashMap::default(),
            next_token: 0,
            agenda: Agenda::default(),
            calls: Calls::default(),
            arrived: VecDeque::new(),
            frames: (0..process.shards()).map(|_| Vec::new()).collect(),
            replies: (0..process.shards()).map(|_| Vec::new()).collect(),
            egress: Vec::new(),
            reads,
            actions: Vec::new(),
            incoming: Vec::new(),
            report: Report::default(),
            desk: Desk::default(),
            cadence: Cadence::new(Instant::now()),
            stops_at: None,
            pulse: process.pulses[index].clone(),
            process,
        }
    }

    /// Reads what is stored of the shard's partitions. Nothing runs yet. Answers the egress queues with
    /// records that nobody has confirmed.
    pub(crate) async fn open(&mut self) -> Result<Vec<(String, u64)>, StoreError> {
        let mut unconfirmed = Vec::new();
        for partition in self.process.partitions_of(self.index) {
            let opened: Opened = self.store.open(partition).await?;
            let stored = dormouse_engine::unconfirmed_egress(&opened);
            unconfirmed
                .extend(stored.map_err(|error| self.damaged(partition, &error.to_string()))?);
            // The lock of the data directory stands for ownership: a fence has nothing to tell apart.
            let fence = opened.meta.map_or_else(Fence::default, |meta| meta.fence);
            self.shard.handle(Event::Opened { partition, fence, opened });
        }
        Ok(unconfirmed)
    }

    fn damaged(&self, partition: Partition, problem: &str) -> StoreError {
        StoreError::Poisoned { cause: format!("partition {partition}: {problem}") }
    }

    /// Takes turns until it is told to stop and has settled, or cannot go on.
    pub(crate) async fn run(&mut self) {
        self.take_turns().await;
        self.pulse.end();
    }

    async fn take_turns(&mut self) {
        loop {
            if let Err(error) = self.turn() {
                tracing::error!(shard = self.index, %error, "the shard cannot go on");
                self.process.fail(&error);
                self.acknowledges.clear();
                return;
            }
            match self.stops_at {
                Some(stops_at) if self.is_settled(stops_at) => return,
                Some(_) => drop(tokio::time::timeout(STOPPING_POLL, self.wait()).await),
                None => self.wait().await,
            }
        }
    }

    /// Nothing is in doubt: what was asked for is durable, and the calls under way have ended (or had
    /// their time: their messages are pending, and are done again after the next start).
    fn is_settled(&self, stops_at: Instant) -> bool {
        let calls = self.shard.in_flight() - self.agenda.len();
        (calls == 0 || Instant::now() >= stops_at)
            && self.shard.is_settled()
            && self.in_flight.is_empty()
            && self.lane.queue.borrow().is_empty()
    }

    /// Waits for something to do. What is ready on this thread goes first, so that a turn serves
    /// everything that came in together.
    async fn wait(&mut self) {
        let may_start = self.stops_at.is_none() && !self.store.is_saturated();
        let may_go_on = !self.agenda.is_empty() || self.shard.has_cleaning();
        let has_work = (may_go_on && may_start)
            || self.calls.has_answers()
            || self.shard.has_actions()
            || !self.lane.queue.borrow().is_empty();
        if has_work {
            tokio::task::yield_now().await;
            return;
        }
        let inbox = self.lane.inbox.clone();
        inbox.set_rests(true);
        match self.next_wake_ms() {
            None => inbox.notified().await,
            Some(at_ms) => {
                let now_ms = self.clock.now_ms();
                // Those that wait for memory wait for the sweep.
                let sweep_ms =
                    if self.reads.has_waiting() { now_ms + SWEEP_POLL_MS } else { at_ms };
                tokio::select! {
                    biased;
                    () = inbox.notified() => {}
                    () = self.alarm.rings_by(at_ms.min(sweep_ms), now_ms) => {}
                }
            }
        }
        inbox.set_rests(false);
        tokio::task::yield_now().await;
    }

    /// One turn. An error is why the shard cannot go on.
    fn turn(&mut self) -> Result<(), String> {
        self.pulse.turn();
        let now_ms = self.clock.now_ms();
        self.shard.advance(now_ms);
        self.take_incoming()?;
        self.take_durable()?;
        self.take_local()?;
        let may_start = self.stops_at.is_none() && !self.store.is_saturated();
        let mut budget = if may_start { Budget::of_turn() } else { Budget::none() };
        if may_start {
            self.shard.clean();
        }
        self.act()?;
        self.answer_reads()?;
        self.invoke_planned(&mut budget)?;
        self.seal_if_due()?;
        if !self.arrived.is_empty() {
            // More than the turn had room for: rather part of the next commit.
            while self.take_frames() {}
            self.act()?;
            self.seal_if_due()?;
        }
        self.flush();
        let queued = &self.lane;
        self.report.publish(
            &self.shard,
            &self.metrics,
            queued,
            self.in_flight.front().map(|c| c.3),
        );
        let stats = self.shard.stats();
        self.process.gate.saturated(self.index, self.store.is_saturated());
        self.process.gate.publish(self.index, stats.mailbox_bytes, stats.spilled_bytes);
        Ok(())
    }

    /// What the next seal depends on.
    fn open_commit(&self) -> Open {
        Open {
            has_work: !self.agenda.is_empty() || !self.arrived.is_empty(),
            has_calls: self.shard.in_flight() > 0 && self.stops_at.is_none(),
            has_readers: self.shard.has_readers(),
            has_releases: self.shard.has_releases(),
            bytes: self.shard.open_bytes(),
        }
    }

    fn seal_if_due(&mut self) -> Result<(), String> {
        let is_due = self.cadence.is_due(Instant::now(), self.open_commit());
        if is_due { self.seal() } else { Ok(()) }
    }

    fn seal(&mut self) -> Result<(), String> {
        self.cadence.sealed(Instant::now());
        self.shard.seal();
        self.act()
    }

    /// Whether a shard has nothing to do, and the open commit holds messages for it.
    fn is_awaited(&self) -> bool {
        let inboxes = &self.process.inboxes;
        let rests = |receiver| inboxes[self.process.shard_of(receiver)].rests();
        inboxes.iter().any(|inbox| inbox.rests()) && self.shard.has_sends_to(rests)
    }

    /// When the shard has something to do though nothing comes in.
    fn next_wake_ms(&mut self) -> Option<u64> {
        let wake_ms = self.shard.next_wake_ms();
        if !self.shard.has_unsealed() {
            return wake_ms;
        }
        let left = self.cadence.left(Instant::now());
        let seal_ms = self.clock.now_ms() + left.as_millis() as u64 + 1;
        Some(wake_ms.map_or(seal_ms, |wake_ms| wake_ms.min(seal_ms)))
    }

    fn take_durable(&mut self) -> Result<(), String> {
        let durable = self.store.durable().map_err(|error| error.to_string())?;
        let mut last = None;
        while let Some((lsn, scope, number, _)) = self.in_flight.front() {
            if *lsn > durable {
                break;
            }
            last = Some((*scope, *number));
            self.in_flight.pop_front();
            self.pulse.store.commits.end(1);
        }
        if let Some((scope, number)) = last {
            self.shard.handle(Event::Durable { scope, number });
        }
        Ok(())
    }

    fn take_incoming(&mut self) -> Result<(), String> {
        let mut incoming = std::mem::take(&mut self.incoming);
        self.lane.inbox.take(&mut incoming);
        for item in incoming.drain(..) {
            match item {
                Incoming::Submit { message, acknowledge } => self.submit(message, acknowledge),
                Incoming::Frames(frames) => self.arrived.extend(frames),
                Incoming::EgressConfirmed { partition, outbox, number } => {
                    self.shard.handle(Event::EgressConfirmed { partition, outbox, number });
                }
                Incoming::Replies(replies) => {
                    for (number, value) in replies {
                        self.lane.reply(number, value);
                    }
                }
                Incoming::Dead(question) => self.ask_dead(*question)?,
                Incoming::Start => self.shard.handle(Event::Started),
                Incoming::NameLongest { function_type } => self.name_longest(function_type),
                Incoming::Stop { stops_at } => self.stops_at = Some(stops_at),
            }
        }
        self.incoming = incoming;
        Ok(())
    }

    /// Takes some frames, if there are any.
    fn take_frames(&mut self) -> bool {
        let count = self.arrived.len().min(TAKEN_TOGETHER);
        self.shard.look_ahead(self.arrived.iter().take(count));
        for frame in self.arrived.drain(..count) {
            self.shard.handle(Event::Frame(frame));
        }
        count > 0
    }

    fn take_local(&mut self) -> Result<(), String> {
        for _ in 0..LOCAL_PER_TURN {
            if self.shard.open_bytes() >= SEAL_BYTES {
                break;
            }
            let Some(local) = self.lane.queue.borrow_mut().pop_front() else { break };
            match local {
                Local::Submit { message, acknowledge } => self.submit(message, acknowledge),
                Local::Done { id, result, nanos } => {
                    self.calls.end(id);
                    self.metrics.work.invocation_nanos.record(nanos);
                    self.done(id, result);
                }
                Local::Got { batch, values } => {
                    self.pulse.store.reads.end(1);
                    self.got(batch, values)?;
                }
                Local::Scanned { purpose, result } => {
                    self.pulse.store.reads.end(1);
                    self.scanned(purpose, result)?;
                }
                Local::Read { id, read } => self.shard.handle(Event::Read { id, read }),
                Local::Dead(read) => self.dead_read(read)?,
            }
        }
        Ok(())
    }

    /// For the watchdog: which call of this type has waited longest.
    fn name_longest(&self, function_type: FunctionType) {
        if let Some(longest) = self.lane.longest_call(function_type) {
            *self.pulse.longest.lock().unwrap_or_else(PoisonError::into_inner) = Some(longest);
        }
    }

    fn submit(&mut self, message: Message, acknowledge: Acknowledge) {
        self.process.gate.taken(self.index, message.weight());
        self.next_token += 1;
        let token = self.next_token;
        self.acknowledges.insert(token, (acknowledge, Instant::now()));
        self.shard.handle(Event::Submit { message, token: Some(SubmitToken(token)) });
    }

    /// Starts what is planned, as far as the turn has room, and does what follows from it. Messages of other
    /// shards are taken when nothing else is left: until then no commit has to write them as pending.
    fn invoke_planned(&mut self, budget: &mut Budget) -> Result<(), String> {
        // What was written so far is sealed before there is more of it.
        while self.shard.open_bytes() < SEAL_BYTES && budget.spend() {
            let Some((id, invocation)) = self.agenda.next() else {
                if self.arrived.is_empty() {
                    break;
                }
                self.agenda.end_turn();
                // Nothing is unfinished.
                if self
                    .cadence
                    .is_due_early(Instant::now(), self.open_commit(), || self.is_awaited())
                {
                    self.seal()?;
                    self.flush();
                }
                self.take_frames();
                self.act()?;
                continue;
            };
            self.invoke(id, *invocation);
            self.act()?;
        }
        self.agenda.end_turn();
        Ok(())
    }

    /// Does what the engine asks until it asks for nothing more. Invocations are only planned.
    fn act(&mut self) -> Result<(), String> {
        loop {
            self.start_gets()?;
            if !self.shard.has_actions() {
                break;
            }
            let mut actions = std::mem::take(&mut self.actions);
            self.shard.take_actions(&mut actions);
            for action in actions.drain(..) {
                self.do_action(action)?;
            }
            self.actions = actions;
        }
        self.agenda.plan();
        Ok(())
    }

    fn do_action(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Invoke { id, invocation } => self.agenda.add(id.slot, (id, invocation)),
            Action::Rows { id, page } => self.calls.add(id, page),
            Action::Append { scope, commit } => self.append(scope, commit)?,
            Action::Get { purpose, keys } => self.reads.add(purpose, keys),
            Action::Scan { purpose, range } => self.start_scan(purpose, range)?,
            Action::Frame(frame) => {
                let shard = self.process.shard_of(frame.to);
                if shard == self.index {
                    self.shard.handle(Event::Frame(frame));
                } else {
                    self.frames[shard].push(frame);
                }
            }
            Action::Accepted(token) => self.accepted(token),
            Action::Reply { id, value } => {
                if let Some((lane, number, value)) = self.lane.route_reply(&id, value) {
                    self.replies[lane].push((number, value));
                }
            }
            Action::Egress(out) => self.egress.push(*out),
            Action::Blocked { address, error, failures, retry_in_ms } => {
                self.report.blocked(&address, &error, failures, retry_in_ms);
            }
            Action::GivenUp { address, error, attempts, fate, .. } => {
                self.report.given_up(&address, &error, attempts, fate);
                self.table.0.borrow_mut().given_up(address.function_type, fate);
            }
            Action::Redeemed(token) => self.redeemed(token)?,
            Action::Halt(reason) => return Err(reason),
        }
        Ok(())
    }

    pub(crate) fn done(&mut self, id: InvocationId, result: Result<Completed, InvokeError>) {
        if let Ok(Completed::Effects { effects, .. }) = &result
            && !effects.delayed.is_empty()
        {
            // Delays count from now, and the turn may have begun long ago.
            self.shard.observe(self.clock.now_ms());
        }
        self.shard.handle(Event::Done { id, result });
    }

    fn append(&mut self, scope: u32, commit: Commit) -> Result<(), String> {
        let lsn = self.store.append(&commit).map_err(|error| error.to_string())?;
        self.metrics.commits.size.record(commit.ops.as_bytes().len() as u64);
        self.shard.reuse(scope, commit.ops);
        self.pulse.store.commits.begin();
        self.in_flight.push_back((lsn, scope, commit.number, Instant::now()));
        self.shard.handle(Event::Appended { scope, number: commit.number });
        // A commit without changes takes the position of the last one: when that is durable already,
        // no news of the store will wake this shard for it.
        if lsn <= self.store.durable().map_err(|error| error.to_string())? {
            self.lane.inbox.wake();
        }
        Ok(())
    }

    fn accepted(&mut self, token: SubmitToken) {
        if let Some((acknowledge, since)) = self.acknowledges.remove(&token.0) {
            self.metrics.ingress.accepted.add(1);
            self.metrics.ingress.durable_nanos.record(since.elapsed().as_nanos() as u64);
            // Nobody waits any more: the message is accepted all the same.
            drop(acknowledge.send(Ok(())));
        }
    }

    /// Hands over what the turn has released.
    fn flush(&mut self) {
        for (shard, frames) in self.frames.iter_mut().enumerate() {
            if !frames.is_empty() {
                self.process.inboxes[shard].push(Incoming::Frames(std::mem::take(frames)));
            }
        }
        for (lane, replies) in self.replies.iter_mut().enumerate() {
            if !replies.is_empty() {
                self.process.inboxes[lane].push(Incoming::Replies(std::mem::take(replies)));
            }
        }
        if !self.egress.is_empty() {
            self.flush_egress();
        }
    }

    fn flush_egress(&mut self) {
        let mut deliveries: Vec<(String, Vec<EgressEntry>)> = Vec::new();
        for out in self.egress.drain(..) {
            let (id, queue) = out.outbox.split_once(QUEUE_SEPARATOR).unwrap_or((&out.outbox, ""));
            let receipt = Receipt {
                partition: out.partition,
                number: out.number,
                outbox: out.outbox.clone(),
                confirmations: self.process.clone(),
            };
            let queue = queue.to_owned();
            let entry = EgressEntry { queue, sender: out.sender, value: out.value, receipt };
            match deliveries.iter_mut().find(|(known, _)| known == id) {
                Some((_, entries)) => entries.push(entry),
                None => deliveries.push((id.to_owned(), vec![entry])),
            }
        }
        for (id, entries) in deliveries {
            let name = dormouse_protocol::TypeName::parse(&id).ok();
            // An egress that is no longer bound keeps its records: start-up has said so.
            if let Some(egress) = name.and_then(|name| self.process.egresses.get(&name)) {
                if let Some(counts) = self.process.egress_counts.get(&id) {
                    counts.deliver(entries.len());
                }
                egress.deliver(entries);
            }
        }
    }
}
