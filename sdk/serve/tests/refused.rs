//! A function that has a table cannot be served: a start says so, by the names of function and state.

use dormouse_sdk::{Buffer, Context, FunctionError, Message, State, Table, function};
use dormouse_serve::Functions;

const COUNT: State<i64> = State::new("count");
const ITEMS: Table<String, i64> = Table::new("items");
const LINES: Buffer<String> = Buffer::new("lines");

async fn nothing(_: &mut Context, _: Message) -> Result<(), FunctionError> {
    Ok(())
}

function! { "test/plain", states: [COUNT], nothing }
function! { "test/table", states: [COUNT, ITEMS], nothing }
function! { "test/buffer", states: [LINES], nothing }

#[test]
fn functions_with_tables_or_buffers_are_refused_by_name() {
    let refused = |names: &[&str]| Functions::only(names).expect_err("it is refused").to_string();
    let rest = "and only functions that are linked into the runtime's own process can have tables and \
                buffers";
    assert_eq!(
        refused(&["test/plain", "test/table"]),
        format!("function `test/table` cannot be served: its state `items` is a table, {rest}")
    );
    assert_eq!(
        refused(&["test/buffer"]),
        format!("function `test/buffer` cannot be served: its state `lines` is a buffer, {rest}")
    );
    assert!(Functions::linked().is_err());
    assert_eq!(Functions::only(&["test/plain"]).expect("it is served").names(), ["test/plain"]);
}
