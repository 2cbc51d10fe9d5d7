//! The admin listener and its metrics, read over a socket as Prometheus and Kubernetes do.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dormouse_host::admin::Admin;
use dormouse_host::metrics::Metrics;
use dormouse_host::metrics::render::{names, render};
use dormouse_protocol::FunctionType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
}

async fn post(address: SocketAddr, path: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    let fields = format!("content-type: {content_type}\r\ncontent-length: {length}\r\n\r\n");
    ask(address, &format!("{head}{fields}{body}")).await
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn some_metrics() -> Metrics {
    let metrics = Metrics::new(2);
    let (one, two) = (metrics.shard(0), metrics.shard(1));
    one.work.messages.add(7);
    two.work.messages.add(1);
    one.work.invocation_nanos.record(1_500);
    two.work.invocation_nanos.record(3_000_000_000);
    one.effects.delayed.add(3);
    one.commits.size.record(100);
    one.commits.durable_lag_nanos.set(2_000_000);
    two.load.awake_instances.set(5);
    let function_type = FunctionType::new("odd\"name", "f");
    one.function(function_type).messages.add(2);
    two.function(function_type).messages.add(3);
    metrics
}

#[test]
fn the_page_shows_what_was_counted() {
    let page = render(&some_metrics(), None);
    for line in [
        "dormouse_messages_processed_total{shard=\"0\"} 7",
        "dormouse_messages_processed_total{shard=\"1\"} 1",
        "dormouse_invocation_seconds_bucket{le=\"0.000001024\"} 0",
        "dormouse_invocation_seconds_bucket{le=\"0.000002048\"} 1",
        "dormouse_invocation_seconds_bucket{le=\"4.294967296\"} 2",
        "dormouse_invocation_seconds_bucket{le=\"+Inf\"} 2",
        "dormouse_invocation_seconds_sum 3.0000015",
        "dormouse_invocation_seconds_count 2",
        "dormouse_effects_total{shard=\"0\",kind=\"delayed\"} 3",
        "dormouse_commit_size_bytes_bucket{le=\"64\"} 0",
        "dormouse_commit_size_bytes_bucket{le=\"128\"} 1",
        "dormouse_store_durable_lag_seconds{shard=\"0\"} 0.002",
        "dormouse_awake_instances{shard=\"1\"} 5",
        "dormouse_function_messages_total{function=\"odd\\\"name/f\"} 5",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
    }
}

/// The names are part of the product: this list changes only on purpose.
#[test]
fn every_metric_is_there_once_under_its_name() {
    let page = render(&Metrics::new(1), dormouse_host::metrics::process::usage());
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let found: Vec<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    let distinct: BTreeSet<&str> = found.iter().copied().collect();
    assert_eq!(found.len(), distinct.len());
    let expected = [
        names::AWAKE_INSTANCES,
        names::BACKLOG_BYTES,
        names::BACKLOG_MESSAGES,
        names::BLOCKED_ADDRESSES,
        names::COMMITS,
        names::COMMIT_BYTES,
        names::COMMIT_OPERATIONS,
        names::COMMIT_SIZE_BYTES,
        names::CPU_SECONDS,
        names::DAMAGED_FILES,
        names::DEAD_LETTERS,
        names::DEAD_LETTERS_REFUSED,
        names::DURABLE_LAG_SECONDS,
        names::EFFECTS,
        names::EGRESS_UNCONFIRMED,
        names::FUNCTION_DEAD_LETTERS,
        names::FUNCTION_DROPPED,
        names::FUNCTION_FAILURES,
        names::FUNCTION_INVOCATIONS,
        names::FUNCTION_MESSAGES,
        names::INFO,
        names::INGRESS_ACCEPTED,
        names::INGRESS_REJECTED,
        names::INVOCATIONS,
        names::INVOCATION_FAILURES,
        names::INVOCATION_SECONDS,
        names::IN_FLIGHT,
        names::MESSAGES,
        names::PEAK_RESIDENT_BYTES,
        names::REPLIES_DROPPED,
        names::REQUEST_DURABLE_SECONDS,
        names::DAMAGED_FILES,
        names::DEAD_LETTERS,
        names::DEAD_LETTERS_REFUSED,
        names::FUNCTION_DEAD_LETTERS,
        names::FUNCTION_DROPPED,
        names::SCRUBBED_BYTES,
        names::SCRUB_PASSES,
        names::STALLED_SECONDS,
        names::RESIDENT_BYTES,
        names::SCRUBBED_BYTES,
        names::SCRUB_PASSES,
        names::UNSERVED,
    ];
    assert_eq!(distinct, BTreeSet::from(expected));
}

#[tokio::test]
async fn probes_and_metrics_answer() {
    let admin = Admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = admin.address;
    let ready = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&ready);
    let readiness = Arc::new(move || asked.load(Ordering::Relaxed));
    let serving = tokio::spawn(admin.serve(Arc::new(some_metrics()), readiness, Arc::default()));
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 OK"));
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
    ready.store(true, Ordering::Relaxed);
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200 OK"));
    let page = get(address, "/metrics").await;
    assert!(page.contains("content-type: text/plain; version=0.0.4"));
    assert!(page.contains("dormouse_messages_processed_total{shard=\"0\"} 7"));
    assert!(page.contains("process_resident_memory_bytes "));
    assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
    serving.abort();
}

#[tokio::test]
async fn a_taken_port_says_what_to_do() {
    let first = Admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let message = Admin::bind(first.address).await.unwrap_err().to_string();
    let expected = format!(
        "admin listener: cannot listen on {}: Address already in use (os error 98); choose another \
         address with --admin, or `--admin off`",
        first.address
    );
    assert_eq!(message, expected);
}

#[tokio::test]
async fn requests_about_dead_letters_that_make_no_sense_are_refused() {
    let admin = Admin::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = admin.address;
    let ready = Arc::new(|| true);
    let serving = tokio::spawn(admin.serve(Arc::new(some_metrics()), ready, Arc::default()));
    for path in ["/dead-letters/list", "/dead-letters/replay", "/dead-letters/discard"] {
        let answer = post(address, path, "text/plain", "{}").await;
        assert!(answer.starts_with("HTTP/1.1 415"), "a page of any site may send this: {answer}");
        let answer = post(address, path, "application/json", "{\"typ\": \"a/b\"}").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("unknown field `typ`, expected one of `type`"), "{answer}");
        let answer = post(address, path, "application/json", "{}").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("not ready\n"), "{answer}");
        assert!(get(address, path).await.starts_with("HTTP/1.1 405"));
    }
    serving.abort();
}
