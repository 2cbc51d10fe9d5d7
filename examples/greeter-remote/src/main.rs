//! Serves the greeter's functions to a StateFun runtime, on 127.0.0.1:8000 unless an argument
//! (`PORT` or `ADDRESS:PORT`) or the environment variable `PORT` says otherwise.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

// Links the functions: a library that nobody names registers nothing.
use greeter as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const DEFAULT_PORT: u16 = 8_000;

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("greeter-remote: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let given = std::env::args().nth(1).or_else(|| std::env::var("PORT").ok());
    let address = listen_address(given.as_deref())?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    println!("serving functions at http://{}{}", listener.local_addr()?, dormouse_serve::PATH);
    let stopped = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(dormouse_serve::serve(listener, stopped).await?)
}

fn listen_address(given: Option<&str>) -> Result<SocketAddr, String> {
    let Some(given) = given else {
        return Ok((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into());
    };
    let port = given.parse().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    port.or_else(|_| given.parse())
        .map_err(|_| format!("cannot listen on `{given}`: expected PORT or ADDRESS:PORT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_addresses_are_taken() {
        let address = |given| listen_address(given).map(|address| address.to_string());
        assert_eq!(address(None), Ok("127.0.0.1:8000".to_owned()));
        assert_eq!(address(Some("9000")), Ok("127.0.0.1:9000".to_owned()));
        assert_eq!(address(Some("0.0.0.0:80")), Ok("0.0.0.0:80".to_owned()));
        let error = "cannot listen on `x`: expected PORT or ADDRESS:PORT".to_owned();
        assert_eq!(address(Some("x")), Err(error));
    }
}
