//! What is fed: every parser of bytes that come from outside. Each answers or refuses; it never panics,
//! and what it has read it can write and read again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dormouse_engine::{codec, keys};
use dormouse_host::registry::{Linked, linked};
use dormouse_host::{manifest, plan, yaml};
use dormouse_http::request::{BodyType, idempotency_key, wait};
use dormouse_protocol::from_wire::Attached;
use dormouse_protocol::{Expiration, StateSpec, from_wire, many, to_wire, types};
use dormouse_sdk::manifest::date::parse_date;
use dormouse_sdk::manifest::{Diagnostics, values};
use dormouse_statefun::answer::{Chunks, parse_head};
use dormouse_statefun::tls::certificate::Version1;
use dormouse_statefun::transport::Retries;
use dormouse_statefun::url::UrlTemplate;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};

/// Longest body that is read of an answer, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// One parser.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    pub feed: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "protocol-request", feed: protocol_request },
    Target { name: "protocol-response", feed: protocol_response },
    Target { name: "manifest", feed: manifest },
    Target { name: "http-request", feed: http_request },
    Target { name: "http-answer", feed: http_answer },
    Target { name: "certificate", feed: certificate },
    Target { name: "log", feed: dormouse_store::conformance::content::read_as_log },
    Target { name: "records", feed: records },
];

static SPECS: LazyLock<Arc<[StateSpec]>> = LazyLock::new(|| {
    let spec = |name: &str, expiration| StateSpec {
        name: name.into(),
        typename: types::STRING.into(),
        expiration,
        has_entries: false,
    };
    Arc::from([spec("a", Expiration::Never), spec("b", Expiration::AfterWrite(7))])
});

/// What a served function is called with: several calls, or one.
fn protocol_request(input: &[u8]) {
    if let Ok(calls) = many::read_request(input) {
        assert_eq!(many::request(&calls), input, "what was read is written otherwise");
    }
    let Ok(request) = from_wire::request(Bytes::copy_from_slice(input)) else { return };
    if let Ok(Attached::Ready(invocation)) = request.attach(&SPECS) {
        let written = to_wire::to_function(&invocation);
        let again = from_wire::request(written).and_then(|request| request.attach(&SPECS));
        assert!(matches!(again, Ok(Attached::Ready(_))), "what was read cannot be read again");
    }
}

/// What an endpoint answers with, and values of the primitive types.
fn protocol_response(input: &[u8]) {
    for calls in 1..=3 {
        if let Ok(answers) = many::read_answer(input, calls) {
            let again = many::read_answer(&many::answer(&answers), calls);
            assert!(again.is_ok(), "what was read cannot be read again: {again:?}");
        }
    }
    if let Ok(response) = from_wire::response(Bytes::copy_from_slice(input), &SPECS) {
        let written = to_wire::from_function(&response, &SPECS);
        let again = from_wire::response(written, &SPECS);
        assert!(again.is_ok(), "what was read cannot be read again: {again:?}");
    }
    drop((types::decode_bool(input), types::decode_int(input), types::decode_long(input)));
    drop((types::decode_float(input), types::decode_double(input), types::decode_string(input)));
}

static LINKED: LazyLock<Linked> = LazyLock::new(|| {
    dormouse_http::link();
    dormouse_kafka::link();
    dormouse_kinesis::link();
    dormouse_playground::link();
    dormouse_statefun::link();
    linked().expect("the modules fit together")
});

/// A manifest, from text to a plan; and its values on their own.
fn manifest(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let file: Arc<Path> = Arc::from(Path::new("fuzz.yaml"));
    let mut diagnostics = Diagnostics::default();
    drop(yaml::parse(&file, text, &mut diagnostics));
    // In memory where there is such a place: a manifest is read from a file.
    let shared = Path::new("/dev/shm");
    let place = if shared.is_dir() { PathBuf::from(shared) } else { std::env::temp_dir() };
    let path = place.join(format!("dormouse-fuzz-{}.yaml", std::process::id()));
    std::fs::write(&path, text).expect("a manifest can be written");
    let mut diagnostics = Diagnostics::default();
    let read = manifest::read(std::slice::from_ref(&path), &mut diagnostics);
    drop(plan::resolve(&read, &LINKED, &mut diagnostics));
    std::fs::remove_file(path).expect("a manifest can be removed");
    let _ = (values::parse_duration(text), values::parse_size(text), parse_date(text));
    drop(UrlTemplate::parse(text));
}

/// A request to an ingress: head and body as a client sends them.
fn http_request(input: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = request.parse(input) else { return };
    let mut headers = HeaderMap::new();
    for field in request.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value)) {
            headers.append(name, value);
        }
    }
    let Ok(uri) = request.path.unwrap_or_default().parse::<Uri>() else { return };
    drop(dormouse_listener::path::segments(uri.path(), request.method.unwrap_or_default()));
    let longest = Duration::from_secs(60);
    assert!(!matches!(wait(&uri, &headers, longest), Ok(Some(wait)) if wait > longest));
    drop(idempotency_key(&headers));
    for value_type in [None, Some(types::STRING), Some("example/Type")] {
        if let Ok(body_type) = BodyType::of(&headers, value_type) {
            drop(body_type.value(Bytes::copy_from_slice(&input[length..])));
        }
    }
}

/// What a server answers a call with: head, chunks, judgement.
fn http_answer(input: &[u8]) {
    for retries in [Retries::Async, Retries::OkHttp] {
        let Ok(Some((head, length))) = parse_head(input) else { return };
        let (mut rest, mut body) = (BytesMut::from(&input[length..]), BytesMut::new());
        drop(Chunks::default().advance(&mut rest, &mut body, BODY_BYTES_MAX));
        assert!(body.len() <= BODY_BYTES_MAX);
        for body in [body.freeze(), Bytes::copy_from_slice(&input[length..])] {
            let Ok(Some((head, _))) = parse_head(input) else { return };
            if let Ok(body) = head.judge(body, retries, BODY_BYTES_MAX) {
                assert!(body.len() <= BODY_BYTES_MAX.max(input.len()));
            }
        }
        drop(head);
    }
}

static AUTHORITY: LazyLock<RootCertStore> = LazyLock::new(|| {
    let pem = include_bytes!("../../../modules/statefun/tests/certs/ca.pem");
    let mut store = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(pem).expect("the fixture is a certificate");
    store.add(certificate).expect("the fixture is an authority");
    store
});

/// What an endpoint says that it is, where the TLS library leaves the reading to us.
fn certificate(input: &[u8]) {
    let input = CertificateDer::from(input);
    let Some(certificate) = Version1::read(&input) else { return };
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    drop(certificate.verify(&AUTHORITY.roots, &algorithms, now));
}

/// Keys and values of rows.
fn records(input: &[u8]) {
    drop(keys::parse(input));
    dormouse_engine::read_as_records(input);
    let mut reader = codec::Reader::new(input);
    while reader.varint("number").is_ok() && reader.bytes("bytes").is_ok() {}
}
