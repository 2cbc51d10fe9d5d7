//! More work than functions can do, by the real binary with little memory: it pushes back and stays
//! within its bound, others are served meanwhile, and what was accepted is done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use dormouse_interop::http;

use crate::application::Application;
use crate::client::Client;
use crate::pressure::at_once;

const MEMORY: [&str; 2] = ["--memory", "128MB"];
const BOUND_MIB: f64 = 128.0;

/// Longer than any answer takes that does not stand behind the flood.
const PROMPT: Duration = Duration::from_secs(10);

fn within_bound(application: &Application, bound_mib: f64) -> Result<()> {
    let peak = application.peak_mib()?;
    println!("peak {peak:.0} MiB");
    ensure!(peak < bound_mib, "{peak:.0} MiB");
    Ok(())
}

#[test]
fn an_ingress_that_is_much_faster_than_its_functions_waits() -> Result<()> {
    an_ingress_waits(&[&MEMORY[..], &["--set", "limits.backlog=4MB"]].concat(), BOUND_MIB)
}

#[test]
fn with_more_memory_it_waits_later() -> Result<()> {
    an_ingress_waits(&["--memory", "512MB"], 512.0)
}

fn an_ingress_waits(settings: &[&str], bound_mib: f64) -> Result<()> {
    const CLIENTS: usize = 8;
    const MESSAGES: usize = 12_000;
    const SLOW: usize = 16;
    let mut application = Application::new()?;
    application.ingress_fields = ", maxWait: 1s";
    application.start("", settings)?;
    let ingress = application.ingress;
    let (next, accepted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    // Each takes 10 ms, one after the other for an address.
    let body = format!("pause 10 {}", "x".repeat(30_000));
    let began = Instant::now();
    at_once(CLIENTS, |_| {
        let mut client = Client::open(ingress)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= MESSAGES {
                return Ok(());
            }
            let (status, text) =
                client.post(&format!("/sys/puppet/slow{}", number % SLOW), &body)?;
            match status {
                202 => accepted.fetch_add(1, Ordering::Relaxed),
                503 => refused.fetch_add(1, Ordering::Relaxed),
                _ => bail!("{status} {text}"),
            };
        }
    })?;
    let (accepted, refused) = (accepted.into_inner(), refused.into_inner());
    println!("{accepted} accepted, {refused} refused within {:?}", began.elapsed());
    within_bound(&application, bound_mib)?;
    let asked = Instant::now();
    // Refused at worst, never forgotten; and at once when there is room again.
    while application.post("/sys/puppet/other?wait=15s", "note fine")?.0 != 200 {
        ensure!(asked.elapsed() < PROMPT * 6, "nobody is served any more");
    }
    application.wait_for("the backlog is gone", |application| {
        Ok(application.metric("dormouse_backlog_messages")? == 0.0)
    })?;
    let asked = Instant::now();
    ensure!(application.ask("/sys/puppet/other", "list")?.starts_with("fine\n"));
    ensure!(asked.elapsed() < PROMPT, "still slow: {:?}", asked.elapsed());
    let done = application.metric("dormouse_messages_processed_total")?;
    ensure!(done >= (accepted + 2) as f64, "{done} of {accepted} done");
    within_bound(&application, bound_mib)?;
    application.stop()
}

#[test]
fn instances_that_wake_all_at_once_share_the_memory() -> Result<()> {
    const INSTANCES: usize = 100_000;
    let mut application = Application::new()?;
    application.start("", &MEMORY)?;
    application.tell("waker", &format!("wake i {INSTANCES}"))?;
    application.wait_for("all were woken", |application| {
        Ok(application.metric("dormouse_messages_processed_total")? >= INSTANCES as f64
            && application.metric("dormouse_backlog_messages")? == 0.0)
    })?;
    println!("{} awake", application.metric("dormouse_awake_instances")?);
    for number in (0..INSTANCES).step_by(INSTANCES / 100) {
        let notes = application.notes(&format!("i{number}"))?;
        ensure!(notes == ["woken"], "i{number}: {notes:?}");
    }
    within_bound(&application, BOUND_MIB)?;
    application.stop()
}

#[test]
fn messages_of_32_megabytes_fit_into_512() -> Result<()> {
    const CLIENTS: usize = 12;
    const LONGEST: usize = 32 << 20;
    let mut application = Application::new()?;
    application.start("", &["--memory", "512MB"])?;
    let ingress = application.ingress;
    let body = format!("ignore {}", "x".repeat(LONGEST - "ignore ".len()));
    let text = ("content-type", "text/plain");
    let statuses = at_once(CLIENTS, |client| {
        let path = format!("/sys/puppet/p{client}");
        Ok(http::request("POST", ingress, &path, &[text], body.as_bytes())?.status)
    })?;
    println!("{statuses:?}");
    ensure!(statuses.iter().all(|status| [202, 503].contains(status)), "{statuses:?}");
    ensure!(statuses.contains(&202));
    ensure!(application.ask("/sys/puppet/other", "note fine")? == "fine\n");
    within_bound(&application, 512.0)?;
    application.stop()
}

/// A client that keeps its connection and goes on while there is something left to send.
fn sends_all(
    application: &Application,
    clients: usize,
    count: usize,
    message: impl Fn(usize) -> (String, String) + Sync,
) -> Result<()> {
    let (next, ingress) = (AtomicUsize::new(0), application.ingress);
    at_once(clients, |_| {
        let mut client = Client::open(ingress)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            let (path, body) = message(number);
            // What is held back for long is refused, and comes again.
            while client.post(&path, &body)?.0 != 202 {}
        }
    })?;
    Ok(())
}

#[test]
fn states_of_4_megabytes_are_not_all_in_memory() -> Result<()> {
    const INSTANCES: usize = 30;
    const STATE: usize = 4 << 20;
    let mut application = Application::new()?;
    application.start("", &MEMORY)?;
    for act in [format!("keep {STATE}"), "ignore it".to_owned()] {
        sends_all(&application, 16, INSTANCES, |number| {
            (format!("/sys/puppet/s{}", number % INSTANCES), act.clone())
        })?;
        application.wait_for("all is done", |application| {
            Ok(application.metric("dormouse_backlog_messages")? == 0.0)
        })?;
    }
    // Each has its state.
    for number in [0, INSTANCES / 2, INSTANCES - 1] {
        let text = application.ask(&format!("/sys/puppet/s{number}"), "list")?;
        ensure!(text.len() == STATE, "{} bytes", text.len());
    }
    // Each that is written is held some times: see the guide to operations.
    within_bound(&application, 2.0 * BOUND_MIB)?;
    application.stop()
}

#[test]
fn values_that_are_written_as_fast_as_may_be_stay_within_512() -> Result<()> {
    const MESSAGES: usize = 20_000;
    const ADDRESSES: usize = 10_000;
    let mut application = Application::new()?;
    application.start("", &["--memory", "512MB"])?;
    sends_all(&application, 32, MESSAGES, |number| {
        (format!("/sys/puppet/v{}", number % ADDRESSES), "keep 4096".to_owned())
    })?;
    within_bound(&application, 512.0)?;
    application.stop()
}

#[test]
fn the_longest_bodies_that_are_taken_share_the_memory() -> Result<()> {
    const CLIENTS: usize = 8;
    // Three quarters of three thirty-seconds of 96 MB.
    const LONGEST: usize = 27 << 18;
    let mut application = Application::new()?;
    application.start("", &MEMORY)?;
    let ingress = application.ingress;
    let post = |client: usize, bytes: usize| -> Result<(u16, String)> {
        let body = format!("pause 300 {}", "x".repeat(bytes - "pause 300 ".len()));
        let path = format!("/sys/puppet/p{client}");
        let text = ("content-type", "text/plain");
        let answer = http::request("POST", ingress, &path, &[text], body.as_bytes())?;
        Ok((answer.status, answer.text()?.to_owned()))
    };
    for bytes in [LONGEST + 1, 32 << 20] {
        let (status, text) = post(0, bytes)?;
        let expected = format!("the body is longer than {LONGEST} bytes\n");
        ensure!((status, &text) == (413, &expected), "{status} {text}");
    }
    // They wait in the store, and for their functions.
    let statuses = at_once(CLIENTS, |client| Ok(post(client, LONGEST)?.0))?;
    ensure!(statuses.iter().all(|status| *status == 202), "{statuses:?}");
    application.wait_for("all is done", |application| {
        Ok(application.metric("dormouse_backlog_messages")? == 0.0)
    })?;
    // Each is held some times while it is written, see the guide to operations: how many at a time depends on
    // the disk, and 110 to 143 MiB were seen.
    within_bound(&application, 1.25 * BOUND_MIB)?;
    application.stop()
}

#[test]
fn blocked_addresses_leave_the_memory_to_others() -> Result<()> {
    const BLOCKED: usize = 60;
    const STATE: usize = 1 << 20;
    let mut application = Application::new()?;
    // Memory for some twenty of their states.
    let settings = ["--set", "limits.retry-delay-min=1h", "--set", "limits.retry-delay-max=1h"];
    application.start("", &[&MEMORY[..], &settings].concat())?;
    for number in 0..BLOCKED {
        application.tell(&format!("b{number}"), &format!("keep {STATE}"))?;
        application.tell(&format!("b{number}"), "nonsense")?;
    }
    application.wait_for("they are blocked", |application| {
        Ok(application.metric("dormouse_blocked_addresses")? == BLOCKED as f64)
    })?;
    // Theirs; some have failed with both of their messages at once.
    let waiting = application.metric("dormouse_backlog_messages")?;
    application.tell("waker", "wake i 2000")?;
    application.wait_for("others are woken", |application| {
        Ok(application.metric("dormouse_backlog_messages")? == waiting)
    })?;
    ensure!(application.notes("i1999")? == ["woken"]);
    within_bound(&application, BOUND_MIB)?;
    application.stop()
}
