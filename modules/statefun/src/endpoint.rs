//! What the functions of one endpoint component share, over all shards: its settings and what TLS needs.
//! And one place of it, as a shard calls it: where requests go and what they look like.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Write as _;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dormouse_protocol::many;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Uri, Version};
use rustls::ClientConfig;

use crate::answer::OCTET_STREAM;
use crate::attempts::{Failure, FailureKind};
use crate::connection::{Answer, Request};
use crate::pool::{Line, Pool};
use crate::tls::renewal::{self, Made};
use crate::transport::{Retries, Transport};
use crate::url::{Authority, Url};

const AGENT: &str = "statefun";

/// One endpoint component.
#[derive(Debug)]
pub struct Endpoint {
    /// Tells the pools of components apart.
    number: u64,
    pub transport: Transport,
    /// Once its files could be read.
    tls: Mutex<Option<Made>>,
}

/// A URL of an endpoint, on one shard.
#[derive(Debug)]
pub struct Site {
    pub url: Url,
    /// The request of HTTP/1.1 up to the number of its content length.
    head: Vec<u8>,
    /// The same for HTTP/2; `None` for a URL that it has no form for.
    parts: Option<http::request::Parts>,
    pool: Rc<Pool>,
}

thread_local! {
    /// The pools of this thread's shard, by component and authority.
    static POOLS: RefCell<HashMap<(u64, Authority), Weak<Pool>>> = RefCell::default();
}

impl Endpoint {
    #[must_use]
    pub fn new(transport: Transport) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { number, transport, tls: Mutex::default() }
    }

    /// What connections with TLS need, from the files that the settings name.
    pub fn tls_config(&self) -> Result<Arc<ClientConfig>, Failure> {
        let mut made = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        let Transport { tls, http_version, .. } = &self.transport;
        renewal::current(&mut made, tls, *http_version)
            .map_err(|why| Failure::new(FailureKind::Settings, why))
    }

    /// The place behind `url`, on the shard of this thread.
    #[must_use]
    pub fn site(self: &Arc<Self>, url: Url) -> Site {
        self.site_for(url, OCTET_STREAM)
    }

    /// The same for requests of several calls.
    #[must_use]
    pub fn site_of_many(self: &Arc<Self>, url: Url) -> Site {
        self.site_for(url, many::CONTENT_TYPE)
    }

    fn site_for(self: &Arc<Self>, url: Url, content_type: &'static str) -> Site {
        Site {
            head: request_head(&url, &self.transport, content_type),
            parts: request_parts(&url, &self.transport, content_type),
            pool: self.pool(&url.authority),
            url,
        }
    }

    fn pool(self: &Arc<Self>, authority: &Authority) -> Rc<Pool> {
        POOLS.with_borrow_mut(|pools| {
            let key = (self.number, authority.clone());
            if let Some(pool) = pools.get(&key).and_then(Weak::upgrade) {
                return pool;
            }
            pools.retain(|_, pool| pool.strong_count() > 0);
            let pool = Rc::new(Pool::new(authority.clone(), Arc::clone(self)));
            pools.insert(key, Rc::downgrade(&pool));
            pool
        })
    }
}

/// OkHttp understands no other, and does not say what it accepts.
fn accepted_encodings(retries: Retries) -> &'static str {
    match retries {
        Retries::Async => "gzip,deflate",
        Retries::OkHttp => "gzip",
    }
}

fn request_head(url: &Url, transport: &Transport, content_type: &str) -> Vec<u8> {
    let (target, host) = (&url.target, url.authority.host_header());
    let calls = match transport.calls_per_request {
        0 | 1 => String::new(),
        calls => format!("{}: {calls}\r\n", many::HEADER),
    };
    let accept = match transport.retries {
        Retries::Async => format!("accept: {OCTET_STREAM}\r\n"),
        Retries::OkHttp => String::new(),
    };
    let encodings = accepted_encodings(transport.retries);
    format!(
        "POST {target} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {content_type}\r\n{accept}\
         accept-encoding: {encodings}\r\n{calls}connection: keep-alive\r\nuser-agent: {AGENT}\r\n\
         content-length: "
    )
    .into_bytes()
}

fn request_parts(
    url: &Url,
    transport: &Transport,
    content_type: &'static str,
) -> Option<http::request::Parts> {
    let retries = transport.retries;
    let scheme = if url.authority.is_tls { "https" } else { "http" };
    let uri: Uri =
        format!("{scheme}://{}{}", url.authority.host_header(), url.target).parse().ok()?;
    let (mut parts, ()) = http::Request::new(()).into_parts();
    let mut headers = HeaderMap::with_capacity(5);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if transport.calls_per_request > 1 {
        headers.insert(many::HEADER, HeaderValue::from(transport.calls_per_request));
    }
    if retries == Retries::Async {
        headers.insert(ACCEPT, HeaderValue::from_static(OCTET_STREAM));
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted_encodings(retries)));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    (parts.method, parts.version, parts.uri, parts.headers) =
        (Method::POST, Version::HTTP_2, uri, headers);
    Some(parts)
}

impl Site {
    /// Sends a request and reads its answer, whatever it is; `fresh` asks for a new connection.
    pub async fn send(
        &self,
        body: &Bytes,
        fresh: bool,
        transport: &Transport,
    ) -> Result<Answer, Failure> {
        let mut lease = self.pool.acquire(fresh).await?;
        let answer = match lease.begin() {
            Line::Http1(connection) => {
                let mut length = [0_u8; 24];
                let length = write_length(&mut length, body.len());
                let request = Request { head: &self.head, length, body };
                connection.exchange(&request, transport).await?
            }
            Line::Http2(shared) => {
                let parts = self.parts.clone().ok_or_else(|| {
                    let text = format!("HTTP/2 has no form for the URL {}", self.url.text);
                    Failure::new(FailureKind::Settings, text)
                })?;
                Box::pin(shared.exchange(parts, body.clone(), transport)).await?
            }
        };
        if answer.reusable {
            lease.keep();
        }
        Ok(answer)
    }
}

/// The number of the content length and the end of the head.
fn write_length(buffer: &mut [u8; 24], length: usize) -> &[u8] {
    let mut rest = &mut buffer[..];
    write!(rest, "{length}\r\n\r\n").expect("20 digits and two line ends fit");
    let left = rest.len();
    &buffer[..24 - left]
}
