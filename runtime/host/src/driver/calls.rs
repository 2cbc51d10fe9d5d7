//! Invocations on this thread. One that reads entries of tables and buffers is suspended while the
//! engine finds them. What memory holds is found at once, so such a call mostly ends in the turn in
//! which it began, without a task; how many answers a turn brings is bounded, since one function can go
//! through a table of any size.

use std::collections::VecDeque;
use std::task::Poll;

use dormouse_engine::{Event, InvocationId};
use dormouse_protocol::{EntryPage, EntryReader, Invocation};
use rustc_hash::FxHashMap;

use crate::driver::budget::Budget;
use crate::driver::functions::{self, Call};
use crate::driver::{Driver, SEAL_BYTES};

/// The calls that have read something and not ended. Bounded by the invocations in flight, each with
/// one read at a time.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    suspended: FxHashMap<InvocationId, Call>,
    /// Those that are tasks.
    tasks: FxHashMap<InvocationId, EntryReader>,
    answers: VecDeque<(InvocationId, EntryPage)>,
}

impl Calls {
    /// An answer for a call.
    pub(crate) fn add(&mut self, id: InvocationId, page: EntryPage) {
        self.answers.push_back((id, page));
    }

    pub(crate) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// A task has ended.
    pub(crate) fn end(&mut self, id: InvocationId) {
        if !self.tasks.is_empty() {
            self.tasks.remove(&id);
        }
    }
}

impl Driver {
    pub(super) fn invoke(&mut self, id: InvocationId, invocation: Invocation) {
        self.pulse.enter(&invocation.target);
        let mut call = self.table.0.borrow_mut().invoke(id, invocation);
        if call.is_remote {
            // It is not ready at once, so its task alone polls it.
            call.instance = self.pulse.id();
            self.pulse.leave();
            return functions::spawn(self.lane.clone(), self.table.clone(), call);
        }
        self.go_on(call);
    }

    /// Brings the answers that are there to those that have asked.
    pub(super) fn answer_reads(&mut self) -> Result<(), String> {
        if self.calls.answers.is_empty() {
            return Ok(());
        }
        let mut budget = Budget::of_turn();
        while self.shard.open_bytes() < SEAL_BYTES && budget.spend() {
            let Some((id, page)) = self.calls.answers.pop_front() else { break };
            if let Some(call) = self.calls.suspended.remove(&id) {
                if let Some(reader) = &call.reader {
                    reader.answer(page);
                }
                self.pulse.enter_id(call.function_type, call.instance.as_bytes());
                self.go_on(call);
                self.act()?;
            } else if let Some(reader) = self.calls.tasks.get(&id) {
                reader.answer(page);
            }
        }
        Ok(())
    }

    /// Polls a call: it ends, or asks for entries, or waits for something else and becomes a task.
    fn go_on(&mut self, mut call: Call) {
        let id = call.id;
        let polled = functions::poll_once(&mut call.future);
        self.pulse.leave();
        if let Poll::Ready(answer) = polled {
            drop(call.future);
            let result = self.table.0.borrow_mut().check(call.function_type, answer);
            self.done(id, result);
            return;
        }
        call.instance = self.pulse.id();
        match call.reader.as_ref().and_then(EntryReader::take) {
            Some(read) => {
                self.calls.suspended.insert(id, call);
                self.shard.handle(Event::Read { id, read });
            }
            None => {
                if let Some(reader) = &call.reader {
                    self.calls.tasks.insert(id, reader.clone());
                }
                functions::spawn(self.lane.clone(), self.table.clone(), call);
            }
        }
    }
}
