//! Functions written with the official StateFun SDKs: their server alone on one core, Dormouse on the
//! other. Tokens that the function passes on from id to id are the load, so that every call brings one
//! message and nothing but Dormouse asks; beside it the same request from a plain HTTP load generator.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use dormouse_interop::packages::{self, Language, Program};
use dormouse_interop::process::{lasting_port, run as run_tool};
use dormouse_interop::wire::{INT, address, field, int, typed_value};
use dormouse_sdk::ValueType as _;

use crate::functions::flood::{FLOOD, Flood, RELAY};
use crate::load::connection::Response;
use crate::load::traffic::Traffic;
use crate::load::{Load, Outcome};
use crate::process::Process;
use crate::report::Row;
use crate::rows::{Bench, own_binary, project_binary};
use crate::server::{Metrics, Server, Setup, http_ingress};

/// The functions' server has a core of its own; the runtime, and the load generator, have the other.
const SERVER_CORE: &str = "1";
const OWN_CORE: &str = "0";

/// Requests under way at once, connections of the load generator or tokens: many, and one alone.
const MANY: u64 = 64;
const ONE: u64 = 1;

/// What a hop may take longer than the function's own time, in microseconds.
const ADDED_MICROS_MAX: f64 = 1_000.0;

/// Tokens whose calls go together, and how many calls a request may carry.
const TOGETHER: u64 = 512;
const CALLS: &str = "  transport: {calls_per_request: 128}\n";

/// Ids that the function passes tokens around.
const RING: u64 = 10_000;

/// Messages of a backlog for each id.
const BACKLOG_EACH: u64 = 200;

/// Longest time that the tokens may take.
const PATIENCE: Duration = Duration::from_secs(300);

const LANGUAGES: [(&str, Language); 4] = [
    ("python", Language::Python),
    ("javascript", Language::JavaScript),
    ("go", Language::Go),
    ("java", Language::Java),
];

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    pin_this_process(OWN_CORE)?;
    let done = LANGUAGES.iter().try_for_each(|(name, language)| {
        one(bench, name, *language).with_context(|| format!("sdk/{name}"))
    });
    let last = std::thread::available_parallelism().map_or(1, usize::from).max(2) - 1;
    pin_this_process(&format!("0-{last}"))?;
    done
}

fn one(bench: &mut Bench, name: &str, language: Language) -> Result<()> {
    let backend = functions(language, Program::Actor)?;
    let at = backend.address("functions")?;
    // A virtual machine that compiles as it runs is slow at first: the first run only warms it up.
    generated(bench, &backend, &at, MANY)?;
    let outcome = generated(bench, &backend, &at, MANY)?;
    let title = format!("{name} SDK alone, {MANY} connections of a plain load generator");
    let ceiling = outcome.per_second();
    bench.add(outcome.row(&format!("sdk/{name}/alone"), &title));
    let tokens = Tokens { under_way: MANY, per_second: ceiling, transport: "" };
    let mut row = passed_on(bench, name, &backend, &tokens)?;
    row.of_limit("its server alone", ceiling);
    let one_by_one = row.per_second.unwrap_or(0.0);
    let is_met = one_by_one >= (0.85 * ceiling).min(50_000.0);
    row.aim("at least 85 % of its server alone, or 50,000/s", is_met);
    bench.add(row);

    let outcome = generated(bench, &backend, &at, ONE)?;
    let title = format!("{name} SDK alone, one connection of a plain load generator");
    let single = outcome.per_second();
    bench.add(outcome.row(&format!("sdk/{name}/alone-1"), &title));
    let tokens = Tokens { under_way: ONE, per_second: single, transport: "" };
    let mut row = passed_on(bench, name, &backend, &tokens)?;
    row.name += "-1";
    row.of_limit("its server alone", single);
    let added = 1e6 / row.per_second.unwrap_or(0.0).max(1e-3) - 1e6 / single;
    row.figure("added to a call of the function", added, "us");
    row.aim("at most 1 ms added to a call of the function", added <= ADDED_MICROS_MAX);
    bench.add(row);
    if language == Language::Java {
        let mut row = backlog(bench, name, &at)?;
        let reached = row.per_second.unwrap_or(0.0);
        row.aim("at least 300,000 messages/s", reached >= 300_000.0);
        bench.add(row);
    }
    backend.kill()?;
    match language {
        Language::Python | Language::JavaScript => together(bench, name, language, one_by_one),
        Language::Go | Language::Java => Ok(()),
    }
}

/// Calls of many addresses in one request, beside `one_by_one` a second.
fn together(bench: &mut Bench, name: &str, language: Language, one_by_one: f64) -> Result<()> {
    let backend = functions(language, Program::ActorTogether)?;
    let at = backend.address("functions")?;
    generated(bench, &backend, &at, MANY)?;
    let tokens = Tokens { under_way: TOGETHER, per_second: one_by_one, transport: CALLS };
    let mut row = passed_on(bench, name, &backend, &tokens)?;
    row.name += "/together";
    row.of_limit("one call in a request", one_by_one);
    let is_met = row.per_second.unwrap_or(0.0) >= 2.0 * one_by_one;
    row.aim("at least twice as many as with one call in a request", is_met);
    bench.add(row);
    backend.kill()
}

/// A server with the functions of this language, on its core.
fn functions(language: Language, program: Program) -> Result<Process> {
    let port = lasting_port()?;
    let plain = packages::functions(language, program)?;
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CORE]).arg(plain.get_program()).args(plain.get_args());
    let set = plain.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.envs(set);
    command.env("PORT", port.to_string());
    if let Some(directory) = plain.get_current_dir() {
        command.current_dir(directory);
    }
    Process::start_listening("functions", command, port)
}

fn pin_this_process(cores: &str) -> Result<()> {
    let id = std::process::id().to_string();
    let mut command = Command::new("taskset");
    command.args(["--all-tasks", "--cpu-list", "--pid", cores, &id]);
    run_tool(&mut command, "util-linux (apt-get install util-linux)").map(drop)
}

/// The load of a plain generator.
fn generated(bench: &Bench, backend: &Process, at: &str, under_way: u64) -> Result<Outcome> {
    let connections = under_way as usize;
    let load = Load::closed(at, connections, bench.measured);
    let call = Call { request: request(at), answer: None };
    Ok(load.run(backend, vec![call; connections])?.0)
}

/// What the runtime sends in the middle of a run.
fn request(at: &str) -> Vec<u8> {
    let target = field(1, &address("suite", "relay", "5000"));
    let count = field(2, &typed_value(INT, &int(1_000)));
    let state = field(2, &[field(1, b"count"), count].concat());
    let caller = field(1, &address("suite", "relay", "4999"));
    let argument = field(2, &typed_value(INT, &int(500)));
    let body = field(100, &[target, state, field(3, &[caller, argument].concat())].concat());
    let mut request = format!(
        "POST /statefun HTTP/1.1\r\nhost: {at}\r\ncontent-type: application/octet-stream\r\n\
         accept: application/octet-stream\r\naccept-encoding: gzip,deflate\r\n\
         connection: keep-alive\r\nuser-agent: statefun\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    request
}

/// The same request all the time. The first answer must change the state and send a message; all others
/// must be the same.
#[derive(Clone, Debug)]
struct Call {
    request: Vec<u8>,
    answer: Option<Vec<u8>>,
}

impl Traffic for Call {
    fn request(&mut self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.request);
    }

    fn check(&mut self, response: &Response<'_>) -> Result<(), String> {
        if response.status != 200 {
            return Err(format!("status {}", response.status));
        }
        if let Some(answer) = &self.answer {
            let is_same = answer == response.body;
            return if is_same { Ok(()) } else { Err("another answer".to_owned()) };
        }
        let holds = |part: &[u8]| response.body.windows(part.len()).any(|found| found == part);
        if !holds(&int(1_001)) || !holds(&int(499)) || !holds(b"5001") {
            return Err(format!("the answer {:02x?}", response.body));
        }
        self.answer = Some(response.body.to_vec());
        Ok(())
    }
}

/// Dormouse, with the functions' server as its only endpoint. `transport` is a part of its spec.
fn runtime(bench: &mut Bench, binary: PathBuf, at: &str, transport: &str) -> Result<Server> {
    let directory = bench.new_directory();
    let endpoint = format!(
        "---\nkind: io.statefun.endpoints.v2/http\nspec:\n  functions: {RELAY}\n  \
         urlPathTemplate: http://{at}/statefun\n{transport}"
    );
    Server::start(&Setup {
        binary,
        directory: &directory,
        manifest: http_ingress() + &endpoint,
        store: "embedded",
        shards: 1,
        flags: &[],
    })
}

/// Many messages for each id before the function can have taken them, so that calls bring what waits.
fn backlog(bench: &mut Bench, name: &str, at: &str) -> Result<Row> {
    let server = runtime(bench, own_binary()?, at, "")?;
    let order = Flood { ids: RING, messages: RING * BACKLOG_EACH, sent: 0 };
    let body = order.encode().map_err(anyhow::Error::from_boxed)?;
    server.send(FLOOD, "1", Flood::TYPENAME, &body)?;
    // The flood itself counts little: one message of its own for each 512.
    let begin = watch(&server, order.messages / 10)?;
    let end = watch(&server, order.messages - order.messages / 10)?;
    let metrics = server.settle()?;
    let done = processed(&metrics) - metrics.messages_of(FLOOD);
    ensure!(done == order.messages, "{} messages were sent, and {done} committed", order.messages);
    let title = format!("{name} SDK, a backlog of {BACKLOG_EACH} messages for each of {RING} ids");
    let mut row = Row::new(format!("sdk/{name}/backlog"), &title);
    told(&mut row, (begin, end), &server)?;
    server.stop()?;
    Ok(row)
}

/// Tokens that the function passes on.
struct Tokens {
    under_way: u64,
    /// So many times they are expected to be passed on, which decides how often each is.
    per_second: f64,
    transport: &'static str,
}

/// Each token is passed on so often that it takes as long as a row is measured.
fn passed_on(bench: &mut Bench, name: &str, backend: &Process, load: &Tokens) -> Result<Row> {
    let binary = project_binary("dormouse", "dormouse")?;
    let server = runtime(bench, binary, &backend.address("functions")?, load.transport)?;
    let cpu_before = backend.usage()?.cpu_seconds;
    let tokens = load.under_way;
    let hops = ((load.per_second * bench.measured.as_secs_f64()) as u64 / tokens).max(20);
    let left = int(i32::try_from(hops - 1).context("too many hops")?);
    for token in 0..tokens {
        server.send(RELAY, &(token * (RING / tokens)).to_string(), INT, &left)?;
    }
    let all = tokens * hops;
    let begin = watch(&server, all / 10)?;
    let end = watch(&server, all - all / 10)?;
    let done = processed(&server.settle()?);
    ensure!(done == all, "{tokens} tokens were passed on {all} times, and {done} were committed");
    let title = format!("{name} SDK, tokens under way from id to id: {tokens}");
    let mut row = Row::new(format!("sdk/{name}"), &title);
    told(&mut row, (begin, end), &server)?;
    let cpu_micros = (backend.usage()?.cpu_seconds - cpu_before) * 1e6 / all as f64;
    row.figure("processor time of the functions' server", cpu_micros, "us");
    server.stop()?;
    Ok(row)
}

/// What the server did between two moments.
fn told(row: &mut Row, (begin, end): (Moment, Moment), server: &Server) -> Result<()> {
    let messages = (end.messages - begin.messages) as f64;
    row.per_second = Some(messages / (end.at - begin.at).as_secs_f64());
    row.peak_bytes = Some(server.process.peak_bytes()?);
    row.cpu_micros = Some((end.cpu_seconds - begin.cpu_seconds) * 1e6 / messages);
    let metrics = server.metrics()?;
    let calls = metrics.sum("dormouse_function_invocations_total");
    row.figure("messages per call", metrics.messages_of(RELAY) as f64 / calls, "");
    Ok(())
}

/// A moment of the run.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    messages: u64,
    cpu_seconds: f64,
}

/// The moment at which so many messages are done.
fn watch(server: &Server, messages: u64) -> Result<Moment> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let done = processed(&server.metrics()?);
        let at = Instant::now();
        if done >= messages {
            let cpu_seconds = server.process.usage()?.cpu_seconds;
            return Ok(Moment { at, messages: done, cpu_seconds });
        }
        ensure!(at < deadline, "{done} of {messages} messages within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Calls count a message again when it is given to a function twice, as the first ones are, which ask
/// for its states; commits count it once.
fn processed(metrics: &Metrics) -> u64 {
    metrics.sum("dormouse_messages_processed_total") as u64
}
