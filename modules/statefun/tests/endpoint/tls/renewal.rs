//! Files that are renewed while the endpoint is in use.

use std::fs;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use dormouse_protocol::FunctionType;
use dormouse_sdk::function::{Function, FunctionProvider as _};
use dormouse_statefun::function::EndpointProvider;
use dormouse_statefun::tls::TlsSettings;
use dormouse_statefun::url::UrlTemplate;

use super::secure::{Server, brief_with, fixture, location};
use crate::calls::{bob, run};

/// How long a renewed file may take to be seen.
const PATIENCE: Duration = Duration::from_secs(30);

/// One endpoint with several places, so that each has a connection of its own.
fn at(endpoint: &EndpointProvider, place: SocketAddr) -> Rc<dyn Function> {
    Rc::from(endpoint.function(FunctionType::new("example", &place.to_string())).unwrap())
}

#[test]
fn a_renewed_bundle_is_read_again_and_a_broken_one_is_not_taken() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let bundle = directory.path().join("bundle.pem");
        fs::copy(fixture("ca.pem"), &bundle).unwrap();
        let trust_cacerts = Some(location("trust_cacerts", &bundle));
        let transport = brief_with(TlsSettings { trust_cacerts, ..TlsSettings::default() });
        let template = UrlTemplate::parse("https://{function.name}/").unwrap();
        let endpoint = EndpointProvider::new(template, transport);
        let (old, _) = Server::new("server.pem", "server.key").start().await;
        let (new, _) = Server::new("self.pem", "self.key").start().await;
        assert!(at(&endpoint, old).invoke(bob(0)).await.is_ok());
        let refused = at(&endpoint, new).invoke(bob(0)).await.unwrap_err().message;
        assert!(refused.contains("the certificate of "), "{refused}");

        fs::copy(fixture("self.pem"), &bundle).unwrap();
        let renewed = Instant::now();
        while let Err(refused) = at(&endpoint, new).invoke(bob(0)).await {
            assert!(renewed.elapsed() < PATIENCE, "{}", refused.message);
        }

        fs::write(&bundle, "no certificate").unwrap();
        // Long enough to be looked at, on a connection of its own.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let (another, _) = Server::new("self.pem", "self.key").start().await;
        let answer = at(&endpoint, another).invoke(bob(0)).await;
        assert!(answer.is_ok(), "{}", answer.unwrap_err().message);
        // It was looked at: what belongs there again is taken again.
        fs::copy(fixture("ca.pem"), &bundle).unwrap();
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let (stranger, _) = Server::new("self.pem", "self.key").start().await;
        assert!(at(&endpoint, stranger).invoke(bob(0)).await.is_err());
    });
}
