//! What the binders of the two endpoint kinds make of a component's spec.

use dormouse_protocol::{FailurePolicy, Then, TypeName};
use dormouse_sdk::manifest::Node;
use dormouse_sdk::module::{Bindings, FunctionTarget};
use dormouse_testkit::spec::{bind, map, text};

const V1: &str = "io.statefun.endpoints.v1/http";
const HTTPS: &str = "https://functions/statefun";
const V2: &str = "io.statefun.endpoints.v2/http";

fn endpoint(functions: &str, url: &str) -> Vec<(&'static str, Node)> {
    vec![("functions", text(3, functions)), ("urlPathTemplate", text(4, url))]
}

fn with_transport(entries: Vec<(&str, Node)>) -> Vec<(&'static str, Node)> {
    with_transport_to("http://functions:8000/statefun", entries)
}

fn with_transport_to(url: &str, entries: Vec<(&str, Node)>) -> Vec<(&'static str, Node)> {
    let mut spec = endpoint("example/*", url);
    spec.push(("transport", map(5, entries)));
    spec
}

/// The provider's settings, as far as its debug form shows them.
fn provider(bindings: &Bindings) -> String {
    format!("{:?}", bindings.functions[0].provider)
}

#[test]
fn the_smallest_endpoint_binds_with_the_async_defaults() {
    dormouse_statefun::link();
    let (bindings, found) = bind(V2, endpoint("example/*", "http://functions:8000/statefun"));
    assert_eq!(found, Vec::<String>::new());
    let [function] = &bindings.functions[..] else {
        panic!("expected one binding");
    };
    assert_eq!(function.target, FunctionTarget::Namespace("example".to_owned()));
    assert_eq!(function.served_at, "http://functions:8000/statefun");
    let provider = provider(&bindings);
    for setting in [
        "retries: Async",
        "call: 120s",
        "connect: 20s",
        "pool_ttl: 15s",
        "pool_size: 1024",
        "payload_bytes_max: 33554432",
    ] {
        assert!(provider.contains(setting), "{setting} in {provider}");
    }
}

#[test]
fn an_exact_function_binds_exactly() {
    let (bindings, found) = bind(V2, endpoint("a.b/c", "http://{function.name}/"));
    assert!(found.is_empty());
    let exact = TypeName { namespace: "a.b".to_owned(), name: "c".to_owned() };
    assert_eq!(bindings.functions[0].target, FunctionTarget::Exact(exact));
}

#[test]
fn settings_of_the_async_transport_are_read() {
    let (bindings, found) = bind(
        V2,
        with_transport(vec![
            ("type", text(6, "io.statefun.transports.v1/async")),
            ("call", text(7, "1day")),
            ("connect", text(8, "250")),
            ("pool_ttl", text(9, "0")),
            ("pool_size", text(10, "7")),
            ("payload_max_bytes", text(11, "1048576")),
        ]),
    );
    assert!(found.is_empty(), "{found:?}");
    let provider = provider(&bindings);
    for setting in [
        "call: 86400s",
        "connect: 250ms",
        "pool_ttl: 0ns",
        "pool_size: 7",
        "payload_bytes_max: 1048576",
    ] {
        assert!(provider.contains(setting), "{setting} in {provider}");
    }
}

#[test]
fn timeouts_switch_the_defaults_of_the_async_transport() {
    let timeouts = map(7, vec![("connect", text(8, "3s")), ("read", text(9, "1h"))]);
    let (bindings, found) =
        bind(V2, with_transport(vec![("call", text(6, "5 min")), ("timeouts", timeouts)]));
    let provider = provider(&bindings);
    assert!(provider.contains("call: 60s") && provider.contains("connect: 3s"), "{provider}");
    assert_eq!(
        found,
        [
            "module.yaml:6:1: warning: `call` has no effect beside `timeouts`; use `timeouts.call`",
            "module.yaml:9:1: warning: `timeouts.read` has an effect with the okhttp transport only",
        ]
    );
}

#[test]
fn the_okhttp_transport_has_its_own_defaults() {
    let okhttp = || ("type", text(6, " io.statefun.transports.v1/okhttp/ "));
    let (bindings, found) = bind(V2, with_transport(vec![okhttp()]));
    assert!(found.is_empty());
    assert!(
        provider(&bindings).contains("retries: OkHttp, call: 60s, connect: 10s, read: Some(10s)")
    );
    let timeouts = map(7, vec![("read", text(8, "2m"))]);
    let (_, found) = bind(V2, with_transport(vec![okhttp(), ("timeouts", timeouts)]));
    assert_eq!(
        found,
        [
            "module.yaml:8:1: error: `timeouts.read` (120s) must not be longer than `timeouts.call` (60s)"
        ]
    );
}

#[test]
fn the_longest_answer_can_be_set_wherever_an_error_names_the_setting() {
    let size = || ("payload_max_bytes", text(7, "64m"));
    let okhttp = ("type", text(6, "io.statefun.transports.v1/okhttp"));
    let v2 = with_transport(vec![okhttp, size()]);
    let mut v1 = endpoint("example/*", "http://functions:8000/statefun");
    v1.push(size());
    for (kind, spec) in [(V2, v2), (V1, v1)] {
        let (bindings, found) = bind(kind, spec);
        assert!(found.is_empty(), "{found:?}");
        let provider = provider(&bindings);
        assert!(provider.contains("retries: OkHttp"), "{provider}");
        assert!(provider.contains("payload_bytes_max: 67108864"), "{provider}");
    }
}

#[test]
fn v1_has_timeouts_in_the_spec_and_ignores_a_transport() {
    let mut spec = endpoint("example/*", "http://functions:8000/statefun");
    spec.push(("timeouts", map(5, vec![("call", text(6, "2 min"))])));
    spec.push(("transport", map(7, vec![])));
    let (bindings, found) = bind(V1, spec);
    assert!(provider(&bindings).contains("retries: OkHttp, call: 120s"));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with(
            "module.yaml:7:1: warning: unknown field `transport`; kind `io.statefun.endpoints.v2/http`"
        ),
        "{found:?}"
    );
}

/// StateFun takes the host and drops the rest.
#[test]
fn a_user_name_and_password_in_a_url_are_dropped_with_a_warning() {
    for url in ["http://me:secret@functions:8000/a@b", "http://me@functions:8000/a@b"] {
        let (bindings, found) = bind(V2, endpoint("example/*", url));
        assert_eq!(bindings.functions[0].served_at, "http://functions:8000/a@b");
        assert!(!provider(&bindings).contains("secret"));
        assert_eq!(
            found,
            [
                "module.yaml:4:1: warning: `urlPathTemplate`: what stands before `@` has no effect: user \
                 names and passwords are not sent to functions"
            ]
        );
    }
    let (_, found) = bind(V2, endpoint("example/*", "http://functions/a@b"));
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn fields_of_the_async_transport_say_where_okhttp_has_them() {
    let okhttp = ("type", text(6, "io.statefun.transports.v1/okhttp"));
    let spec = vec![okhttp, ("call", text(7, "5s")), ("pool_size", text(8, "3"))];
    let (bindings, found) = bind(V2, with_transport(spec));
    assert!(provider(&bindings).contains("retries: OkHttp, call: 60s"));
    assert_eq!(
        found,
        [
            "module.yaml:7:1: warning: unknown field `call`; with okhttp it belongs into `timeouts` (it \
             has no effect)",
            "module.yaml:8:1: warning: unknown field `pool_size`; the async transport has it, okhttp has \
             not (it has no effect)",
        ]
    );
    let (_, found) = bind(V2, with_transport(vec![("colour", text(6, "blue"))]));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].matches("`client_key`").count(), 1, "{found:?}");
}

#[test]
fn a_misspelt_field_is_a_warning() {
    let mut spec = endpoint("example/*", "http://functions:8000/statefun");
    spec.push(("transports", map(5, vec![])));
    let (bindings, found) = bind(V2, spec);
    assert_eq!(bindings.functions.len(), 1);
    assert_eq!(
        found,
        [
            "module.yaml:5:1: warning: unknown field `transports`; did you mean `transport`? (it has no effect)"
        ]
    );
}

#[test]
fn fields_that_stand_in_the_wrong_place_are_warnings_that_say_where_they_belong() {
    let misplaced = ("maxNumBatchRequests", text(6, "10"));
    let mut spec = with_transport(vec![misplaced]);
    spec.push(("timeouts", map(7, vec![])));
    let (bindings, found) = bind(V2, spec);
    assert_eq!(bindings.functions.len(), 1);
    assert_eq!(
        found,
        [
            "module.yaml:6:1: warning: unknown field `maxNumBatchRequests`; it belongs directly into \
             `spec` (it has no effect)",
            "module.yaml:7:1: warning: unknown field `timeouts`; it belongs into `transport` (it has no \
             effect)",
        ]
    );
}

#[test]
fn everything_wrong_is_reported_at_once_and_nothing_bound() {
    let mut spec = endpoint("exam*le/person", "ftp://functions/");
    spec.push(("maxNumBatchRequests", text(5, "many")));
    spec.push(("transport", map(6, vec![("type", text(7, "io.statefun.transports.v1/grpc"))])));
    let (bindings, found) = bind(V2, spec);
    assert!(bindings.functions.is_empty());
    let expected = [
        "module.yaml:3:1: error: Invalid syntax for target functions. Only <namespace>/<name> or \
         <namespace>/* are supported, found `exam*le/person`",
        "module.yaml:4:1: error: `urlPathTemplate`: `ftp://functions/`: expected scheme `http`, \
         `https` or `http+unix`, found `ftp`",
        "module.yaml:5:1: error: `maxNumBatchRequests`: expected a whole number, found `many`",
        "module.yaml:7:1: error: unknown transport type `io.statefun.transports.v1/grpc`; known are \
         `io.statefun.transports.v1/async`, `io.statefun.transports.v1/okhttp`",
    ];
    assert_eq!(found, expected);
}

#[test]
fn missing_fields_and_zero_timeouts_are_errors() {
    let (_, found) = bind(V2, vec![]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("missing field `functions`: expected `<namespace>/<name>`"));
    assert!(found[1].contains("missing field `urlPathTemplate`"));
    let (_, found) = bind(V2, with_transport(vec![("call", text(6, "0s"))]));
    assert_eq!(found, ["module.yaml:6:1: error: `call`: expected a duration larger than 0"]);
    let (_, found) = bind(V2, with_transport(vec![("pool_size", text(6, "0"))]));
    assert_eq!(
        found,
        ["module.yaml:6:1: error: `pool_size`: expected a whole number of at least 1, found `0`"]
    );
}

#[test]
fn endpoints_with_tls_and_on_sockets_bind() {
    for url in [
        "https://functions/{function.name}",
        "http+unix:///run/functions.sock/statefun",
        "https+unix:///run/{function.name}.sock",
    ] {
        let (bindings, found) = bind(V2, endpoint("example/*", url));
        assert_eq!(found, Vec::<String>::new());
        assert_eq!(bindings.functions[0].served_at, url);
    }
    let (_, found) = bind(V2, endpoint("example/*", "http+unix:///run/functions"));
    assert_eq!(
        found,
        ["module.yaml:4:1: error: `urlPathTemplate`: `http+unix:///run/functions`: Unix Domain \
             Socket path should contain a .sock file"]
    );
}

#[test]
fn settings_of_tls_are_read_with_both_transports() {
    let files = || {
        vec![
            ("trust_cacerts", text(7, "classpath:certs/ca.pem")),
            ("client_cert", text(8, "file:/certs/client.pem")),
            ("client_key", text(9, "client.key")),
            ("client_key_password", text(10, "/certs/password")),
        ]
    };
    let (bindings, found) = bind(V2, with_transport_to(HTTPS, files()));
    assert_eq!(found, Vec::<String>::new());
    let provider_of = |bindings: &Bindings| provider(bindings);
    for setting in [
        "named_by: \"`trust_cacerts` (module.yaml:7)\", path: \"certs/ca.pem\"",
        "path: \"/certs/client.pem\"",
        "path: \"client.key\"",
        "path: \"/certs/password\"",
        "verify_hostnames: None",
        "http_version: Negotiated",
    ] {
        let provider = provider_of(&bindings);
        assert!(provider.contains(setting), "{setting} in {provider}");
    }
    let mut okhttp = files();
    okhttp.push(("type", text(6, "io.statefun.transports.v1/okhttp")));
    let (bindings, found) = bind(V2, with_transport_to(HTTPS, okhttp));
    assert_eq!(found, Vec::<String>::new());
    assert!(provider_of(&bindings).contains("verify_hostnames: Some(true)"));
    for (said, read) in [("true", "Some(true)"), ("false", "Some(false)")] {
        let spec = vec![
            ("verify_hostnames", text(6, said)),
            ("type", text(7, "io.statefun.transports.v1/okhttp")),
        ];
        let (bindings, found) = bind(V2, with_transport_to(HTTPS, spec));
        assert!(found.is_empty(), "{found:?}");
        assert!(provider_of(&bindings).contains(&format!("verify_hostnames: {read}")));
    }
}

#[test]
fn half_of_mutual_tls_is_an_error() {
    for (given, missing) in [("client_cert", "client_key"), ("client_key", "client_cert")] {
        let (_, found) = bind(V2, with_transport_to(HTTPS, vec![(given, text(6, "x.pem"))]));
        let expected = format!(
            "module.yaml:6:1: error: `{given}`: You need to provide both the cert and the key if you \
             want to use mutual TLS; `{missing}` is missing"
        );
        assert_eq!(found, [expected]);
    }
    let (_, found) =
        bind(V2, with_transport_to(HTTPS, vec![("client_key_password", text(6, "x"))]));
    assert_eq!(
        found,
        ["module.yaml:6:1: warning: `client_key_password` has no effect without `client_key`"]
    );
}

#[test]
fn wrong_settings_of_tls_and_http_are_errors() {
    let (_, mut found) = bind(
        V2,
        with_transport_to(
            HTTPS,
            vec![
                ("trust_cacerts", text(6, "https://certs/ca.pem")),
                ("verify_hostnames", text(7, "sometimes")),
                ("http_version", text(8, "3")),
            ],
        ),
    );
    found.sort();
    assert_eq!(
        found,
        [
            "module.yaml:6:1: error: `trust_cacerts`: expected a path, `file:` and a path, or \
             `classpath:` and a name, found `https://certs/ca.pem`",
            "module.yaml:7:1: error: `verify_hostnames`: expected `true` or `false`, found `sometimes`",
            "module.yaml:8:1: error: `http_version`: expected `1.1` or `2`, found `3`",
        ]
    );
    for (said, read) in [("1.1", "One"), ("2", "Two")] {
        let (bindings, _) = bind(V2, with_transport(vec![("http_version", text(6, said))]));
        assert!(provider(&bindings).contains(&format!("http_version: {read}")));
    }
}

#[test]
fn settings_of_tls_without_tls_are_a_warning() {
    let (bindings, found) =
        bind(V2, with_transport(vec![("trust_cacerts", text(6, "/certs/ca.pem"))]));
    assert_eq!(bindings.functions.len(), 1);
    assert_eq!(
        found,
        ["module.yaml:6:1: warning: `trust_cacerts` has no effect: `urlPathTemplate` does not \
             begin with `https://`"]
    );
}

#[test]
fn a_short_call_shortens_what_okhttp_has_by_default() {
    let timeouts = map(7, vec![("call", text(8, "5s"))]);
    let okhttp = ("type", text(6, "io.statefun.transports.v1/okhttp"));
    let (bindings, found) = bind(V2, with_transport(vec![okhttp, ("timeouts", timeouts)]));
    assert_eq!(found, Vec::<String>::new());
    assert!(provider(&bindings).contains("call: 5s, connect: 5s"), "{}", provider(&bindings));
}

#[test]
fn empty_timeouts_switch_the_defaults_too() {
    let (bindings, _) = bind(V2, with_transport(vec![("timeouts", map(6, vec![]))]));
    assert!(provider(&bindings).contains("call: 60s, connect: 10s"), "{}", provider(&bindings));
}

#[test]
fn timeouts_of_zero_and_longer_than_the_call_are_errors() {
    for name in ["call", "connect", "read", "write"] {
        for kind in ["io.statefun.transports.v1/async", "io.statefun.transports.v1/okhttp"] {
            let timeouts = map(7, vec![(name, text(8, "0 s"))]);
            let spec = with_transport(vec![("type", text(6, kind)), ("timeouts", timeouts)]);
            let (_, found) = bind(V2, spec);
            let expected = format!(
                "module.yaml:8:1: error: `timeouts.{name}`: expected a duration larger than 0"
            );
            let errors: Vec<&String> = found.iter().filter(|f| f.contains(": error: ")).collect();
            assert_eq!(errors, [&expected]);
        }
        let timeouts = map(5, vec![(name, text(6, "61s"))]);
        let mut spec = endpoint("example/*", "http://functions:8000/statefun");
        spec.push(("timeouts", timeouts));
        let (_, found) = bind(V1, spec);
        if name == "call" {
            assert!(found.is_empty(), "{found:?}");
        } else {
            let expected = format!(
                "module.yaml:6:1: error: `timeouts.{name}` (61s) must not be longer than \
                 `timeouts.call` (60s)"
            );
            assert_eq!(found, [expected]);
        }
    }
}

fn with_failure(entries: Vec<(&str, Node)>) -> Vec<(&'static str, Node)> {
    let mut spec = with_transport(vec![("call", text(6, "30s"))]);
    spec.push(("failure", map(7, entries)));
    spec
}

#[test]
fn a_failure_policy_is_read() {
    let retry = map(8, vec![("attempts", text(9, "5")), ("total", text(10, "10min"))]);
    let (bindings, found) =
        bind(V2, with_failure(vec![("retry", retry), ("then", text(11, "dead-letter"))]));
    assert_eq!(found, Vec::<String>::new());
    let expected =
        FailurePolicy { attempts: Some(5), total_ms: Some(600_000), then: Then::DeadLetter };
    assert_eq!(bindings.functions[0].failure, expected);
    // Without `retry`, for as long as a call may take.
    let (bindings, _) = bind(V2, with_failure(vec![("then", text(8, "drop"))]));
    let expected = FailurePolicy { attempts: None, total_ms: Some(30_000), then: Then::Drop };
    assert_eq!(bindings.functions[0].failure, expected);
    let (bindings, _) = bind(V2, with_transport(vec![]));
    assert_eq!(bindings.functions[0].failure, FailurePolicy::default());
}

#[test]
fn a_wrong_failure_policy_is_an_error_even_where_strays_are_warnings() {
    let spec = with_failure(vec![("then", text(8, "forget")), ("retries", text(9, "3"))]);
    let (bindings, found) = bind(V2, spec);
    assert!(bindings.functions.is_empty());
    assert_eq!(
        found,
        [
            "module.yaml:8:1: error: `failure.then`: expected `dead-letter`, `block` or `drop`, \
             found `forget`",
            "module.yaml:9:1: error: unknown field `retries`; did you mean `retry`?",
        ]
    );
    let zeros = map(8, vec![("attempts", text(9, "0")), ("total", text(10, "0s"))]);
    let (_, found) = bind(V2, with_failure(vec![("retry", zeros)]));
    assert_eq!(
        found,
        [
            "module.yaml:9:1: error: `failure.retry.attempts`: expected a whole number of at least \
             1, found `0`",
            "module.yaml:10:1: error: `failure.retry.total`: expected a duration of at least 1ms, \
             found `0s`",
        ]
    );
    let (_, found) = bind(V2, with_failure(vec![("retry", map(8, vec![]))]));
    assert_eq!(
        found,
        [
            "module.yaml:8:1: error: `failure.retry`: expected `attempts`, `total` or both, found an empty map"
        ]
    );
}
