//! What the binder makes of a spec.

use dormouse_testkit::spec::{bind, text};

const KIND: &str = "dormouse.http.v1/ingress";

#[test]
fn the_smallest_ingress_binds_with_the_defaults() {
    let (bindings, found) = bind(KIND, vec![("listen", text(3, "127.0.0.1:8080"))]);
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(bindings.ingresses[0].id.to_string(), "dormouse.http/ingress");
    let ingress = format!("{:?}", bindings.ingresses[0].ingress);
    for setting in
        ["127.0.0.1:8080", "value_type: None", "body_bytes_max: 33554432", "wait_max: 60s"]
    {
        assert!(ingress.contains(setting), "{setting} in {ingress}");
    }
}

#[test]
fn every_field_is_read() {
    let (bindings, found) = bind(
        KIND,
        vec![
            ("listen", text(3, "0.0.0.0:80")),
            ("id", text(4, "example/front")),
            ("valueType", text(5, "example/Json")),
            ("maxBody", text(6, "1MiB")),
            ("maxWait", text(7, "5s")),
        ],
    );
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(bindings.ingresses[0].id.to_string(), "example/front");
    let ingress = format!("{:?}", bindings.ingresses[0].ingress);
    for setting in ["example/Json", "body_bytes_max: 1048576", "wait_max: 5s"] {
        assert!(ingress.contains(setting), "{setting} in {ingress}");
    }
}

#[test]
fn everything_wrong_is_reported_at_once_and_nothing_bound() {
    let (bindings, found) = bind(
        KIND,
        vec![
            ("listen", text(3, "8080")),
            ("valueType", text(4, "Json")),
            ("maxBody", text(5, "1GB")),
            ("maxWait", text(6, "0")),
            ("maxwait", text(7, "5s")),
        ],
    );
    assert!(bindings.ingresses.is_empty());
    let expected = [
        "module.yaml:3:1: error: `listen`: expected `host:port`, such as `127.0.0.1:8080` or \
         `0.0.0.0:8080`, found `8080`",
        "module.yaml:4:1: error: `valueType`: expected `<namespace>/<name>`, found `Json`",
        "module.yaml:5:1: error: `maxBody`: expected a size from 1 byte to `32MiB`, found `1GB`",
        "module.yaml:6:1: error: `maxWait`: expected a duration from `1ms` to `1h`, found `0`",
        "module.yaml:7:1: error: unknown field `maxwait`; did you mean `maxWait`?",
    ];
    assert_eq!(found, expected);
    let (_, found) = bind(KIND, vec![]);
    assert_eq!(
        found,
        [
            "module.yaml:2:1: error: missing field `listen`: expected an address such as `127.0.0.1:8080`"
        ]
    );
}
