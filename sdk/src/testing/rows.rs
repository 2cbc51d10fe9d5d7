//! What an instance of a test remembers: values of states, and rows of tables and buffers, with the times
//! at which they expire. The rules are those of the runtime.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::{
    EntryEffects, EntryPage, EntryRead, Expiration, StateMutations, StateSpec, StateValues, Which,
};

/// Everything that is stored of an instance.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub(super) specs: Arc<[StateSpec]>,
    cells: Vec<Row>,
    entries: BTreeMap<(u16, Bytes), Row>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    value: Option<Bytes>,
    /// `None`: never.
    expires_at_ms: Option<u64>,
}

impl Rows {
    pub(super) fn new(specs: Vec<StateSpec>) -> Self {
        let cells = vec![Row::default(); specs.len()];
        Self { specs: specs.into(), cells, entries: BTreeMap::new() }
    }

    /// States that were named at run time. Answers how many of them are new.
    pub(super) fn add_specs(&mut self, wanted: Vec<StateSpec>) -> usize {
        let mut specs = self.specs.to_vec();
        for spec in wanted {
            match specs.iter().find(|known| known.name == spec.name) {
                None => specs.push(spec),
                Some(known) => assert_eq!(
                    known.typename, spec.typename,
                    "state `{}` is used with two types",
                    spec.name
                ),
            }
        }
        let added = specs.len() - self.specs.len();
        self.cells.resize(specs.len(), Row::default());
        self.specs = specs.into();
        added
    }

    /// The values as a call finds them: what has expired is gone, and being called is a use.
    pub(super) fn values(&mut self, now_ms: u64) -> StateValues {
        for (cell, spec) in self.cells.iter_mut().zip(self.specs.iter()) {
            if cell.is_expired(now_ms) {
                *cell = Row::default();
            }
            if let (Some(_), Expiration::AfterInvoke(ttl_ms)) =
                (&cell.value, spec.value_expiration())
            {
                cell.expires_at_ms = Some(now_ms.saturating_add(ttl_ms));
            }
        }
        self.cells.iter().map(|cell| cell.value.clone()).collect()
    }

    /// The value of a state, without being a use of it.
    pub(super) fn value(&self, name: &str, now_ms: u64) -> Option<&Bytes> {
        let spec = self.specs.iter().position(|spec| spec.name == name)?;
        let cell = &self.cells[spec];
        if cell.is_expired(now_ms) { None } else { cell.value.as_ref() }
    }

    pub(super) fn write(&mut self, mutations: StateMutations, now_ms: u64) {
        for mutation in mutations {
            let spec = usize::from(mutation.spec);
            let expires_at_ms = expiry(self.specs[spec].value_expiration(), now_ms);
            self.cells[spec] = Row { value: mutation.value, expires_at_ms };
        }
    }

    pub(super) fn write_entries(&mut self, effects: EntryEffects, now_ms: u64) {
        for cleared in effects.cleared {
            self.entries.retain(|(spec, key), _| {
                *spec != cleared.spec || !key.starts_with(&cleared.prefix)
            });
        }
        for change in effects.changes {
            let at = (change.spec, change.key);
            match change.value {
                None => drop(self.entries.remove(&at)),
                value => {
                    let expiration = self.specs[usize::from(change.spec)].expiration;
                    let expires_at_ms = expiry(expiration, now_ms);
                    self.entries.insert(at, Row { value, expires_at_ms });
                }
            }
        }
    }

    /// Answers what a running function asks. An entry that is read is used.
    pub(super) fn read(&mut self, read: &EntryRead, now_ms: u64) -> EntryPage {
        let spec = read.spec;
        let (from, to, rows_max) = match &read.which {
            Which::One(key) => (key.clone(), Bytes::from([key.as_ref(), &[0]].concat()), 1),
            Which::Page { from, to, rows_max } => (from.clone(), to.clone(), *rows_max),
        };
        self.entries.retain(|_, row| !row.is_expired(now_ms));
        let expiration = self.specs[usize::from(spec)].expiration;
        let mut rows = self.entries.range_mut((spec, from)..(spec, to));
        let mut page = EntryPage::default();
        for ((_, key), row) in rows.by_ref().take(rows_max.max(1)) {
            if let Expiration::AfterInvoke(_) = expiration {
                row.expires_at_ms = expiry(expiration, now_ms);
            }
            page.rows.extend(row.value.clone().map(|value| (key.clone(), value)));
        }
        page.next = rows.next().map(|((_, key), _)| key.clone());
        page
    }
}

impl Row {
    fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }
}

fn expiry(expiration: Expiration, now_ms: u64) -> Option<u64> {
    match expiration {
        Expiration::Never => None,
        Expiration::AfterWrite(ttl_ms) | Expiration::AfterInvoke(ttl_ms) => {
            Some(now_ms.saturating_add(ttl_ms))
        }
    }
}
