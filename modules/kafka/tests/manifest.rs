//! What a manifest says of Kafka's kinds, as the values that a connection is made with. What is wrong with a
//! manifest, and how it is said, is tested where all kinds are linked: with the command line.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use dormouse_kafka::binder::{EGRESS_KIND, INGRESS_KIND};
use dormouse_kafka::egress::{Delivery, EgressSpec};
use dormouse_kafka::ingress::{IngressSpec, Reset, Start};
use dormouse_sdk::manifest::{Diagnostics, Node, NodeValue};
use dormouse_sdk::module::{Component, Side};
use dormouse_testkit::spec::{at, bind, list, map, text};

fn items(line: usize, items: Vec<Node>) -> Node {
    Node { span: at(line), value: NodeValue::List(items) }
}

fn component(kind: &str, spec: Vec<(&str, Node)>) -> Component {
    Component { kind: kind.to_owned(), span: at(1), spec: map(2, spec) }
}

fn topic(line: usize, name: &str, targets: &[&str]) -> Node {
    let value_type = ("valueType", text(line, "com.example/User"));
    map(line, vec![("topic", text(line, name)), value_type, ("targets", list(line, targets))])
}

fn ingress(mut more: Vec<(&'static str, Node)>) -> (IngressSpec, Vec<String>) {
    let mut spec = vec![
        ("id", text(3, "com.example/users")),
        ("topics", items(4, vec![topic(5, "b", &["x/one", "x/two"]), topic(6, "a", &["x/one"])])),
    ];
    spec.append(&mut more);
    let mut diagnostics = Diagnostics::default();
    let read = IngressSpec::read(&component(INGRESS_KIND, spec), &mut diagnostics);
    let found = diagnostics.found.iter().map(ToString::to_string).collect();
    (read.unwrap(), found)
}

fn client() -> Vec<(&'static str, Node)> {
    vec![("address", text(7, "k1:9092,k2:9092")), ("consumerGroupId", text(8, "readers"))]
}

#[test]
fn an_ingress_has_the_defaults_of_statefun() {
    let (spec, found) = ingress(client());
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(spec.id.to_string(), "com.example/users");
    assert_eq!((spec.brokers.as_str(), spec.group.as_str()), ("k1:9092,k2:9092", "readers"));
    assert_eq!((spec.reset, spec.start), (Reset::Latest, Start::Latest));
    let routes: Vec<(&str, Vec<String>)> = spec
        .routes
        .iter()
        .map(|route| {
            let targets = route.targets.iter().map(|target| target.function.to_string());
            (route.source.as_str(), targets.collect())
        })
        .collect();
    let [one, two] = ["x/one", "x/two"].map(str::to_owned);
    assert_eq!(routes, [("b", vec![one.clone(), two]), ("a", vec![one])]);
    assert_eq!(spec.routes[0].value_type, "com.example/User");
    assert_eq!(spec.properties.iter().count(), 0);
}

/// Fields win over properties of the same meaning, also the one that is not written.
#[test]
fn named_settings_are_taken_out_of_the_properties() {
    let entry = |line, name, value| map(line, vec![(name, text(line, value))]);
    let properties = items(
        9,
        vec![
            entry(10, "bootstrap.servers", "other:1"),
            entry(11, "auto.offset.reset", "earliest"),
            entry(12, "max.poll.records", "500"),
            entry(13, "sasl.jaas.config", "hunter2"),
        ],
    );
    let mut more = client();
    more.push(("properties", properties));
    let (spec, found) = ingress(more);
    assert_eq!((spec.brokers.as_str(), spec.reset), ("k1:9092,k2:9092", Reset::Latest));
    let names: Vec<&str> = spec.properties.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["max.poll.records", "sasl.jaas.config"]);
    assert_eq!(spec.properties.get("max.poll.records"), Some("500"));
    assert!(found[0].contains("module.yaml:10:1: warning: `bootstrap.servers` has no effect"));
    assert!(found[1].contains("module.yaml:11:1: warning: `auto.offset.reset` has no effect"));
    let shown = format!("{spec:?}");
    assert!(shown.contains("sasl.jaas.config") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn startup_positions_are_read() {
    let start = |entries: Vec<(&str, Node)>| {
        let mut more = client();
        more.push(("startupPosition", map(9, entries)));
        ingress(more).0.start
    };
    let of_type = |name| ("type", text(10, name));
    assert_eq!(start(vec![of_type("group-offsets")]), Start::GroupOffsets);
    assert_eq!(start(vec![of_type("earliest")]), Start::Earliest);
    assert_eq!(start(vec![of_type("Latest")]), Start::Latest);
    let offset = |name, value| map(11, vec![(name, text(11, value))]);
    let offsets = ("offsets", items(11, vec![offset("a/0", "91"), offset("a/12", "0")]));
    let expected = BTreeMap::from([(("a".to_owned(), 0), 91), (("a".to_owned(), 12), 0)]);
    assert_eq!(start(vec![of_type("specific-offsets"), offsets]), Start::Offsets(expected));
    for date in ["2020-02-01 04:15:00.000 +0000", "2020-02-01 04:15:00.00 Z"] {
        let date = ("date", text(11, date));
        assert_eq!(start(vec![of_type("date"), date]), Start::Date(1_580_530_500_000));
    }
}

fn delivery(entries: Vec<(&str, Node)>) -> Delivery {
    let spec = vec![
        ("id", text(3, "com.example/out")),
        ("address", text(4, "kafka:9092")),
        ("deliverySemantic", map(5, entries)),
    ];
    let component = component(EGRESS_KIND, spec);
    EgressSpec::read(&component, &mut Diagnostics::default()).unwrap().delivery
}

#[test]
fn delivery_semantics_are_read() {
    let of_type = |name| ("type", text(6, name));
    assert_eq!(delivery(vec![of_type("none")]), Delivery::None);
    assert_eq!(delivery(vec![of_type("at-least-once")]), Delivery::AtLeastOnce);
    let exactly = |name, value| delivery(vec![of_type("exactly-once"), (name, text(7, value))]);
    let within = |transaction_timeout| Delivery::ExactlyOnce { transaction_timeout };
    let minutes = Duration::from_secs(15 * 60);
    assert_eq!(exactly("transactionTimeout", "15min"), within(minutes));
    assert_eq!(exactly("transactionTimeoutMillis", "15min"), within(minutes));
    let millis = Duration::from_secs(100);
    assert_eq!(exactly("transactionTimeoutMillis", "100000"), within(millis));
    assert_eq!(Delivery::default(), Delivery::AtLeastOnce);
}

/// Nothing is bound that would have to be run: the runtime is told what it cannot.
#[test]
fn both_kinds_are_bound_as_not_available() {
    dormouse_kafka::link();
    let mut spec = client();
    spec.push(("id", text(3, "com.example/users")));
    spec.push(("topics", items(4, vec![topic(5, "b", &["x/one", "x/two"])])));
    let (bindings, found) = bind(INGRESS_KIND, spec);
    assert_eq!(found, Vec::<String>::new());
    let unavailable = &bindings.unavailable[0];
    assert_eq!((unavailable.kind, unavailable.side), (INGRESS_KIND, Side::Ingress));
    assert_eq!(unavailable.id.to_string(), "com.example/users");
    assert_eq!((bindings.targets.len(), bindings.ingresses.len()), (2, 0));
    let spec = vec![("id", text(3, "com.example/out")), ("address", text(4, "kafka:9092"))];
    let (bindings, _) = bind(EGRESS_KIND, spec);
    assert_eq!(bindings.unavailable[0].side, Side::Egress);
    assert!(bindings.egresses.is_empty());
}
