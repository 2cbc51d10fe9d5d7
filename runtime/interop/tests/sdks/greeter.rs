//! The playground's greeter: visits are counted and greeted, whatever is killed meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dormouse_interop::application::{Application, Sender, changed};
use dormouse_interop::http;
use dormouse_interop::packages::{self, Language, Program};
use dormouse_interop::process::lasting_port;
use dormouse_interop::wire;
use dormouse_interop::wire::request::Value;

use crate::functions::Functions;

pub(crate) const GREETINGS: &str = "greetings";
/// Visits that are under way when the process is killed.
const VISITS_AROUND_KILL: usize = 200;
/// The kill comes when so many of them are acknowledged.
const ACKNOWLEDGED_BEFORE_KILL: usize = 60;
/// How long the egress has to stay empty to be taken for drained.
const QUIET: Duration = Duration::from_millis(500);

/// The function server alone: it answers hand-made requests as the protocol says, so that a failure of
/// the other stories is not its own.
pub(crate) fn server_speaks_the_protocol(language: Language) -> Result<()> {
    let log = packages::target().join("interop");
    fs::create_dir_all(&log).context("cannot make target/interop")?;
    let log = log.join(format!("{language:?}-server.log").to_lowercase());
    let functions = Functions::start(language, Program::Greeter, lasting_port()?, &log)?;
    let call = |body: &[u8]| -> Result<Vec<u8>> {
        let headers = [("Content-Type", "application/octet-stream")];
        let answer = http::request("POST", functions.port(), language.path(), &headers, body)?;
        ensure!(answer.status == 200, "status {}\n{}", answer.status, functions.log_tail());
        let kind = answer.header("content-type");
        ensure!(kind == Some("application/octet-stream"), "content type {kind:?}");
        Ok(answer.body)
    };

    let missing = call(&wire::bytes(wire::PERSON_WITHOUT_STATE))?;
    let expected = match language {
        Language::Python | Language::Go => wire::VISITS_MISSING,
        Language::JavaScript | Language::Java => wire::VISITS_MISSING_SHORT,
    };
    ensure!(missing == wire::bytes(expected), "asked for state with {missing:02x?}");

    for (before, after) in [(None, 1), (Some(0), 1), (Some(1), 2)] {
        let answer = call(&wire::greet_request(before))?;
        ensure!(
            holds(&answer, &wire::visits_modified(after))
                && holds(&answer, &wire::field(1, &wire::address("example", "greeter", "Bob"))),
            "from {before:?} visits it made {answer:02x?}"
        );
    }
    Ok(())
}

/// Visits are counted and greeted, and the count goes on after `kill -9` in the middle of visits, after
/// a clean stop, and after the functions were away.
pub(crate) fn counts_survive(language: Language) -> Result<()> {
    let mut application = Application::new(&format!("{language:?}-greeter").to_lowercase())?;
    let port = lasting_port()?;
    let log = application.directory().join("functions.log");
    let mut functions = Functions::start(language, Program::Greeter, port, &log)?;
    application.start_with(&manifest(language, port)?)?;
    let told = story(&mut application, &mut functions);
    told.with_context(|| format!("{}\n{}", application.log_tail(), functions.log_tail()))
}

/// The module file of the functions with nothing changed but the host name and the port.
pub(crate) fn manifest(language: Language, port: u16) -> Result<String> {
    let path = packages::checkout().join(language.source()).join("module.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    changed(&text, &[(language.host_in_module(), &format!("http://127.0.0.1:{port}"))])
}

fn story(application: &mut Application, functions: &mut Functions) -> Result<()> {
    let mut bob = Visits::default();
    for _ in 0..3 {
        bob.acknowledged(application.sender())?;
    }
    for visit in 1..=3 {
        let greeting = application.record(GREETINGS)?;
        ensure!(greeting == format!("Hello Bob, this is visit {visit}."), "got '{greeting}'");
    }
    let empty = application.egress_answer("/greetings")?;
    ensure!(empty.status == 404 && empty.header("status") == Some("404"), "empty: {empty:?}");

    kill_among_visits(application, &mut bob)?;
    bob.check(application)?;

    application.stop()?;
    application.start()?;
    bob.acknowledged(application.sender())?;
    bob.check(application)?;

    functions.kill()?;
    bob.acknowledged(application.sender())?;
    functions.start_again()?;
    bob.check(application)
}

/// A visit of Bob, as `curl` sends it.
fn visit(sender: Sender) -> Result<()> {
    let request = Value::new("example/GreetRequest", br#"{"name": "Bob"}"#);
    sender.accepted("example/person/Bob", &request)
}

/// One visitor sends without a pause; the process is killed among its visits and started again.
fn kill_among_visits(application: &mut Application, bob: &mut Visits) -> Result<()> {
    let sender = application.sender();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let (done, result) = mpsc::channel();
    let count = Arc::clone(&acknowledged);
    std::thread::spawn(move || {
        for _ in 0..VISITS_AROUND_KILL {
            if visit(sender).is_err() {
                break;
            }
            count.fetch_add(1, Ordering::SeqCst);
        }
        // The other end is gone only when the test has failed already.
        let _ = done.send(());
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    while acknowledged.load(Ordering::SeqCst) < ACKNOWLEDGED_BEFORE_KILL {
        ensure!(Instant::now() < deadline, "visits are not acknowledged");
        std::thread::yield_now();
    }
    application.kill()?;
    result.recv_timeout(Duration::from_secs(60)).context("the visitor hangs")?;
    let acknowledged = acknowledged.load(Ordering::SeqCst);
    ensure!(acknowledged < VISITS_AROUND_KILL, "the kill came too late to be among the visits");
    bob.certain += acknowledged;
    // The visit that got no answer may be counted or not.
    bob.possible += acknowledged + 1;
    application.start()?;
    bob.acknowledged(application.sender())
}

/// What is known about Bob's count.
#[derive(Debug, Default)]
struct Visits {
    certain: usize,
    possible: usize,
    greeted: BTreeSet<usize>,
}

impl Visits {
    fn acknowledged(&mut self, sender: Sender) -> Result<()> {
        visit(sender)?;
        self.certain += 1;
        self.possible += 1;
        Ok(())
    }

    /// Takes all greetings: every visit was greeted (a greeting may come twice, its taking may be lost
    /// in a kill), none was lost, and none was counted twice.
    fn check(&mut self, application: &mut Application) -> Result<()> {
        let first = self.greeted.last().copied().unwrap_or(0).max(3);
        let mut quiet_since = Instant::now();
        while self.one_is_missing() || quiet_since.elapsed() < QUIET {
            let Some(greeting) = self.next(application)? else {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            quiet_since = Instant::now();
            let visit = greeting
                .strip_prefix("Hello Bob, this is visit ")
                .and_then(|rest| rest.strip_suffix('.'))
                .and_then(|number| number.parse().ok())
                .with_context(|| format!("unexpected greeting '{greeting}'"))?;
            self.greeted.insert(visit);
        }
        let last = self.greeted.last().copied().unwrap_or(0);
        ensure!(
            (self.certain..=self.possible).contains(&last),
            "{last} visits were counted, {} to {} were made",
            self.certain,
            self.possible
        );
        let missing: Vec<usize> =
            (first + 1..=last).filter(|visit| !self.greeted.contains(visit)).collect();
        ensure!(missing.is_empty(), "no greeting came for the visits {missing:?}");
        // From here on the number is known.
        self.certain = last;
        self.possible = last;
        Ok(())
    }

    /// Waits for a greeting while one is missing; else takes one only if it is there.
    fn next(&self, application: &mut Application) -> Result<Option<String>> {
        if self.one_is_missing() {
            return application.record(GREETINGS).map(Some);
        }
        let answer = application.egress_answer("/greetings")?;
        (answer.status == 200).then(|| answer.text().map(ToOwned::to_owned)).transpose()
    }

    fn one_is_missing(&self) -> bool {
        self.greeted.last().is_none_or(|last| *last < self.certain)
    }
}

pub(crate) fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
