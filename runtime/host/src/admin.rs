//! The admin listener: whether the process lives, whether it serves, its metrics and its dead letters.
//! Started by the command line before the runtime is; of that it knows nothing else.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use dormouse_engine::Redeem;
use tokio::net::TcpListener;

use crate::dead_letters::{DeadLetters, DeadLettersError, Request};
use crate::metrics::Metrics;
use crate::metrics::process::usage;
use crate::metrics::render::render;

/// Whether the process serves; asked for at each request of `/readyz`.
pub type Readiness = Arc<dyn Fn() -> bool + Send + Sync>;

/// What the listener asks, once it runs.
pub type DeadLettersSlot = Arc<OnceLock<DeadLetters>>;

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

const JSON: &str = "application/json";

#[derive(Clone)]
struct Shared {
    ready: Readiness,
    metrics: Arc<Metrics>,
    dead_letters: DeadLettersSlot,
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
    pub async fn serve(
        self,
        metrics: Arc<Metrics>,
        ready: Readiness,
        dead_letters: DeadLettersSlot,
    ) {
        let routes = Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(page))
            .route("/dead-letters/list", post(list))
            .route("/dead-letters/replay", post(replay))
            .route("/dead-letters/discard", post(discard))
            .with_state(Shared { ready, metrics, dead_letters });
        if let Err(error) = axum::serve(self.listener, routes).await {
            tracing::error!(%error, "the admin listener stopped");
        }
    }
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let (status, mut text) = match (shared.ready)() {
        true => (StatusCode::OK, "ready\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
    };
    // Also what holds up only its own addresses, for whoever looks.
    for stall in shared.metrics.stalls.list() {
        text += &format!("{stall}\n");
    }
    (status, text).into_response()
}

async fn page(State(shared): State<Shared>) -> Response {
    let text = render(&shared.metrics, usage());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn list(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    dead_letters(&shared, &headers, &body, None).await
}

async fn replay(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    dead_letters(&shared, &headers, &body, Some(Redeem::Replay)).await
}

async fn discard(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    dead_letters(&shared, &headers, &body, Some(Redeem::Discard)).await
}

async fn dead_letters(
    shared: &Shared,
    headers: &HeaderMap,
    body: &[u8],
    redeem: Option<Redeem>,
) -> Response {
    let refused = |status: StatusCode, why: String| (status, format!("{why}\n")).into_response();
    // A page of some site cannot make a browser send this type without asking first.
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    if content_type != Some(JSON.as_bytes()) {
        let why = format!("expected the content type `{JSON}`");
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why);
    }
    let request = match serde_json::from_slice::<Request>(body) {
        Ok(request) => request,
        Err(error) => return refused(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let Some(dead_letters) = shared.dead_letters.get() else {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "not ready".to_owned());
    };
    match dead_letters.page(&request, redeem).await {
        Ok(page) => {
            let text = serde_json::to_string(&page).expect("a page has only texts as keys");
            ([(CONTENT_TYPE, JSON)], text).into_response()
        }
        Err(error @ DeadLettersError::Request(_)) => {
            refused(StatusCode::BAD_REQUEST, error.to_string())
        }
        Err(error @ DeadLettersError::Stopped) => {
            refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
    }
}
