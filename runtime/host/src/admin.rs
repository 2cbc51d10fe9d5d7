//! The admin listener: whether the process lives, whether it serves, and its metrics. Started by
//! the command line; it knows nothing of the runtime but a flag for readiness and the metrics.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::metrics::process::usage;
use crate::metrics::render::render;

/// Whether the process serves; asked for at each request of `/readyz`.
pub type Readiness = Arc<dyn Fn() -> bool + Send + Sync>;

/// A bound listener that does not answer yet.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    /// Where it listens: the port that was chosen when 0 was asked for.
    pub address: SocketAddr,
}

/// Why the admin listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "admin listener: cannot listen on {address}: {source}; choose another address with --admin, or `--admin off`"
)]
pub struct AdminError {
    pub address: SocketAddr,
    source: std::io::Error,
}

#[derive(Clone)]
struct Shared {
    ready: Readiness,
    metrics: Arc<Metrics>,
}

impl Admin {
    /// Binds the address.
    pub async fn bind(address: SocketAddr) -> Result<Self, AdminError> {
        let failed = |source| AdminError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Answers until the future is dropped.
    pub async fn serve(self, metrics: Arc<Metrics>, ready: Readiness) {
        let routes = Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(page))
            .with_state(Shared { ready, metrics });
        if let Err(error) = axum::serve(self.listener, routes).await {
            tracing::error!(%error, "the admin listener stopped");
        }
    }
}

async fn readyz(State(shared): State<Shared>) -> Response {
    if (shared.ready)() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

async fn page(State(shared): State<Shared>) -> Response {
    let text = render(&shared.metrics, usage());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
