//! Tables: what a run has read is what the runs before it have left there, row by row; rows that expire
//! are gone only when they can have expired. In the end nothing else is in the store.

use std::collections::BTreeMap;

use bytes::Bytes;
use dormouse_engine::keys::{self, Key};
use dormouse_protocol::Address;

use crate::check::{Truth, parse_type};
use crate::history::{Change, Id, Look, Run};
use crate::payload::{self, TABLES};
use crate::world::World;

/// Which of [`TABLES`] keeps its rows for good, and which until some time after they were last written.
const FOR_GOOD: usize = 0;
const AFTER_WRITE: usize = 1;

/// A row.
#[derive(Clone, Copy, Debug)]
struct Row {
    writer: Id,
    /// When its time began at the earliest, and at the latest.
    earliest_ms: u64,
    latest_ms: u64,
}

#[derive(Clone, Debug, Default)]
struct Table {
    head: Option<u64>,
    rows: BTreeMap<Bytes, Row>,
}

type Tables = [Table; TABLES.len()];

pub(super) fn check(world: &World, truth: &Truth) -> Result<(), String> {
    if world.scenario.entries == 0 {
        return Ok(());
    }
    let mut all = BTreeMap::new();
    for (address, runs) in &truth.runs {
        let mut tables = Tables::default();
        for id in runs {
            let run = world.history.run(*id);
            follow(world, &mut tables, run)
                .map_err(|error| format!("{address} run {id}: {error}"))?;
        }
        all.insert(address.clone(), tables);
    }
    check_rest(world, all)
}

fn follow(world: &World, tables: &mut Tables, run: &Run) -> Result<(), String> {
    for (place, table) in tables.iter().enumerate() {
        if run.heads[place] != table.head {
            let (given, head) = (run.heads[place], table.head);
            return Err(format!("table {place} was given head {given:?}, left was {head:?}"));
        }
    }
    for look in &run.looks {
        compare(world.scenario.ttl_ms, &mut tables[look.place], look)
            .map_err(|error| format!("table {}: {error}: {look:?}", look.place))?;
    }
    let Some(done) = run.done else { return Ok(()) };
    for change in &run.changes {
        match change {
            Change::Clear { place, .. } => tables[*place].rows.clear(),
            Change::Row { place, key, is_put: false } => drop(tables[*place].rows.remove(key)),
            Change::Row { place, key, is_put: true } => {
                let (earliest_ms, latest_ms) = (done.now_ms, done.latest_ms);
                let row = Row { writer: run.ledger.run, earliest_ms, latest_ms };
                tables[*place].rows.insert(key.clone(), row);
            }
        }
    }
    for (table, head) in tables.iter_mut().zip(run.new_heads) {
        table.head = head.or(table.head);
    }
    Ok(())
}

fn compare(ttl_ms: u64, table: &mut Table, look: &Look) -> Result<(), String> {
    let mut found: BTreeMap<_, _> = look.found.iter().cloned().collect();
    if found.len() != look.found.len() || !look.found.is_sorted() {
        return Err("rows come twice, or not in order".to_owned());
    }
    let range = (look.from.clone())..(look.upto.clone());
    let there: Vec<_> = table.rows.range(range).map(|(key, row)| (key.clone(), *row)).collect();
    for (key, row) in there {
        match found.remove(&key) {
            Some(writer) if writer != row.writer => {
                return Err(format!("found is run {writer}, left was {row:?}"));
            }
            Some(_) if look.place == AFTER_WRITE && look.now_ms >= row.latest_ms + ttl_ms => {
                return Err(format!("{row:?} has expired"));
            }
            Some(_) => {
                // Calls that came to nothing let a row live on too: only the other one's end is known.
                if look.place > AFTER_WRITE {
                    table.rows.insert(key, Row { earliest_ms: look.now_ms, ..row });
                }
            }
            None if look.place == FOR_GOOD || look.latest_ms < row.earliest_ms + ttl_ms => {
                return Err(format!("{row:?} is gone"));
            }
            None => drop(table.rows.remove(&key)),
        }
    }
    match found.pop_first() {
        Some((key, writer)) => Err(format!("what run {writer} left at {key:?} is back")),
        None => Ok(()),
    }
}

/// The store holds the rows that are left, and none that were given up.
fn check_rest(world: &World, mut all: BTreeMap<Address, Tables>) -> Result<(), String> {
    for (key, value) in &world.store.visible.rows {
        match keys::parse(key).map_err(|error| error.to_string())?.1 {
            Key::Cleared { .. } => return Err(format!("given up and not deleted: {key:?}")),
            Key::Entry { id, function_type, name, entry } => {
                let address = Address::new(parse_type(function_type)?, id);
                let place = TABLES.iter().position(|table| *table == name);
                let place = place.ok_or_else(|| format!("a row of {name}"))?;
                let table = all.get_mut(&address).map(|tables| &mut tables[place]);
                let row = table.and_then(|table| table.rows.remove(entry));
                let writer = payload::number(&value[value.len().saturating_sub(8)..]);
                if row.map(|row| row.writer) != writer {
                    return Err(format!(
                        "{address} {name} {entry:?} holds {writer:?}, not {row:?}"
                    ));
                }
            }
            _ => {}
        }
    }
    for (address, tables) in &all {
        for (place, table) in tables.iter().enumerate() {
            let may_be_gone = |row: &Row| {
                place != FOR_GOOD
                    && world.latest_ms() >= row.earliest_ms.saturating_add(world.scenario.ttl_ms)
            };
            if let Some((key, row)) = table.rows.iter().find(|(_, row)| !may_be_gone(row)) {
                return Err(format!(
                    "{address} table {place}: {key:?} {row:?} is not in the store"
                ));
            }
        }
    }
    Ok(())
}
