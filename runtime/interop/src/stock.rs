//! `sys/stock`: counts things three times over, in a value, in a table by their names and in a buffer one
//! by one, so that whoever asks can tell whether all three agree.

use dormouse_sdk::table::Cursor;
use dormouse_sdk::{Buffer, Context, FunctionError, State, Table};

pub(crate) const COUNT: State<i64> = State::new("count");
pub(crate) const THINGS: Table<String, i64> = Table::new("things");
pub(crate) const LIST: Buffer<String> = Buffer::new("list");

/// `add NAME` replies with the counts of all and of this one; `clear` forgets everything; `sum` goes
/// through all of it and replies with the three counts.
pub(crate) async fn stock(ctx: &mut Context, line: String) -> Result<(), FunctionError> {
    let count = ctx.get(&COUNT)?.unwrap_or(0);
    if line == "clear" {
        ctx.remove(&COUNT)?;
        ctx.table(&THINGS).clear()?;
        ctx.buffer(&LIST).clear()?;
        return ctx.reply("0 0");
    }
    if line == "sum" {
        let (mut things, mut elements) = (0, 0);
        let mut cursor = Cursor::new().with_rows(7);
        while let Some(page) = ctx.table(&THINGS).page(&mut cursor).await? {
            things += page.iter().map(|(_, count)| count).sum::<i64>();
        }
        let mut cursor = Cursor::new().with_rows(100);
        while let Some(page) = ctx.buffer(&LIST).page(&mut cursor).await? {
            elements += page.len();
        }
        return ctx.reply(format!("{count} {things} {elements}"));
    }
    let name = line.strip_prefix("add ").ok_or_else(|| FunctionError::new("what?"))?;
    let of_this = ctx.table(&THINGS).get(name).await?.unwrap_or(0) + 1;
    ctx.table(&THINGS).insert(name, &of_this)?;
    ctx.buffer(&LIST).append(&name.to_owned())?;
    ctx.set(&COUNT, count + 1)?;
    ctx.reply(format!("{} {of_this}", count + 1))
}
