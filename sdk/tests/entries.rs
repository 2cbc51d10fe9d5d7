//! Tables and buffers as a function sees them: over rows that earlier batches have left, under what the
//! batch itself has written. The rows are a map here; that the runtime keeps them is for its own tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use dormouse_sdk::protocol::{
    Address, Effects, EntryPage, EntryReader, FunctionType, Invocation, Message as Envelope,
    Response, TypedValue, Which, types,
};
use dormouse_sdk::table::Cursor;
use dormouse_sdk::{
    Buffer, Bytes, Context, FunctionDescriptor, FunctionError, Message, State, Table, ValueType,
    function, msgpack_type, registered_functions,
};

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Item {
    count: u32,
    #[serde(default)]
    note: Option<String>,
}

msgpack_type!(Item, "test/Item");

/// An item as an earlier version of the program had it, and as a later one that needs more.
#[derive(serde::Serialize, serde::Deserialize)]
struct OldItem {
    weight: f64,
    count: u32,
}

msgpack_type!(OldItem, "test/Item");

#[derive(serde::Serialize, serde::Deserialize)]
struct NewItem {
    price: u64,
}

msgpack_type!(NewItem, "test/Item");

const ITEMS: Table<String, Item> = Table::new("items");
const OTHER: Table<i64, Item> = Table::new("items");
const UNDECLARED: Table<String, Item> = Table::new("undeclared");
const NEW_ITEMS: Table<String, NewItem> = Table::new("items");
const LINES: Buffer<String> = Buffer::new("lines");
const VALUE: State<Item> = State::new("value");
const NEW_VALUE: State<NewItem> = State::new("value");

/// What it is told, word by word; replies with what it sees.
async fn shelf(ctx: &mut Context, text: String) -> Result<(), FunctionError> {
    let words: Vec<&str> = text.split(' ').collect();
    match *words.as_slice() {
        ["put", key, count] => {
            ctx.table(&ITEMS).insert(key, &Item { count: count.parse()?, note: None })?;
        }
        ["get", key] => {
            let item = ctx.table(&ITEMS).get(key).await?;
            ctx.reply(item.map_or("none".to_owned(), |item| item.count.to_string()))?;
        }
        ["remove", key] => ctx.table(&ITEMS).remove(key)?,
        ["clear"] => ctx.table(&ITEMS).clear()?,
        ["list", rows] => {
            let mut cursor = Cursor::new().with_rows(rows.parse()?);
            while let Some(page) = ctx.table(&ITEMS).page(&mut cursor).await? {
                let page = page.iter().map(|(key, item)| format!("{key}={}", item.count));
                ctx.reply(page.collect::<Vec<_>>().join(" "))?;
            }
        }
        ["append", line] => ctx.buffer(&LINES).append(&line.to_owned())?,
        ["replace", line] => ctx.buffer(&LINES).replace_with([&line.to_owned()])?,
        ["forget"] => ctx.buffer(&LINES).clear()?,
        ["lines"] => {
            let mut cursor = Cursor::new().with_rows(2);
            while let Some(page) = ctx.buffer(&LINES).page(&mut cursor).await? {
                ctx.reply(page.join(" "))?;
            }
        }
        ["long", bytes] => {
            ctx.table(&ITEMS).get(&"k".repeat(bytes.parse()?)).await?;
        }
        ["insert", bytes] => {
            let key = "k".repeat(bytes.parse()?);
            ctx.table(&ITEMS).insert(&key, &Item { count: 1, note: None })?;
        }
        ["element", bytes] => ctx.buffer(&LINES).append(&"x".repeat(bytes.parse()?))?,
        ["other"] => ctx.table(&OTHER).clear()?,
        ["undeclared"] => ctx.table(&UNDECLARED).clear()?,
        _ => return Err(FunctionError::new("what?")),
    }
    Ok(())
}

async fn newer(ctx: &mut Context, _: Message) -> Result<(), FunctionError> {
    ctx.table(&NEW_ITEMS).get("apple").await?;
    Ok(())
}

async fn newer_value(ctx: &mut Context, _: Message) -> Result<(), FunctionError> {
    ctx.get_ref(&NEW_VALUE)?;
    Ok(())
}

function! { "test/shelf", states: [ITEMS, LINES], shelf }
function! { "test/newer", states: [NEW_ITEMS], newer }
function! { "test/newer-value", states: [VALUE], newer_value }

/// One instance: its states, and the rows of them.
#[derive(Default)]
struct Instance {
    state: Vec<Option<Bytes>>,
    rows: BTreeMap<(u16, Bytes), Bytes>,
    reads: usize,
}

fn find(name: &str) -> &'static FunctionDescriptor {
    let mut functions = registered_functions().into_iter();
    functions.find(|function| function.name == name).expect("the function is registered")
}

impl Instance {
    /// Runs a batch; what it replied, or why it failed.
    fn run(&mut self, texts: &[&str]) -> Result<Vec<String>, String> {
        self.call("test/shelf", texts)
    }

    fn call(&mut self, name: &str, texts: &[&str]) -> Result<Vec<String>, String> {
        let function = find(name);
        self.state.resize(function.states.len(), None);
        let target = Address::new(FunctionType::parse(name).expect("a name"), "Bob");
        let reader = EntryReader::default();
        let message = |text: &&str| {
            let value = TypedValue::new(types::STRING, types::encode_string(text));
            let caller = Some(Address::new(FunctionType::new("test", "caller"), "c"));
            Arc::new(Envelope { target: target.clone(), caller, value })
        };
        let mut future = function.invoke(Invocation {
            target: target.clone(),
            specs: function.specs().into(),
            state: self.state.clone().into(),
            messages: texts.iter().map(message).collect(),
            entries: Some(reader.clone()),
        });
        let answer = loop {
            let polled = future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()));
            match (polled, reader.take()) {
                (Poll::Ready(answer), None) => break answer,
                (Poll::Pending, Some(read)) => reader.answer(self.read(read.spec, read.which)),
                other => panic!("neither ready nor reading: {other:?}"),
            }
        };
        match answer {
            Ok(Response::Effects(effects)) => Ok(self.apply(*effects)),
            Ok(other) => panic!("expected effects, got {other:?}"),
            Err(error) => Err(error.message),
        }
    }

    fn read(&mut self, spec: u16, which: Which) -> EntryPage {
        self.reads += 1;
        match which {
            Which::One(key) => {
                let found = self.rows.get(&(spec, key.clone())).cloned();
                EntryPage {
                    rows: found.map(|value| (key, value)).into_iter().collect(),
                    next: None,
                }
            }
            Which::Page { from, to, rows_max } => {
                let rows = self.rows.range((spec, from)..(spec, to));
                let rows = rows.map(|((_, key), value)| (key.clone(), value.clone()));
                let mut rows: Vec<_> = rows.take(rows_max + 1).collect();
                let next = rows.get(rows_max).map(|(key, _)| key.clone());
                rows.truncate(rows_max);
                EntryPage { rows, next }
            }
        }
    }

    fn apply(&mut self, effects: Effects) -> Vec<String> {
        for change in effects.state {
            self.state[usize::from(change.spec)] = change.value;
        }
        let entries = effects.entries.unwrap_or_default();
        for cleared in &entries.cleared {
            self.rows.retain(|(spec, key), _| {
                *spec != cleared.spec || !key.starts_with(&cleared.prefix)
            });
        }
        for change in entries.changes {
            let key = (change.spec, change.key);
            match change.value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        let replies = effects.messages.iter();
        replies.map(|(_, value)| types::decode_string(&value.value).expect("a text")).collect()
    }
}

#[test]
fn a_table_is_read_key_by_key_and_sees_its_own_writes() {
    let mut bob = Instance::default();
    assert_eq!(bob.run(&["get apple", "put apple 3", "get apple"]).unwrap(), ["none", "3"]);
    assert_eq!(bob.reads, 0, "a table without entries needs no read");
    assert_eq!(
        bob.run(&["get apple", "get pear", "put pear 1", "get pear"]).unwrap(),
        ["3", "none", "1"]
    );
    assert_eq!(bob.reads, 2);
    assert_eq!(bob.run(&["remove apple", "get apple", "get pear"]).unwrap(), ["none", "1"]);
    assert_eq!(bob.rows.len(), 1);
}

#[test]
fn pages_are_in_order_with_what_the_batch_has_written() {
    let mut bob = Instance::default();
    bob.run(&["put b 1", "put d 1", "put f 1", "put h 1"]).unwrap();
    let texts = ["put a 2", "put e 2", "remove f", "put h 2", "put z 2", "list 2"];
    assert_eq!(bob.run(&texts).unwrap(), ["a=2 b=1 d=1 e=2", "h=2 z=2"]);
    assert_eq!(bob.run(&["list 1024"]).unwrap(), ["a=2 b=1 d=1 e=2 h=2 z=2"]);
    assert_eq!(bob.run(&["remove a", "remove b", "list 1"]).unwrap(), ["d=1", "e=2", "h=2", "z=2"]);
}

#[test]
fn a_cleared_table_is_empty_at_once_and_reads_nothing() {
    let mut bob = Instance::default();
    bob.run(&["put a 1", "put b 1"]).unwrap();
    let texts = ["clear", "get a", "put c 1", "list 5", "clear", "list 5", "put d 1", "list 5"];
    assert_eq!(bob.run(&texts).unwrap(), ["none", "c=1", "d=1"]);
    assert_eq!(bob.reads, 0);
    assert_eq!(bob.run(&["list 5"]).unwrap(), ["d=1"]);
    assert_eq!(bob.rows.len(), 1, "what was given up is deleted");
    bob.run(&["clear"]).unwrap();
    assert_eq!(bob.run(&["list 5", "get d"]).unwrap(), ["none"]);
    assert!(bob.rows.is_empty());
}

#[test]
fn a_failed_batch_changes_nothing() {
    let mut bob = Instance::default();
    bob.run(&["put a 1"]).unwrap();
    bob.run(&["put a 2", "clear", "what"]).unwrap_err();
    assert_eq!(bob.run(&["list 5"]).unwrap(), ["a=1"]);
}

#[test]
fn a_buffer_is_appended_to_without_a_read() {
    let mut bob = Instance::default();
    for line in ["append a", "append b", "append c"] {
        bob.run(&[line]).unwrap();
    }
    assert_eq!(bob.reads, 0);
    assert_eq!(bob.run(&["append d", "lines"]).unwrap(), ["a b", "c d"]);
    assert_eq!(bob.run(&["replace x", "append y", "lines"]).unwrap(), ["x y"]);
    assert_eq!(bob.rows.len(), 2);
    assert_eq!(bob.run(&["forget", "lines"]).unwrap(), [""; 0]);
    assert_eq!(bob.run(&["append z", "lines"]).unwrap(), ["z"]);
}

#[test]
fn a_key_that_does_not_fit_is_refused_by_name() {
    let mut bob = Instance::default();
    bob.run(&["put a 1"]).unwrap();
    bob.run(&["long 65000"]).unwrap();
    let error = bob.run(&["long 65536"]).unwrap_err();
    let expected = format!(
        "state `items`, entry `{}...`: a key of 65536 bytes; beside the id of this instance and the \
         names of type and state at most 65498 fit",
        "k".repeat(60)
    );
    assert!(error.ends_with(&expected), "{error}");
    bob.run(&["insert 65498"]).unwrap();
    assert_eq!(bob.run(&["insert 65499"]).unwrap_err(), error.replace("65536", "65499"));
}

#[test]
fn a_value_that_is_too_long_is_refused_by_name() {
    let mut bob = Instance::default();
    // Five bytes are the text's own frame.
    bob.run(&["append a", &format!("element {}", (32 << 20) - 5)]).unwrap();
    let error = bob.run(&["append a", &format!("element {}", (32 << 20) - 4)]).unwrap_err();
    let expected = "entry `\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x03`: a value of 33554433 bytes; at most \
                    33554432 are possible";
    assert!(error.contains("state `lines`, ") && error.ends_with(expected), "{error}");
}

#[test]
fn a_table_of_other_types_is_refused_with_both() {
    let mut bob = Instance::default();
    let error = bob.run(&["other"]).unwrap_err();
    let expected = "state `items` holds values of type `table<io.statefun.types/string, test/Item>`, \
                    not `table<io.statefun.types/long, test/Item>`";
    assert!(error.ends_with(expected), "{error}");
    let error = bob.run(&["undeclared"]).unwrap_err();
    assert!(error.contains("state `undeclared` is not declared"), "{error}");
}

#[test]
fn what_an_older_version_stored_reads_or_is_refused_with_both_types() {
    let old = OldItem { weight: 1.0, count: 7 }.encode().unwrap();
    assert_eq!(Item::decode(&old).unwrap(), Item { count: 7, note: None });
    let mut bob = Instance::default();
    bob.run(&["put apple 3"]).unwrap();
    let error = bob.call("test/newer", &[""]).unwrap_err();
    let expected = "state `items`, entry `apple`: what is stored as `test/Item` does not read as \
                    `entries::NewItem`: missing field `price`";
    assert!(error.contains(expected), "{error}");
    let mut bob = Instance { state: vec![Some(old)], ..Instance::default() };
    let error = bob.call("test/newer-value", &[""]).unwrap_err();
    let expected = "state `value`: what is stored as `test/Item` does not read as \
                    `entries::NewItem`: missing field `price`";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn without_a_reader_a_table_is_refused_by_name() {
    let function = find("test/shelf");
    let target = Address::new(FunctionType::new("test", "shelf"), "Bob");
    let value = TypedValue::new(types::STRING, types::encode_string("clear"));
    let mut future = function.invoke(Invocation {
        target: target.clone(),
        specs: function.specs().into(),
        state: vec![None, None].into(),
        messages: vec![Arc::new(Envelope { target, caller: None, value })].into(),
        entries: None,
    });
    let polled = future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()));
    let Poll::Ready(Err(error)) = polled else { panic!("expected an error: {polled:?}") };
    assert!(error.message.contains("state `items` is a table or buffer"), "{}", error.message);
}
