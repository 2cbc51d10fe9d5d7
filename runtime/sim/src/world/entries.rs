//! The tables of the simulated functions: what a call reads of them before it answers, one read after
//! the other, and what it changes. Rows hold the run that wrote them, so that the checks can tell.

use bytes::Bytes;
use dormouse_engine::{Event, InvocationId};
use dormouse_protocol::{
    ClearedEntries, Effects, EntryChange, EntryPage, EntryRead, Invocation, StateMutation, Which,
};

use super::functions::{index, state};
use super::{Item, World};
use crate::history::{Change, Id, Look};
use crate::payload::{self, TABLES};

/// Keys of a table; few, so that calls meet each other's rows.
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// Reads of one call, and changes of one table in one call, at most.
const READS_MAX: u64 = 4;
const CHANGES_MAX: u64 = 3;

/// A call that reads before it answers.
#[derive(Debug)]
pub(super) struct Reading {
    /// Its answer.
    item: Item,
    /// What it will read, the next one last.
    reads: Vec<EntryRead>,
    asked: Option<EntryRead>,
}

impl World {
    /// What a call reads; nothing in scenarios without tables.
    pub(super) fn draw_reads(&mut self, call: &Invocation) -> Vec<EntryRead> {
        let mut reads = Vec::new();
        if !self.rng_chance(self.scenario.entries) {
            return reads;
        }
        for _ in 0..self.rng.range(1, READS_MAX) {
            let place = self.rng.index(TABLES.len());
            let Some(spec) = index(call, TABLES[place]) else { continue };
            let generation = state(call, TABLES[place]).and_then(payload::number).unwrap_or(0);
            let which = if self.rng.chance(500) {
                Which::One(row(generation, self.rng.pick(&KEYS).as_bytes()))
            } else {
                let (from, to) = (row(generation, &[]), row(generation + 1, &[]));
                Which::Page { from, to, rows_max: self.rng.range(1, 3) as usize }
            };
            reads.push(EntryRead { spec: spec as u16, which });
        }
        reads
    }

    /// Asks for the next entries, or answers when nothing is left to read.
    pub(super) fn read_or_answer(
        &mut self,
        shard: usize,
        id: InvocationId,
        item: Item,
        mut reads: Vec<EntryRead>,
    ) {
        let delay_us = self.rng.tail(0, self.scenario.call_us_max);
        let at_us = self.time_us + delay_us;
        let Some(read) = reads.pop() else {
            self.answer_at(at_us, shard, item);
            return;
        };
        let event = Event::Read { id, read: read.clone() };
        let reading = Reading { item, reads, asked: Some(read) };
        self.slots[shard].reading.insert((id.slot, id.generation), reading);
        self.answer_at(at_us, shard, Item { event, run: None, tenure: None });
    }

    /// What a call has asked for.
    pub(super) fn rows(
        &mut self,
        shard: usize,
        id: InvocationId,
        page: EntryPage,
    ) -> Result<(), String> {
        let reading = self.slots[shard].reading.remove(&(id.slot, id.generation));
        let reading =
            reading.ok_or_else(|| format!("{id:?} is given rows that it did not ask for"))?;
        let Reading { item, mut reads, asked } = reading;
        let read = asked.ok_or("rows come twice")?;
        let (from, to, rows_max) = match read.which {
            Which::One(key) => (key.clone(), [&key[..], &[0]].concat().into(), 1),
            Which::Page { from, to, rows_max } => (from, to, rows_max),
        };
        if page.rows.len() > rows_max {
            return Err(format!("{} rows, asked for were {rows_max}", page.rows.len()));
        }
        let upto = page.next.clone().unwrap_or_else(|| to.clone());
        if let Some(run) = item.run {
            let found = page.rows.iter().map(|(key, value)| {
                let writer = payload::number(value).ok_or("a row without its writer")?;
                Ok((key.clone(), writer))
            });
            let look = Look {
                place: usize::from(read.spec) - (payload::specs(1, false).len()),
                from,
                upto,
                found: found.collect::<Result<_, String>>()?,
                now_ms: self.slots[shard].now_ms,
                latest_ms: self.latest_ms,
            };
            self.history.run_mut(run).looks.push(look);
        }
        if let Some(from) = page.next.filter(|_| self.rng.chance(800)) {
            reads.push(EntryRead { spec: read.spec, which: Which::Page { from, to, rows_max } });
        }
        self.read_or_answer(shard, id, item, reads);
        Ok(())
    }

    /// Draws what a run changes of its tables.
    pub(super) fn write_tables(&mut self, run: Id, call: &Invocation, effects: &mut Effects) {
        for (place, name) in TABLES.into_iter().enumerate() {
            let Some(spec) = index(call, name).map(|spec| spec as u16) else { continue };
            let head = state(call, name).and_then(payload::number);
            self.history.run_mut(run).heads[place] = head;
            let (mut generation, mut written) = (head.unwrap_or(0), head);
            if let Some(old) = head.filter(|_| self.rng.chance(150)) {
                let cleared = ClearedEntries { spec, prefix: row(old, &[]) };
                effects.entries.get_or_insert_default().cleared.push(cleared);
                generation += 1;
                self.history.run_mut(run).changes.push(Change::Clear { place, generation });
                written = None;
            }
            let mut keys = KEYS.to_vec();
            for _ in 0..self.rng.below(CHANGES_MAX + 1) {
                let key = row(generation, keys.remove(self.rng.index(keys.len())).as_bytes());
                let is_put = self.rng.chance(750);
                let value = is_put.then(|| Bytes::copy_from_slice(&run.to_be_bytes()));
                let entries = effects.entries.get_or_insert_default();
                entries.changes.push(EntryChange { spec, key: key.clone(), value });
                self.history.run_mut(run).changes.push(Change::Row { place, key, is_put });
            }
            if written.is_none() && effects.entries.is_some() {
                let value = Some(Bytes::copy_from_slice(&generation.to_be_bytes()));
                effects.state.push(StateMutation { spec, value });
                self.history.run_mut(run).new_heads[place] = Some(generation);
            }
        }
    }

    /// Draws only where there are tables, so that other scenarios stay as they are.
    fn rng_chance(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.rng.chance(per_mille)
    }
}

/// A row's key: its generation, and the key in the table.
fn row(generation: u64, key: &[u8]) -> Bytes {
    [&generation.to_be_bytes()[..], key].concat().into()
}
