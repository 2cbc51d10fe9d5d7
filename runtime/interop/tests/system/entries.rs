//! Tables and buffers over `kill -9` under load: what was acknowledged is there once, and table, buffer and
//! value of an instance always agree.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::application::Application;
use crate::client::Client;

const CLIENTS: usize = 4;
const KILLS: usize = 3;
/// Acknowledged requests between two kills.
const REQUESTS: usize = 400;
/// After so many requests a client clears its instance.
const CLEAR_EVERY: usize = 90;

/// What a client knows of its instance.
#[derive(Default)]
struct Known {
    count: i64,
    /// Requests since the last answer.
    in_doubt: Vec<&'static str>,
}

impl Known {
    /// An answer that counts `count` after a request for `line`: all before it are counted, and each of
    /// those in doubt may have been done or not, in order.
    fn answered(&mut self, line: &'static str, count: i64) -> Result<()> {
        let mut possible = vec![self.count];
        for doubtful in std::mem::take(&mut self.in_doubt) {
            let done: Vec<_> = possible.iter().map(|count| after(doubtful, *count)).collect();
            possible.extend(done);
        }
        let possible: Vec<_> = possible.into_iter().map(|count| after(line, count)).collect();
        ensure!(possible.contains(&count), "{line}: {count}, possible are {possible:?}");
        self.count = count;
        Ok(())
    }
}

fn after(line: &str, count: i64) -> i64 {
    match line {
        "clear" => 0,
        "sum" => count,
        _ => count + 1,
    }
}

fn numbers(text: &str) -> Result<Vec<i64>> {
    text.split_whitespace().map(|word| word.parse().context("a number")).collect()
}

/// Works on an instance until it is told to stop.
fn work(port: u16, id: usize, answered: &AtomicUsize, is_over: &AtomicBool) -> Result<Known> {
    const LINES: [&str; 5] = ["add a", "add b", "add c", "add d", "add e"];
    let mut known = Known::default();
    let mut connection = None;
    let mut sent = 0;
    while !is_over.load(Ordering::Relaxed) {
        let Some(mut client) = connection.take().or_else(|| Client::open(port).ok()) else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        sent += 1;
        let line = if sent % CLEAR_EVERY == 0 { "clear" } else { LINES[sent % LINES.len()] };
        match client.post(&format!("/sys/stock/s{id}?wait=30s"), line) {
            Ok((200, text)) => {
                known.answered(line, numbers(&text)?[0])?;
                answered.fetch_add(1, Ordering::Relaxed);
                connection = Some(client);
            }
            Ok((503, _)) | Err(_) => known.in_doubt.push(line),
            Ok((status, text)) => anyhow::bail!("{status} {text}"),
        }
    }
    Ok(known)
}

#[test]
fn tables_and_buffers_survive_kill_9_and_agree() -> Result<()> {
    let mut application = Application::new()?;
    application.start("", &[])?;
    let (answered, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let port = application.ingress;
    let known = thread::scope(|scope| -> Result<Vec<Known>> {
        let (answered, is_over) = (&answered, &is_over);
        let clients: Vec<_> =
            (0..CLIENTS).map(|id| scope.spawn(move || work(port, id, answered, is_over))).collect();
        let mut kill = || -> Result<()> {
            for kill in 1..=KILLS {
                application.wait_for("enough was answered", |_| {
                    Ok(answered.load(Ordering::Relaxed) >= kill * REQUESTS
                        || clients.iter().any(thread::ScopedJoinHandle::is_finished))
                })?;
                application.kill()?;
                application.start("", &[])?;
            }
            Ok(())
        };
        let killed = kill();
        is_over.store(true, Ordering::Relaxed);
        let known = clients.into_iter().map(|client| client.join().expect("no panic")).collect();
        killed.and(known)
    })?;
    for (id, mut known) in known.into_iter().enumerate() {
        let sums = numbers(&application.ask(&format!("/sys/stock/s{id}"), "sum")?)?;
        ensure!(sums[0] == sums[1] && sums[0] == sums[2], "s{id}: {sums:?} differ");
        known.answered("sum", sums[0])?;
    }
    ensure!(answered.load(Ordering::Relaxed) >= KILLS * REQUESTS);
    application.stop()
}
