//! Serves the functions that are linked into a process over HTTP, as StateFun's own SDKs do: the same
//! `async fn` that runs in-process runs remotely, unchanged. A process calls [`serve`], or mounts
//! [`router`] in a server of its own. The answers are in [`answer`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
//! dormouse_serve::serve(listener, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

pub mod answer;
pub mod functions;
mod many;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

pub use functions::{Functions, ServeError};

use crate::answer::Server;

/// Where [`serve`] serves: this path, and every path below it, whatever `urlPathTemplate` makes of the
/// function's name.
pub const PATH: &str = "/statefun";

/// Serves all linked functions under [`PATH`] until `shutdown` resolves; then finishes what it has
/// begun.
pub async fn serve(
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    serve_functions(listener, Functions::linked()?, shutdown).await
}

/// Like [`serve`], for chosen functions.
pub async fn serve_functions(
    listener: TcpListener,
    functions: Functions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let app = Router::new().nest(PATH, functions.into_router()).fallback(answer::elsewhere);
    // A small answer must not wait for the acknowledgement of the one before it. A connection that
    // does not take the option still serves.
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await?;
    Ok(())
}

/// A router that serves all linked functions at its root and every path below it, to be nested in a
/// server.
pub fn router() -> Result<Router, ServeError> {
    Ok(Functions::linked()?.into_router())
}

impl Functions {
    /// A router that serves these functions, as [`router`] does.
    pub fn into_router(self) -> Router {
        let server = Arc::new(Server::new(self));
        Router::new().route("/", axum::routing::any(invoke)).fallback(invoke).with_state(server)
    }
}

async fn invoke(State(server): State<Arc<Server>>, request: Request) -> Response {
    server.answer(request).await
}
