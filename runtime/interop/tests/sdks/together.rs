//! Several calls in one request, to servers of the official SDKs with a file of ours around them: by hand,
//! and by `dormouse`.

use std::collections::BTreeSet;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use dormouse_interop::application::{Application, changed};
use dormouse_interop::http;
use dormouse_interop::packages::{Language, Program};
use dormouse_interop::process::lasting_port;
use dormouse_interop::wire;
use dormouse_interop::wire::request::Value;
use dormouse_sdk::Bytes;
use dormouse_sdk::protocol::many::{self, CallAnswer};

use crate::functions::Functions;
use crate::greeter::{GREETINGS, holds, manifest};

const VISITORS: usize = 40;
const VISITS: usize = 3;

pub(crate) fn several_calls_in_one_request(language: Language) -> Result<()> {
    let mut application = Application::new(&format!("{language:?}-together").to_lowercase())?;
    let port = lasting_port()?;
    let log = application.directory().join("functions.log");
    let functions = Functions::start(language, Program::GreeterTogether, port, &log)?;
    let told = by_hand(&functions, language).and_then(|()| {
        let text = manifest(language, port)?;
        let path = format!("http://127.0.0.1:{port}/statefun\n");
        let transport =
            "  transport: {type: io.statefun.transports.v1/async, calls_per_request: 64}\n";
        application.start_with(&changed(&text, &[(&path, &format!("{path}{transport}"))])?)?;
        by_dormouse(&mut application)
    });
    told.with_context(|| format!("{}\n{}", application.log_tail(), functions.log_tail()))
}

/// One that fails, between two that do not.
fn by_hand(functions: &Functions, language: Language) -> Result<()> {
    let post = |kind: &str, body: &[u8]| {
        let headers = [("Content-Type", kind), (many::HEADER, "64")];
        http::request("POST", functions.port(), language.path(), &headers, body)
    };
    let alone = post("application/octet-stream", &wire::greet_request(Some(1)))?;
    ensure!(alone.status == 200 && alone.header(many::HEADER) == Some("256"), "{alone:?}");
    let calls = [wire::greet_request(None), b"nonsense".to_vec(), wire::greet_request(Some(1))];
    let answer = post(many::CONTENT_TYPE, &many::request(&calls.map(Bytes::from)))?;
    ensure!(answer.status == 200 && answer.header(many::HEADER) == Some("256"), "{answer:?}");
    let answers = many::read_answer(&answer.body, 3)?;
    let [CallAnswer::Answered(first), CallAnswer::Failed { text, .. }, CallAnswer::Answered(last)] =
        answers.as_slice()
    else {
        anyhow::bail!("expected an answer, a failure, an answer; got {answers:?}");
    };
    ensure!(!text.is_empty(), "a failure says something");
    ensure!(holds(first, &wire::visits_modified(1)), "{first:02x?}");
    ensure!(last[..] == alone.body[..], "together {last:02x?}, alone {:02x?}", alone.body);
    let cut = post(many::CONTENT_TYPE, b"\0\0\0\x09cut")?;
    ensure!(cut.status == 400, "{cut:?}");
    Ok(())
}

/// Many visitors at once: each visit is counted and greeted.
fn by_dormouse(application: &mut Application) -> Result<()> {
    let sender = application.sender();
    let visit = move |visitor: usize| -> Result<()> {
        let request = Value::new("example/GreetRequest", format!(r#"{{"name": "v{visitor}"}}"#));
        sender.accepted(&format!("example/person/v{visitor}"), &request)
    };
    for _ in 0..VISITS {
        let visits: Vec<_> =
            (0..VISITORS).map(|visitor| thread::spawn(move || visit(visitor))).collect();
        for visit in visits {
            visit.join().map_err(|_| anyhow::anyhow!("a visitor has panicked"))??;
        }
    }
    let expected: BTreeSet<String> = (0..VISITORS)
        .flat_map(|visitor| {
            (1..=VISITS).map(move |visit| format!("Hello v{visitor}, this is visit {visit}."))
        })
        .collect();
    let mut greeted = BTreeSet::new();
    while greeted != expected {
        let greeting = application.record(GREETINGS)?;
        ensure!(expected.contains(&greeting), "unexpected greeting '{greeting}'");
        greeted.insert(greeting);
    }
    Ok(())
}
