//! Remote functions as the runtime calls them. One provider per endpoint component; one function per
//! function type and shard; functions of one endpoint share connections where they share an authority.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Write as _;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dormouse_protocol::from_wire::{self, WireError};
use dormouse_protocol::{FunctionType, Invocation, InvokeError, Response, StateSpec, to_wire};
use dormouse_sdk::function::{Function, FunctionProvider, InvokeFuture};

use crate::answer::OCTET_STREAM;
use crate::attempts::{self, Failure, FailureKind};
use crate::connection::Request;
use crate::pool::Pool;
use crate::transport::{Retries, Transport};
use crate::url::{Authority, Url, UrlTemplate};

/// Makes the functions of one endpoint component.
#[derive(Debug)]
pub struct EndpointProvider {
    /// Tells the pools of components apart.
    number: u64,
    template: UrlTemplate,
    transport: Transport,
}

/// One remote function type on one shard.
#[derive(Debug)]
pub struct RemoteFunction(Rc<Remote>);

/// What a call needs.
#[derive(Debug)]
pub struct Remote {
    pub url: Url,
    pub transport: Transport,
    /// The request up to the number of its content length.
    head: Vec<u8>,
    pool: Rc<Pool>,
}

thread_local! {
    /// The pools of this thread's shard, by component and authority.
    static POOLS: RefCell<HashMap<(u64, Authority), Weak<Pool>>> = RefCell::default();
}

impl EndpointProvider {
    #[must_use]
    pub fn new(template: UrlTemplate, transport: Transport) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Self { number: NUMBER.fetch_add(1, Ordering::Relaxed), template, transport }
    }

    fn pool(&self, authority: &Authority) -> Rc<Pool> {
        POOLS.with_borrow_mut(|pools| {
            let key = (self.number, authority.clone());
            if let Some(pool) = pools.get(&key).and_then(Weak::upgrade) {
                return pool;
            }
            pools.retain(|_, pool| pool.strong_count() > 0);
            let pool = Rc::new(Pool::new(authority.clone(), self.transport.clone()));
            pools.insert(key, Rc::downgrade(&pool));
            pool
        })
    }
}

impl FunctionProvider for EndpointProvider {
    fn function(&self, function_type: FunctionType) -> Result<Box<dyn Function>, InvokeError> {
        let url = self
            .template
            .resolve(function_type.name())
            .map_err(|why| InvokeError::new(format!("no endpoint for {function_type}: {why}")))?;
        Ok(Box::new(RemoteFunction(Rc::new(Remote {
            head: request_head(&url, self.transport.retries),
            pool: self.pool(&url.authority),
            transport: self.transport.clone(),
            url,
        }))))
    }
}

fn request_head(url: &Url, retries: Retries) -> Vec<u8> {
    let (target, host) = (&url.target, url.authority.host_header());
    let accept = match retries {
        Retries::Async => format!("accept: {OCTET_STREAM}\r\n"),
        Retries::OkHttp => String::new(),
    };
    format!(
        "POST {target} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {OCTET_STREAM}\r\n{accept}\
         accept-encoding: gzip,deflate\r\nconnection: keep-alive\r\nuser-agent: statefun\r\n\
         content-length: "
    )
    .into_bytes()
}

impl Function for RemoteFunction {
    fn specs(&self) -> Option<Vec<StateSpec>> {
        None
    }

    fn invoke(&self, invocation: Invocation) -> InvokeFuture {
        let remote = Rc::clone(&self.0);
        Box::pin(async move {
            let body = to_wire::to_function(&invocation);
            let Invocation { target, specs, .. } = invocation;
            attempts::call(&remote, &target, &body, &specs).await
        })
    }
}

impl Remote {
    /// One attempt; `fresh` asks for a new connection.
    pub(crate) async fn attempt(
        &self,
        body: &Bytes,
        specs: &[StateSpec],
        fresh: bool,
    ) -> Result<Response, Failure> {
        let mut length = [0_u8; 24];
        let request =
            Request { head: &self.head, length: write_length(&mut length, body.len()), body };
        let mut lease = self.pool.acquire(fresh).await?;
        let answer = lease.begin().exchange(&request, &self.transport).await?;
        if answer.reusable {
            lease.keep();
        } else {
            drop(lease);
        }
        let (retries, bytes_max) = (self.transport.retries, self.transport.payload_bytes_max);
        let body = answer.head.judge(answer.body, retries, bytes_max)?;
        from_wire::response(body, specs).map_err(|error| {
            let kind = match error {
                WireError::Malformed { .. } => FailureKind::Answer,
                _ => FailureKind::Effects,
            };
            Failure::new(kind, error.to_string())
        })
    }
}

/// The number of the content length and the end of the head.
fn write_length(buffer: &mut [u8; 24], length: usize) -> &[u8] {
    let mut rest = &mut buffer[..];
    write!(rest, "{length}\r\n\r\n").expect("20 digits and two line ends fit");
    let left = rest.len();
    &buffer[..24 - left]
}
