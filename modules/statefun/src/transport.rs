//! How to talk to an endpoint: the settings of StateFun's two transports with their defaults.

use std::time::Duration;

use dormouse_protocol::many;
use dormouse_sdk::manifest::{Diagnostics, Fields, Node, list, values};

use crate::tls::location::Location;
use crate::tls::{ClientIdentity, TlsSettings};

pub const ASYNC: &str = "io.statefun.transports.v1/async";
pub const OKHTTP: &str = "io.statefun.transports.v1/okhttp";

/// Connections of the okhttp transport to one authority per shard, which has no setting for it.
pub const OKHTTP_CONNECTIONS_MAX: usize = 1_024;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const PAYLOAD_BYTES_MAX: u64 = 32 << 20;

/// Which failures are tried again, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// Every failure but a timeout, 4, 8, 16 ms ... later; `call` is the budget of all attempts.
    Async,
    /// Failures of the connection and some statuses, 10, 20, 40 ms ... later; `call` limits one
    /// attempt, and later ones begin within `call` of the first.
    OkHttp,
}

/// Which versions of HTTP are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/2 where the endpoint chooses it during the TLS handshake, else HTTP/1.1.
    Negotiated,
    /// HTTP/1.1 everywhere.
    One,
    /// HTTP/2 everywhere, on plain connections too.
    Two,
}

/// The settings of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    pub retries: Retries,
    pub call: Duration,
    /// For having a connection: waiting for a free one and establishing a new one.
    pub connect: Duration,
    /// Longest silence while an answer is awaited.
    pub read: Option<Duration>,
    /// Longest time without progress while a request is written.
    pub write: Option<Duration>,
    /// Age at which a connection is not used again; zero: any age.
    pub pool_ttl: Duration,
    /// Idle connections older than this are closed.
    pub idle: Option<Duration>,
    /// Connections to one authority, per shard; with HTTP/2, calls under way.
    pub pool_size: usize,
    /// Longest answer.
    pub payload_bytes_max: usize,
    pub http_version: HttpVersion,
    /// Calls that one request may carry, to an endpoint that takes several; 1: never more.
    pub calls_per_request: usize,
    pub tls: TlsSettings,
}

impl Default for Transport {
    /// The async transport without any setting.
    fn default() -> Self {
        Self {
            retries: Retries::Async,
            call: 2 * MINUTE,
            connect: 20 * SECOND,
            read: None,
            write: None,
            pool_ttl: 15 * SECOND,
            idle: None,
            pool_size: 1_024,
            payload_bytes_max: PAYLOAD_BYTES_MAX as usize,
            http_version: HttpVersion::Negotiated,
            calls_per_request: 1,
            tls: TlsSettings::default(),
        }
    }
}

impl Transport {
    /// The okhttp transport without any setting.
    #[must_use]
    pub fn okhttp() -> Self {
        Self {
            retries: Retries::OkHttp,
            call: MINUTE,
            connect: 10 * SECOND,
            read: Some(10 * SECOND),
            write: Some(10 * SECOND),
            pool_ttl: Duration::ZERO,
            idle: Some(MINUTE),
            pool_size: OKHTTP_CONNECTIONS_MAX,
            payload_bytes_max: PAYLOAD_BYTES_MAX as usize,
            http_version: HttpVersion::Negotiated,
            calls_per_request: 1,
            tls: TlsSettings::default(),
        }
    }

    /// Reads the `transport` of a v2 endpoint.
    pub fn read(node: &Node, strict: bool, diagnostics: &mut Diagnostics) -> Option<Self> {
        let mut fields = Fields::of(node, "transport", strict, diagnostics)?;
        fields.misplaced("maxNumBatchRequests", "it belongs directly into `spec`");
        let kind = match fields.optional("type") {
            None => ASYNC,
            Some(node) => values::text(node, "type", diagnostics)?,
        };
        // Like all type names: a `/` at the end means nothing.
        let kind = kind.trim();
        let mut transport = match kind.strip_suffix('/').unwrap_or(kind) {
            ASYNC => read_async(&mut fields, strict, diagnostics),
            OKHTTP => {
                for name in ["call", "connect"] {
                    fields.misplaced(name, "with okhttp it belongs into `timeouts`");
                }
                for name in ["pool_ttl", "pool_size", "payload_max_bytes"] {
                    fields.misplaced(name, "the async transport has it, okhttp has not");
                }
                read_okhttp(fields.optional("timeouts"), strict, diagnostics)
            }
            unknown => {
                let known = list(&[ASYNC, OKHTTP]);
                let span = node.get("type").map_or(&node.span, |node| &node.span);
                diagnostics
                    .error(span, format!("unknown transport type `{unknown}`; known are {known}"));
                return None;
            }
        };
        transport.read_payload_max(&mut fields, diagnostics);
        if let Some(node) = fields.optional("http_version") {
            transport.http_version = read_http_version(node, diagnostics);
        }
        if let Some(node) = fields.optional("calls_per_request") {
            let range = 1..=many::CALLS_MAX as i64;
            let calls = values::integer(node, "calls_per_request", range, diagnostics);
            transport.calls_per_request = calls.unwrap_or(1) as usize;
        }
        transport.tls = read_tls(&mut fields, transport.retries, diagnostics);
        fields.finish(diagnostics);
        Some(transport)
    }

    /// Reads how long an answer may be: of v2's `transport`, or of v1's `spec`.
    pub fn read_payload_max(&mut self, fields: &mut Fields<'_>, diagnostics: &mut Diagnostics) {
        if let Some(node) = fields.optional("payload_max_bytes") {
            let max = values::size(node, "payload_max_bytes", diagnostics);
            self.payload_bytes_max = max.unwrap_or(PAYLOAD_BYTES_MAX) as usize;
        }
    }
}

fn read_http_version(node: &Node, d: &mut Diagnostics) -> HttpVersion {
    match node.as_text().map(str::trim) {
        Some("1.1") => HttpVersion::One,
        Some("2" | "2.0") => HttpVersion::Two,
        _ => {
            values::mismatch(node, "http_version", "`1.1` or `2`", d);
            HttpVersion::Negotiated
        }
    }
}

fn read_tls(fields: &mut Fields<'_>, retries: Retries, d: &mut Diagnostics) -> TlsSettings {
    let trust_cacerts = location(fields.optional("trust_cacerts"), "trust_cacerts", d);
    let certificate = location(fields.optional("client_cert"), "client_cert", d);
    let key = location(fields.optional("client_key"), "client_key", d);
    let password = fields.optional("client_key_password");
    if let (Some(node), None) = (password, fields.optional("client_key")) {
        d.warning(&node.span, "`client_key_password` has no effect without `client_key`");
    }
    let password = location(password, "client_key_password", d);
    let client = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(ClientIdentity { certificate, key, password }),
        _ => None,
    };
    for (given, missing) in [("client_cert", "client_key"), ("client_key", "client_cert")] {
        if let (Some(node), None) = (fields.optional(given), fields.optional(missing)) {
            d.error(
                &node.span,
                format!(
                    "`{given}`: You need to provide both the cert and the key if you want to use mutual \
                     TLS; `{missing}` is missing"
                ),
            );
        }
    }
    let said = fields.optional("verify_hostnames");
    let verify_hostnames = match said {
        Some(node) => values::boolean(node, "verify_hostnames", d),
        // OkHttp has always looked at names.
        None => (retries == Retries::OkHttp).then_some(true),
    };
    TlsSettings { trust_cacerts, client, verify_hostnames }
}

fn location(node: Option<&Node>, name: &str, d: &mut Diagnostics) -> Option<Location> {
    let node = node?;
    let text = values::text(node, name, d)?;
    match Location::parse(text.trim(), name, &node.span) {
        Ok(location) => Some(location),
        Err(why) => {
            d.error(&node.span, format!("`{name}`: {why}"));
            None
        }
    }
}

fn read_async(fields: &mut Fields<'_>, strict: bool, d: &mut Diagnostics) -> Transport {
    let mut transport = Transport::default();
    let call = fields.optional("call");
    let connect = fields.optional("connect");
    positive(call, "call", &mut transport.call, d);
    positive(connect, "connect", &mut transport.connect, d);
    if let Some(node) = fields.optional("pool_ttl") {
        transport.pool_ttl = values::duration(node, "pool_ttl", d).unwrap_or_default();
    }
    if let Some(node) = fields.optional("pool_size") {
        let size = values::integer(node, "pool_size", 1..=i64::from(i32::MAX), d);
        transport.pool_size = size.unwrap_or(1) as usize;
    }
    if let Some(node) = fields.optional("timeouts") {
        for (name, overridden) in [("call", call), ("connect", connect)] {
            if let Some(node) = overridden {
                d.warning(
                    &node.span,
                    format!("`{name}` has no effect beside `timeouts`; use `timeouts.{name}`"),
                );
            }
        }
        for (name, node) in ["read", "write"].map(|name| (name, node.get(name))) {
            if let Some(node) = node {
                let message =
                    format!("`timeouts.{name}` has an effect with the okhttp transport only");
                d.warning(&node.span, message);
            }
        }
        let timeouts = read_timeouts(node, strict, d);
        transport.call = timeouts.call;
        transport.connect = timeouts.connect;
    }
    transport
}

/// Reads the `timeouts` of an okhttp transport: of v2's `transport`, or of v1's `spec`.
pub fn read_okhttp(timeouts: Option<&Node>, strict: bool, d: &mut Diagnostics) -> Transport {
    let mut transport = Transport::okhttp();
    if let Some(node) = timeouts {
        let timeouts = read_timeouts(node, strict, d);
        for (name, value) in
            [("connect", timeouts.connect), ("read", timeouts.read), ("write", timeouts.write)]
        {
            if let Some(given) = node.get(name).filter(|_| value > timeouts.call) {
                d.error(
                    &given.span,
                    format!(
                        "`timeouts.{name}` ({value:?}) must not be longer than `timeouts.call` ({:?})",
                        timeouts.call
                    ),
                );
            }
        }
        transport.call = timeouts.call;
        transport.connect = timeouts.connect.min(timeouts.call);
        transport.read = Some(timeouts.read);
        transport.write = Some(timeouts.write);
    }
    transport
}

struct Timeouts {
    call: Duration,
    connect: Duration,
    read: Duration,
    write: Duration,
}

fn read_timeouts(node: &Node, strict: bool, d: &mut Diagnostics) -> Timeouts {
    let mut timeouts =
        Timeouts { call: MINUTE, connect: 10 * SECOND, read: 10 * SECOND, write: 10 * SECOND };
    let Some(mut fields) = Fields::of(node, "timeouts", strict, d) else {
        return timeouts;
    };
    positive(fields.optional("call"), "timeouts.call", &mut timeouts.call, d);
    positive(fields.optional("connect"), "timeouts.connect", &mut timeouts.connect, d);
    positive(fields.optional("read"), "timeouts.read", &mut timeouts.read, d);
    positive(fields.optional("write"), "timeouts.write", &mut timeouts.write, d);
    fields.finish(d);
    timeouts
}

fn positive(node: Option<&Node>, name: &str, into: &mut Duration, d: &mut Diagnostics) {
    let Some(node) = node else { return };
    match values::duration(node, name, d) {
        Some(Duration::ZERO) => {
            d.error(&node.span, format!("`{name}`: expected a duration larger than 0"))
        }
        Some(duration) => *into = duration,
        None => {}
    }
}
