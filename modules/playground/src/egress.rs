//! `GET /<topic>`: fetches the topic's oldest record. The record is confirmed when the answer has been
//! written; when the client goes away before, it takes its old place again.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};

use dormouse_listener::Listener;
use dormouse_listener::answer::{Answer, line};
use dormouse_protocol::TypedValue;
use dormouse_sdk::egress::{Egress, EgressEntry, Receipt};
use dormouse_sdk::ingress::{Lane, LocalFuture, OpenError};
use dormouse_sdk::manifest;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use serde::Deserialize;

use crate::STATUS;

/// The only type of record.
pub const RECORD_TYPE: &str = "io.statefun.playground/EgressRecord";
/// Longest name of a topic: it names a queue of the runtime.
pub const TOPIC_BYTES_MAX: usize = 100;

/// The playground's egress.
#[derive(Debug)]
pub struct PlaygroundEgress {
    listener: Arc<Listener>,
    topics: Arc<HashMap<String, Topic>>,
}

/// Records that the runtime has handed over and nobody has fetched. The runtime bounds how many.
#[derive(Debug, Default)]
struct Topic(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    records: BTreeMap<u64, Record>,
}

#[derive(Debug)]
struct Record {
    payload: String,
    receipt: Receipt,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EgressRecord {
    topic: String,
    payload: String,
}

impl PlaygroundEgress {
    #[must_use]
    pub fn new(port: u16, topics: Vec<String>) -> Self {
        let topics = topics.into_iter().map(|topic| (topic, Topic::default()));
        Self {
            listener: Listener::new(format!("0.0.0.0:{port}")),
            topics: Arc::new(topics.collect()),
        }
    }
}

impl Egress for PlaygroundEgress {
    fn open(&self) -> Result<Option<String>, OpenError> {
        self.listener.open().map(|address| Some(format!("http://{address}")))
    }

    fn check(&self, value: &TypedValue) -> Result<String, String> {
        let record = parse(value)?;
        if self.topics.contains_key(&record.topic) {
            return Ok(record.topic);
        }
        Err(format!(
            "unknown topic `{}`; known are {}",
            record.topic.escape_debug(),
            known(&self.topics)
        ))
    }

    fn has_queue(&self, name: &str) -> bool {
        self.topics.contains_key(name)
    }

    fn deliver(&self, entries: Vec<EgressEntry>) {
        for entry in entries {
            let topic = self.topics.get(&entry.queue);
            // Checked when it was sent. A topic that the manifest has lost since (allowed as an orphan)
            // keeps its records with the runtime, unconfirmed.
            if let (Some(topic), Ok(record)) = (topic, parse(&entry.value)) {
                topic.push(Record { payload: record.payload, receipt: entry.receipt });
            }
        }
    }

    fn serve(self: Arc<Self>, lane: Lane) -> LocalFuture<()> {
        let listener = Arc::clone(&self.listener);
        let topics = Rc::new(Arc::clone(&self.topics));
        Box::pin(listener.serve(lane, move |request| {
            let response = answer(&topics, request.method(), request.uri().path());
            std::future::ready(response)
        }))
    }
}

fn parse(value: &TypedValue) -> Result<EgressRecord, String> {
    if value.typename != RECORD_TYPE {
        let found = value.typename.escape_debug();
        return Err(format!("expected a record of type `{RECORD_TYPE}`, got `{found}`"));
    }
    serde_json::from_slice(&value.value).map_err(|error| {
        format!("expected a JSON object with exactly `topic` and `payload`, both strings: {error}")
    })
}

fn known(topics: &HashMap<String, Topic>) -> String {
    let mut names: Vec<&str> = topics.keys().map(String::as_str).collect();
    names.sort_unstable();
    manifest::list(&names)
}

fn answer(topics: &Arc<HashMap<String, Topic>>, method: &Method, path: &str) -> Response<Answer> {
    if method != Method::GET {
        let mut refusal = line(StatusCode::METHOD_NOT_ALLOWED, "expected GET /<topic>");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return with_status(refusal);
    }
    let name = dormouse_listener::path::decode(path.trim_start_matches('/').trim_end_matches('/'));
    let Some(name) = name.ok().filter(|name| topics.contains_key(&**name)) else {
        let text = format!("unknown topic; known are {}", known(topics));
        return with_status(line(StatusCode::METHOD_NOT_ALLOWED, text));
    };
    let Some(fetched) = Fetched::oldest(topics, &name) else {
        let mut empty = Response::new(Answer::new(""));
        *empty.status_mut() = StatusCode::NOT_FOUND;
        return with_status(empty);
    };
    let payload = fetched.payload();
    let written = Box::new(move || fetched.confirm());
    let mut response = Response::new(Answer::with_on_written(payload, written));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    with_status(response)
}

fn with_status(mut response: Response<Answer>) -> Response<Answer> {
    let status = HeaderValue::from(response.status().as_u16());
    response.headers_mut().insert(STATUS, status);
    response
}

impl Topic {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    fn push(&self, record: Record) {
        let mut queue = self.lock();
        let number = queue.next;
        queue.next += 1;
        queue.records.insert(number, record);
    }
}

/// A record on its way to a client.
struct Fetched {
    topics: Arc<HashMap<String, Topic>>,
    topic: String,
    number: u64,
    record: Option<Record>,
}

impl Fetched {
    fn oldest(topics: &Arc<HashMap<String, Topic>>, topic: &str) -> Option<Self> {
        let (number, record) = topics.get(topic)?.lock().records.pop_first()?;
        Some(Self {
            topics: Arc::clone(topics),
            topic: topic.to_owned(),
            number,
            record: Some(record),
        })
    }

    fn payload(&self) -> String {
        self.record.as_ref().map(|record| record.payload.clone()).unwrap_or_default()
    }

    fn confirm(mut self) {
        if let Some(record) = self.record.take() {
            record.receipt.confirm();
        }
    }
}

impl Drop for Fetched {
    /// Not confirmed: back to its place.
    fn drop(&mut self) {
        if let (Some(record), Some(topic)) = (self.record.take(), self.topics.get(&self.topic)) {
            topic.lock().records.insert(self.number, record);
        }
    }
}
