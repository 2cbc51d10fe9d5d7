//! `dormouse` with one endpoint, `s/*`, that does what a closure says.

use anyhow::{Context as _, Result};
use dormouse_interop::application::Application;
use dormouse_interop::endpoint::{Endpoint, Reply, Request};
use dormouse_interop::process::lasting_port;
use dormouse_interop::wire::answer::{Effects, Expires, missing};

pub(crate) const RECORDS: &str = "t";

pub(crate) struct Stage {
    pub(crate) application: Application,
    pub(crate) endpoint: Endpoint,
    pub(crate) port: u16,
}

/// Fields of the endpoint that let a call fail soon, and its message be given up then.
pub(crate) const FRAIL: &str =
    "transport: {call: 4s}, failure: {retry: {attempts: 1}, then: dead-letter}";

impl Stage {
    /// Runs `story` with an endpoint that has these further fields, each as in a flow mapping.
    pub(crate) fn play(
        name: &str,
        fields: &str,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
        story: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let port = lasting_port()?;
        let endpoint = Endpoint::start(port, handler)?;
        let application = Application::new(&format!("statefun-{name}"))?;
        let mut stage = Self { application, endpoint, port };
        let told = stage.start(fields).and_then(|()| story(&mut stage));
        told.with_context(|| stage.application.log_tail())
    }

    /// Starts with an endpoint that has these further fields.
    pub(crate) fn start(&mut self, fields: &str) -> Result<()> {
        let port = self.port;
        let functions = endpoint("s/*", port, fields);
        self.application.start_with(&(functions + PLAYGROUND))
    }

    /// SIGKILL, and a new process.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.application.kill()?;
        self.application.start()
    }

    /// A text to `s/<name>/<id>`.
    pub(crate) fn tell(&self, target: &str, text: &str) -> Result<()> {
        self.application.tell(target, text)
    }
}

/// The document of an endpoint.
pub(crate) fn endpoint(functions: &str, port: u16, fields: &str) -> String {
    let url = format!("http://127.0.0.1:{port}/{{function.name}}");
    let more = if fields.is_empty() { String::new() } else { format!(", {fields}") };
    format!(
        "kind: io.statefun.endpoints.v2/http\n\
         spec: {{functions: {functions}, urlPathTemplate: \"{url}\"{more}}}\n---\n"
    )
}

pub(crate) const PLAYGROUND: &str = "kind: io.statefun.playground.v1/ingress\nspec:\n  port: 8090\n---\n\
     kind: io.statefun.playground.v1/egress\nspec:\n  port: 8091\n  topics: [t]\n";

/// The answer to a request that lacks one of these states: which ones are missing.
pub(crate) fn asks(request: &Request, states: &[(&str, &str, Expires)]) -> Option<Reply> {
    let lacks = |name: &str| request.batch.state(name).is_none();
    let lacking: Vec<_> = states.iter().copied().filter(|(name, ..)| lacks(name)).collect();
    (!lacking.is_empty()).then(|| Reply::Good(missing(&lacking)))
}

pub(crate) fn nothing() -> Reply {
    Effects::new().into()
}
