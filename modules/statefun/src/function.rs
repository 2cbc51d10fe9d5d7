//! Remote functions as the runtime calls them. One provider per endpoint component; one function per
//! function type and shard; functions of one endpoint share connections where they share an authority.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::from_wire::{self, WireError};
use dormouse_protocol::{FunctionType, Invocation, InvokeError, Response, StateSpec, to_wire};
use dormouse_sdk::function::{Function, FunctionProvider, InvokeFuture};

use crate::attempts::{self, Failure, FailureKind};
use crate::connection::Answer;
use crate::endpoint::{Endpoint, Site};
use crate::gather::Gather;
use crate::transport::{Retries, Transport};
use crate::url::UrlTemplate;

/// Most redirects that one attempt follows, as OkHttp has it.
const REDIRECTS_MAX: u32 = 20;

/// Makes the functions of one endpoint component.
#[derive(Debug)]
pub struct EndpointProvider {
    template: UrlTemplate,
    endpoint: Arc<Endpoint>,
}

/// One remote function type on one shard.
#[derive(Debug)]
pub struct RemoteFunction(Rc<Remote>);

/// What a call needs.
#[derive(Debug)]
pub struct Remote {
    pub site: Site,
    pub endpoint: Arc<Endpoint>,
    /// For endpoints that may be sent several calls in one request.
    gather: Option<Rc<Gather>>,
}

impl EndpointProvider {
    #[must_use]
    pub fn new(template: UrlTemplate, transport: Transport) -> Self {
        Self { template, endpoint: Arc::new(Endpoint::new(transport)) }
    }
}

impl FunctionProvider for EndpointProvider {
    fn function(&self, function_type: FunctionType) -> Result<Box<dyn Function>, InvokeError> {
        let url = self
            .template
            .resolve(function_type.name())
            .map_err(|why| InvokeError::new(format!("no endpoint for {function_type}: {why}")))?;
        let endpoint = Arc::clone(&self.endpoint);
        let gather = (endpoint.transport.calls_per_request > 1)
            .then(|| Gather::new(endpoint.site_of_many(url.clone()), Arc::clone(&endpoint)));
        let site = endpoint.site(url);
        Ok(Box::new(RemoteFunction(Rc::new(Remote { site, endpoint, gather }))))
    }
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
    /// The first attempt: with others in one request, where the endpoint takes that.
    pub(crate) async fn first_attempt(
        &self,
        body: &Bytes,
        specs: &[StateSpec],
    ) -> Result<Response, Failure> {
        match &self.gather {
            Some(gather) if gather.is_taken() => read(gather.call(body.clone()).await?, specs),
            _ => self.attempt(body, specs, false).await,
        }
    }

    /// One attempt; `fresh` asks for a new connection.
    pub(crate) async fn attempt(
        &self,
        body: &Bytes,
        specs: &[StateSpec],
        fresh: bool,
    ) -> Result<Response, Failure> {
        let transport = &self.endpoint.transport;
        let mut answer = self.site.send(body, fresh, transport).await?;
        if transport.retries == Retries::OkHttp && answer.head.redirect().is_some() {
            answer = Box::pin(self.follow(answer, body, fresh)).await?;
        }
        if let Some(gather) = &self.gather {
            gather.note(answer.head.calls);
        }
        let (retries, bytes_max) = (transport.retries, transport.payload_bytes_max);
        read(answer.head.judge(answer.body, retries, bytes_max)?, specs)
    }

    /// Sends the same request to where the answer says, again and again.
    async fn follow(
        &self,
        mut answer: Answer,
        body: &Bytes,
        fresh: bool,
    ) -> Result<Answer, Failure> {
        let status = answer.head.status;
        let failed = |text: String| Failure::new(FailureKind::Status(status), text);
        let mut url = self.site.url.clone();
        let mut followed = 0;
        while let Some(location) = answer.head.redirect() {
            if followed == REDIRECTS_MAX {
                return Err(failed(format!(
                    "more than {REDIRECTS_MAX} redirects, the last from {} to {location}",
                    url.text
                )));
            }
            followed += 1;
            url = url.join(location).map_err(|why| {
                failed(format!("{} redirects to what is no endpoint: {why}", url.text))
            })?;
            let site = self.endpoint.site(url.clone());
            answer = site.send(body, fresh, &self.endpoint.transport).await.map_err(|failure| {
                let text = format!("redirected to {}: {}", url.text, failure.text);
                Failure { text, ..failure }
            })?;
        }
        Ok(answer)
    }
}

/// Reads a `FromFunction`.
fn read(body: Bytes, specs: &[StateSpec]) -> Result<Response, Failure> {
    from_wire::response(body, specs).map_err(|error| {
        let kind = match error {
            WireError::Malformed { .. } => FailureKind::Answer,
            _ => FailureKind::Effects,
        };
        Failure::new(kind, error.to_string())
    })
}
