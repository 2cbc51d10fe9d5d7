//! Functions behind other doors than a plain port: TLS, with a bundle that comes late, and a Unix domain
//! socket.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::application::{Application, lasting_port};
use crate::server::{Mood, Server};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../modules/statefun/tests/certs").join(name)
}

/// Runs on a thread of its own, to the end of the test.
fn beside<F: Future<Output = Result<()>>>(door: impl FnOnce() -> F + Send + 'static) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        let local = tokio::task::LocalSet::new();
        if let Err(error) = local.block_on(&runtime, async { door().await }) {
            eprintln!("a door is closed: {error:#}");
        }
    });
    Ok(())
}

async fn pass(mut stream: impl AsyncRead + AsyncWrite + Unpin, port: u16) -> Result<()> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut stream, &mut server).await?;
    Ok(())
}

/// TLS on `port`, for a server that listens on another one.
fn tls_door(port: u16, server: u16) -> Result<()> {
    let certificate = CertificateDer::from_pem_file(fixture("server.pem"))?;
    let key = PrivateKeyDer::from_pem_file(fixture("server.key"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    beside(move || async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let acceptor = acceptor.clone();
            tokio::task::spawn_local(
                async move { pass(acceptor.accept(stream).await?, server).await },
            );
        }
    })
}

/// A socket at `path` for the same.
fn socket_door(path: PathBuf, server: u16) -> Result<()> {
    beside(move || async move {
        let listener = UnixListener::bind(path)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::task::spawn_local(pass(stream, server));
        }
    })
}

#[test]
fn functions_are_called_over_tls_and_sockets() -> Result<()> {
    let (port, secure) = (lasting_port()?, lasting_port()?);
    let server = Server::start(port, Mood::Good, false)?;
    let directory = tempfile::tempdir()?;
    let (bundle, socket) = (directory.path().join("ca.pem"), directory.path().join("f.sock"));
    tls_door(secure, port)?;
    socket_door(socket.clone(), port)?;
    let documents = format!(
        "---\nkind: io.statefun.endpoints.v2/http\nspec:\n  functions: shop/*\n  \
         urlPathTemplate: https://localhost:{secure}/f\n  transport:\n    call: 2s\n    \
         trust_cacerts: {}\n    verify_hostnames: true\n\
         ---\nkind: io.statefun.endpoints.v2/http\nspec:\n  functions: near/*\n  \
         urlPathTemplate: http+unix://{}/f\n",
        bundle.display(),
        socket.display()
    );
    let mut application = Application::new()?;
    application.start(&documents, &[])?;

    // The bundle is missing: messages are accepted and wait, others are not held up.
    application.accepted("/shop/basket/b", "1")?;
    application.accepted("/shop/basket/b", "2")?;
    let expected = format!("The requested resource does not exist: {}", bundle.display());
    application.wait_for("the log says which file is missing", |application| {
        let printed = application.printed();
        let mut lines = printed.lines().filter(|line| line.contains("shop/basket/b is blocked"));
        Ok(lines
            .any(|line| line.contains(&expected) && line.contains("`trust_cacerts` (module.yaml:")))
    })?;
    ensure!(application.ask("/near/basket/b", "over a socket")? == "over a socket\n");

    fs::copy(fixture("ca.pem"), &bundle).context("the bundle")?;
    ensure!(application.ask("/shop/basket/b", "3")? == "1\n2\n3\n");
    ensure!(server.requests() > 0);
    application.stop()
}
