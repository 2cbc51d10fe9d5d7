//! What a manifest says of Kinesis' kinds, as the values that a connection is made with. What is wrong with
//! a manifest, and how it is said, is tested where all kinds are linked: with the command line.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use dormouse_kinesis::aws::{Credentials, Region};
use dormouse_kinesis::binder::{EGRESS_KIND, INGRESS_KIND};
use dormouse_kinesis::egress::EgressSpec;
use dormouse_kinesis::ingress::{IngressSpec, Start};
use dormouse_sdk::manifest::{Diagnostics, Node, NodeValue};
use dormouse_sdk::module::{Component, Side};
use dormouse_testkit::spec::{at, bind, list, map, text};

fn component(kind: &str, spec: Vec<(&str, Node)>) -> Component {
    Component { kind: kind.to_owned(), span: at(1), spec: map(2, spec) }
}

fn with_streams(mut more: Vec<(&'static str, Node)>) -> Vec<(&'static str, Node)> {
    let stream = vec![
        ("stream", text(4, "user-stream")),
        ("valueType", text(4, "com.example/User")),
        ("targets", list(4, &["com.example.fn/greeter"])),
    ];
    let streams = Node { span: at(4), value: NodeValue::List(vec![map(4, stream)]) };
    let mut spec = vec![("id", text(3, "com.example/users")), ("streams", streams)];
    spec.append(&mut more);
    spec
}

fn ingress(more: Vec<(&'static str, Node)>) -> IngressSpec {
    let component = component(INGRESS_KIND, with_streams(more));
    IngressSpec::read(&component, &mut Diagnostics::default()).unwrap()
}

fn egress(more: Vec<(&'static str, Node)>) -> EgressSpec {
    let mut spec = vec![("id", text(3, "com.example/out"))];
    spec.extend(more);
    EgressSpec::read(&component(EGRESS_KIND, spec), &mut Diagnostics::default()).unwrap()
}

#[test]
fn the_defaults_are_those_of_statefun() {
    let spec = ingress(vec![]);
    assert_eq!(spec.id.to_string(), "com.example/users");
    assert_eq!((spec.region, spec.credentials), (Region::Default, Credentials::Default));
    assert_eq!(spec.start, Start::Latest);
    assert_eq!(spec.routes[0].source, "user-stream");
    assert_eq!(spec.routes[0].targets[0].function.to_string(), "com.example.fn/greeter");
    let spec = egress(vec![]);
    assert_eq!((spec.region, spec.credentials), (Region::Default, Credentials::Default));
    assert_eq!(spec.outstanding_records_max, 1_000);
}

#[test]
fn startup_positions_are_read() {
    let start = |entries: Vec<(&'static str, Node)>| {
        ingress(vec![("startupPosition", map(5, entries))]).start
    };
    let of_type = |name| ("type", text(6, name));
    assert_eq!(start(vec![of_type("earliest")]), Start::Earliest);
    assert_eq!(start(vec![of_type("latest")]), Start::Latest);
    let date = ("date", text(7, "2020-02-01 04:15:00.000 +0000"));
    assert_eq!(start(vec![of_type("date"), date]), Start::Date(1_580_530_500_000));
}

#[test]
fn regions_are_read() {
    let region =
        |entries: Vec<(&'static str, Node)>| egress(vec![("awsRegion", map(5, entries))]).region;
    assert_eq!(region(vec![("type", text(6, "default"))]), Region::Default);
    let id = || ("id", text(7, "us-west-2"));
    let specific = Region::Specific("us-west-2".to_owned());
    assert_eq!(region(vec![("type", text(6, "specific")), id()]), specific);
    let endpoint = ("endpoint", text(8, "https://localhost:4567"));
    assert_eq!(
        region(vec![("type", text(6, "custom-endpoint")), id(), endpoint]),
        Region::CustomEndpoint {
            endpoint: "https://localhost:4567".to_owned(),
            id: "us-west-2".to_owned()
        }
    );
}

#[test]
fn credentials_are_read_and_their_secret_is_not_shown() {
    let read = |entries: Vec<(&'static str, Node)>| {
        egress(vec![("awsCredentials", map(5, entries))]).credentials
    };
    assert_eq!(read(vec![("type", text(6, "default"))]), Credentials::Default);
    let key = vec![
        ("type", text(6, "basic")),
        ("accessKeyId", text(7, "AKIA")),
        ("secretAccessKey", text(8, "hunter2")),
    ];
    let basic = read(key);
    assert_eq!(
        basic,
        Credentials::Basic {
            access_key_id: "AKIA".to_owned(),
            secret_access_key: "hunter2".to_owned()
        }
    );
    assert_eq!(format!("{basic:?}"), "Basic");
    let profile = vec![("type", text(6, "profile")), ("profileName", text(7, "john"))];
    assert_eq!(read(profile), Credentials::Profile { name: "john".to_owned(), path: None });
}

/// StateFun's documentation shows regions as credentials, and profiles as keys.
#[test]
fn what_the_documentation_shows_is_taken_for_what_it_means() {
    let region = vec![("type", text(6, "specific")), ("id", text(7, "us-west-1"))];
    let spec = egress(vec![("awsCredentials", map(5, region))]);
    assert_eq!(spec.region, Region::Specific("us-west-1".to_owned()));
    assert_eq!(spec.credentials, Credentials::Default);
    let profile = vec![
        ("type", text(6, "basic")),
        ("profileName", text(7, "john")),
        ("profilePath", text(8, "/etc/aws")),
    ];
    let spec = egress(vec![("awsCredentials", map(5, profile))]);
    let path = Some("/etc/aws".to_owned());
    assert_eq!(spec.credentials, Credentials::Profile { name: "john".to_owned(), path });
}

#[test]
fn settings_of_the_client_are_passed_on_as_text() {
    let entry = |name, value| map(6, vec![(name, text(6, value))]);
    let entries = vec![entry("SocketTimeout", "9999"), entry("ThreadingModel", "POOLED")];
    let list = Node { span: at(5), value: NodeValue::List(entries) };
    let spec =
        egress(vec![("clientConfigProperties", list), ("maxOutstandingRecords", text(7, "9999"))]);
    assert_eq!(spec.properties.get("SocketTimeout"), Some("9999"));
    assert_eq!(spec.properties.get("ThreadingModel"), Some("POOLED"));
    assert_eq!(spec.outstanding_records_max, 9_999);
}

/// Nothing is bound that would have to be run: the runtime is told what it cannot.
#[test]
fn both_kinds_are_bound_as_not_available() {
    dormouse_kinesis::link();
    let (bindings, found) = bind(INGRESS_KIND, with_streams(vec![]));
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(bindings.unavailable[0].side, Side::Ingress);
    assert_eq!((bindings.targets.len(), bindings.ingresses.len()), (1, 0));
    let (bindings, _) = bind(EGRESS_KIND, vec![("id", text(3, "com.example/out"))]);
    assert_eq!(bindings.unavailable[0].side, Side::Egress);
    assert!(bindings.egresses.is_empty());
}
