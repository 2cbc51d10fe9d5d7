//! What counts as an answer: a status of 200 to 299, exactly the content type, and a `FromFunction`.
//! Everything else is a failed attempt, and what it would have done is not done.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use dormouse_interop::endpoint::{Reply, Request};
use dormouse_interop::wire::answer::Effects;

use crate::stage::{RECORDS, Stage};

const OCTETS: &str = "content-type: application/octet-stream\r\n";

fn good() -> Vec<u8> {
    Effects::new().record(RECORDS, "done").encoded()
}

/// The first answer is `bad`, all later ones are good: the call is tried again, and done once.
fn is_tried_again(name: &str, bad: Reply) -> Result<()> {
    let calls = AtomicUsize::new(0);
    let handler = move |_: &Request| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => bad.clone(),
        _ => Reply::Good(good()),
    };
    Stage::play(&format!("answers-{name}"), "", handler, |stage| {
        stage.tell("s/f/a", "one")?;
        ensure!(stage.application.record(RECORDS)? == "done");
        let requests = stage.endpoint.requests();
        ensure!(requests.len() == 2, "{} requests", requests.len());
        ensure!(requests[0].body == requests[1].body, "the same request again");
        let next = stage.application.egress_answer("/t")?;
        ensure!(next.status == 404, "done twice: {next:?}");
        Ok(())
    })
}

/// What the Java handler of StateFun's documentation sends when a function throws.
#[test]
fn status_200_with_a_header_named_status_and_no_body_is_a_failure() -> Result<()> {
    is_tried_again("java", Reply::Raw("200 OK", "Status: 500\r\n", Vec::new()))
}

#[test]
fn status_200_without_a_content_type_is_a_failure() -> Result<()> {
    is_tried_again("untyped", Reply::Raw("200 OK", "", good()))
}

#[test]
fn a_content_type_with_parameters_is_a_failure() -> Result<()> {
    let header = "content-type: application/octet-stream; charset=utf-8\r\n";
    is_tried_again("parameters", Reply::Raw("200 OK", header, good()))
}

#[test]
fn another_content_type_is_a_failure() -> Result<()> {
    is_tried_again("type", Reply::Raw("200 OK", "content-type: text/html\r\n", good()))
}

#[test]
fn a_body_that_is_no_from_function_is_a_failure() -> Result<()> {
    is_tried_again("garbage", Reply::Good(b"\xff\xff garbage".to_vec()))
}

#[test]
fn a_status_500_is_a_failure() -> Result<()> {
    is_tried_again("500", Reply::Raw("500 Internal Server Error", OCTETS, Vec::new()))
}

#[test]
fn a_redirect_is_a_failure() -> Result<()> {
    is_tried_again("redirect", Reply::Raw("302 Found", "location: http://127.0.0.1:1/\r\n", good()))
}

#[test]
fn a_connection_closed_without_an_answer_is_a_failure() -> Result<()> {
    is_tried_again("closed", Reply::Close)
}

#[test]
fn other_statuses_of_200_to_299_and_other_cases_of_the_content_type_are_good() -> Result<()> {
    let header = "Content-Type: Application/Octet-Stream\r\n";
    let handler = move |_: &Request| Reply::Raw("202 Accepted", header, good());
    Stage::play("answers-202", "", handler, |stage| {
        stage.tell("s/f/a", "one")?;
        ensure!(stage.application.record(RECORDS)? == "done");
        ensure!(stage.endpoint.requests().len() == 1);
        Ok(())
    })
}

/// The Go SDK answers 415 to anything else.
#[test]
fn the_request_names_its_content_type_without_parameters() -> Result<()> {
    let handler = |_: &Request| Reply::Good(good());
    Stage::play("answers-request", "", handler, |stage| {
        stage.tell("s/f/a", "one")?;
        let request = stage.endpoint.got("s/f/a", "one")?;
        let head = request.head.to_ascii_lowercase();
        ensure!(head.starts_with("post /f http/1.1\r\n"), "{head}");
        ensure!(head.contains("\r\ncontent-type: application/octet-stream\r\n"), "{head}");
        ensure!(!head.contains("transfer-encoding"), "{head}");
        Ok(())
    })
}
