//! An application of the functions that are linked into the test, with an ingress that runs what the
//! test gives it.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dormouse_host::metrics::Metrics;
use dormouse_host::settings::Settings;
use dormouse_host::{manifest, plan, registry, runtime};
use dormouse_protocol::{Address, FunctionType, Message, TypeName};
use dormouse_sdk::ingress::{Ingress, Lane, LocalFuture, OpenError, Reply};
use dormouse_sdk::manifest::{Diagnostics, Span};
use dormouse_sdk::module::IngressBinding;
use dormouse_sdk::{IntoValue, ValueType};
use dormouse_store::{MemoryStore, Store};
use tokio::sync::oneshot;

/// Longest run of a test: only a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Application {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: Settings,
    store: Arc<dyn Store>,
    partitions: u16,
}

type Script = Box<dyn FnOnce(Lane) -> LocalFuture<()> + Send>;

/// Runs the test's script on the first lane.
struct Scripted(Mutex<Option<(Script, oneshot::Sender<()>)>>);

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl Ingress for Scripted {
    fn open(&self) -> Result<Option<String>, OpenError> {
        Ok(None)
    }

    fn serve(self: Arc<Self>, lane: Lane) -> LocalFuture<()> {
        Box::pin(async move {
            let Some((script, done)) = self.0.lock().unwrap().take() else { return };
            script(lane).await;
            done.send(()).unwrap();
        })
    }
}

impl Application {
    pub(crate) fn new(shards: usize, partitions: u16) -> Self {
        let mut settings = Settings::default();
        settings.limits.retry_delay_min = Duration::from_millis(10);
        let store = Arc::new(MemoryStore::new());
        Self { metrics: Arc::new(Metrics::new(shards)), settings, store, partitions }
    }

    pub(crate) fn store(self, store: Arc<dyn Store>) -> Self {
        Self { store, ..self }
    }

    /// Starts, runs the script, stops; a panic of the script fails the test.
    pub(crate) async fn run<F>(self, script: impl FnOnce(Lane) -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        let mut diagnostics = Diagnostics::default();
        let manifest = manifest::read(&[], &mut diagnostics);
        let linked = registry::linked().unwrap();
        let mut plan = plan::resolve(&manifest, &linked, &mut diagnostics);
        let span = Span { file: Arc::from(Path::new("test")), line: 1, column: 1 };
        let id = TypeName::parse("test/script").unwrap();
        let (done, is_done) = oneshot::channel();
        let script: Script = Box::new(|lane| Box::pin(script(lane)));
        let ingress = Arc::new(Scripted(Mutex::new(Some((script, done)))));
        plan.ingresses.push(IngressBinding { span, id, ingress });
        let (settings, partitions) = (self.settings, self.partitions);
        let started = runtime::start(plan, &settings, self.metrics, self.store, partitions).await;
        let running = started.unwrap();
        let done = tokio::time::timeout(PATIENCE, is_done).await;
        let handle = tokio::runtime::Handle::current();
        let stopping = tokio::task::spawn_blocking(move || handle.block_on(running.stop()));
        let stopped = tokio::time::timeout(PATIENCE, stopping).await.expect("it stops");
        stopped.unwrap().unwrap();
        done.expect("the script hangs").expect("the script has panicked");
    }
}

/// Sends a request that is durable when this returns; the reply comes later.
pub(crate) async fn begin(lane: &Lane, function: &str, id: &str, value: impl IntoValue) -> Reply {
    let reply = lane.reply();
    let target = Address::new(FunctionType::parse(function).unwrap(), id);
    let value = value.into_value().unwrap();
    let message = Message { target, caller: Some(reply.address.clone()), value };
    let room = lane.admit(100).await.unwrap();
    lane.submit(message, &room).await.unwrap();
    reply
}

/// The reply to a request.
pub(crate) async fn ask<T: ValueType>(
    lane: &Lane,
    function: &str,
    id: &str,
    value: impl IntoValue,
) -> T {
    let reply = begin(lane, function, id, value).await.value.await;
    assert_eq!(reply.typename, T::TYPENAME);
    T::decode(&reply.value).unwrap()
}
