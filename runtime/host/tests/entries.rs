//! Tables and buffers of a running application: what one start has written, the next one reads; a
//! table of many pages and a long list of them do not hold up the others; what is cleared leaves the store.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use dormouse_engine::keys;
use dormouse_host::metrics::Metrics;
use dormouse_host::plan::{self, Plan};
use dormouse_host::settings::Settings;
use dormouse_host::{manifest, registry, runtime};
use dormouse_protocol::{Address, FunctionType, Message, Partition, TypeName, types};
use dormouse_sdk::ingress::{Ingress, Lane, LocalFuture, OpenError};
use dormouse_sdk::manifest::{Diagnostics, Span};
use dormouse_sdk::module::IngressBinding;
use dormouse_sdk::table::Cursor;
use dormouse_sdk::{Buffer, Context, FunctionError, IntoValue, Table, function};
use dormouse_store::{EmbeddedOptions, EmbeddedStore, Store};
use tokio::sync::oneshot;

const PARTITIONS: u16 = 4;

const STOCK: Table<i64, i64> = Table::new("stock");
const LOG: Buffer<String> = Buffer::new("log");
const BRIEF: Table<String, i64> =
    Table::new("brief").expire_after_write(Duration::from_millis(100));

/// Does what it is told, notes it, and replies with a number.
async fn shelf(ctx: &mut Context, text: String) -> Result<(), FunctionError> {
    let words: Vec<&str> = text.split(' ').collect();
    let reply = match *words.as_slice() {
        ["fill", count] => {
            let count: i64 = count.parse()?;
            (0..count).try_for_each(|key| ctx.table(&STOCK).insert(&key, &key))?;
            count
        }
        ["add", key] => {
            let key: i64 = key.parse()?;
            let count = ctx.table(&STOCK).get(&key).await?.unwrap_or(0) + 1;
            // A timer between reading and writing: the call becomes a task.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let again = ctx.table(&STOCK).get(&key).await?.unwrap_or(0) + 1;
            assert_eq!(count, again, "nobody else writes meanwhile");
            ctx.table(&STOCK).insert(&key, &count)?;
            count
        }
        ["sum"] => {
            let (mut sum, mut cursor) = (0, Cursor::new().with_rows(10));
            while let Some(page) = ctx.table(&STOCK).page(&mut cursor).await? {
                sum += page.iter().map(|(_, count)| count).sum::<i64>();
            }
            sum
        }
        ["give", "up"] => {
            let mut stock = ctx.table(&STOCK);
            {
                // A read that nobody waits for in the end: the next one must not get its answer.
                let mut given_up = pin!(stock.get(&7));
                poll_fn(|cx| Poll::Ready(given_up.as_mut().poll(cx).is_ready())).await;
                tokio::task::yield_now().await;
            }
            ctx.table(&STOCK).get(&8).await?.unwrap_or(-1)
        }
        ["clear"] => {
            ctx.table(&STOCK).clear()?;
            0
        }
        ["log"] => {
            let (mut count, mut cursor) = (0, Cursor::new());
            while let Some(page) = ctx.buffer(&LOG).page(&mut cursor).await? {
                count += page.len() as i64;
            }
            count
        }
        ["put", key] => {
            ctx.table(&BRIEF).insert(key, &1)?;
            1
        }
        ["wait", key] => {
            let mut waited = 0;
            while ctx.table(&BRIEF).get(key).await?.is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
                waited = 1;
            }
            waited
        }
        _ => return Err(FunctionError::new("what?")),
    };
    ctx.buffer(&LOG).append(&text)?;
    ctx.reply(reply)
}

function! { "test/shelf", states: [STOCK, LOG, BRIEF], shelf }

/// Sends texts to instances of the shelf one after the other; the replies.
#[derive(Debug)]
struct Asker {
    texts: Vec<(&'static str, String)>,
    replies: Mutex<Option<oneshot::Sender<Vec<i64>>>>,
}

impl Ingress for Asker {
    fn open(&self) -> Result<Option<String>, OpenError> {
        Ok(None)
    }

    fn serve(self: Arc<Self>, lane: Lane) -> LocalFuture<()> {
        Box::pin(async move {
            let Some(sender) = self.replies.lock().unwrap().take() else { return };
            let mut replies = Vec::new();
            for (id, text) in &self.texts {
                let reply = lane.reply();
                let value = text.clone().into_value().unwrap();
                let target = Address::new(FunctionType::new("test", "shelf"), *id);
                let message = Message { target, caller: Some(reply.address.clone()), value };
                let room = lane.admit(100).await.unwrap();
                lane.submit(message, &room).await.unwrap();
                replies.push(types::decode_long(&reply.value.await.value).unwrap());
            }
            sender.send(replies).unwrap();
        })
    }
}

fn plan_with(ingress: Arc<dyn Ingress>) -> Plan {
    let mut diagnostics = Diagnostics::default();
    let manifest = manifest::read(&[], &mut diagnostics);
    let mut plan = plan::resolve(&manifest, &registry::linked().unwrap(), &mut diagnostics);
    let span = Span { file: Arc::from(Path::new("test")), line: 1, column: 1 };
    let id = TypeName::parse("test/asker").unwrap();
    plan.ingresses.push(IngressBinding { span, id, ingress });
    plan
}

/// Starts on this directory, asks, stops.
async fn ask(directory: &Path, texts: &[(&'static str, &str)]) -> Vec<i64> {
    let options = EmbeddedOptions::new(directory, PARTITIONS);
    let (store, _) = EmbeddedStore::open(options).unwrap();
    let (sender, receiver) = oneshot::channel();
    let texts = texts.iter().map(|(id, text)| (*id, (*text).to_owned())).collect();
    let asker = Asker { texts, replies: Mutex::new(Some(sender)) };
    let metrics = Arc::new(Metrics::new(2));
    let plan = plan_with(Arc::new(asker));
    let settings = Settings::default();
    let running = runtime::start(plan, &settings, metrics, store, PARTITIONS).await.unwrap();
    let replies = tokio::time::timeout(Duration::from_secs(120), receiver).await;
    let replies = replies.expect("all are answered").unwrap();
    let handle = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || handle.block_on(running.stop())).await.unwrap().unwrap();
    replies
}

/// Rows of entries, and of what was given up, in a directory that nobody has open.
async fn rows(directory: &Path) -> (usize, usize) {
    let (store, _) = EmbeddedStore::open(EmbeddedOptions::new(directory, PARTITIONS)).unwrap();
    let partitions: Vec<_> = (0..PARTITIONS).map(Partition).collect();
    let mut counts = [0, 0];
    {
        let mut shard = store.open_shard(0, &partitions, Arc::new(|| {})).unwrap();
        for partition in partitions {
            shard.open(partition).await.unwrap();
            for (at, space) in [keys::SPACE_ENTRY, keys::SPACE_CLEARED].into_iter().enumerate() {
                let from = keys::space_prefix(space, partition);
                let to = keys::prefix_end(&from).unwrap();
                counts[at] += shard.scan(from, to, 100_000, usize::MAX).await.unwrap().0.len();
            }
        }
    }
    store.close().unwrap();
    (counts[0], counts[1])
}

#[tokio::test]
async fn tables_and_buffers_are_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let asked = [("a", "fill 5000"), ("a", "add 7"), ("b", "add 7"), ("a", "sum"), ("b", "sum")];
    assert_eq!(ask(path, &asked).await, [5_000, 8, 1, 5_000 * 4_999 / 2 + 1, 1]);
    let asked = [("a", "give up"), ("a", "add 7"), ("a", "log"), ("b", "log"), ("b", "sum")];
    assert_eq!(ask(path, &asked).await, [8, 9, 5, 2, 1]);
    assert_eq!(rows(path).await, (5_000 + 1 + 6 + 4, 0));
}

#[tokio::test]
async fn what_a_table_gives_up_leaves_the_store_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let asked = [("a", "fill 5000"), ("a", "clear"), ("a", "sum"), ("a", "add 3"), ("a", "sum")];
    assert_eq!(ask(path, &asked).await, [5_000, 0, 0, 1, 1]);
    for attempt in 0.. {
        let (entries, given_up) = rows(path).await;
        if given_up == 0 {
            assert_eq!(entries, 1 + 5 + attempt, "an entry of the table, and the log");
            break;
        }
        assert!(attempt < 100, "{entries} entries are left");
        assert_eq!(ask(path, &[("a", "sum")]).await, [1]);
    }
}

#[tokio::test]
async fn entries_expire_each_at_its_own_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    // It may have expired before it is first looked at, when the machine is slow, but not never.
    let replies = ask(path, &[("a", "put x"), ("a", "wait x"), ("a", "wait x")]).await;
    assert_eq!((replies[0], replies[2]), (1, 0));
    assert_eq!(rows(path).await, (3, 0), "what was seen to be gone is deleted");
}
