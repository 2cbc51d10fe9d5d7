//! Files of TLS that are renewed on disk: they are read again for the next connection, without a restart.
//! What has been replaced by something wrong, or by a half of something right, changes nothing yet.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::ClientConfig;

use super::TlsSettings;
use super::location::Location;
use crate::transport::HttpVersion;

/// The files of an endpoint are looked at when a connection is made, and at most so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was made of an endpoint's files.
#[derive(Debug)]
pub struct Made {
    config: Arc<ClientConfig>,
    /// The files as they were found before they were read.
    stamps: Vec<Option<Stamp>>,
    looked: Instant,
}

/// Tells a file from the one that takes its place.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

/// What connections need now: what is in `made`, unless a file has changed.
pub fn current(
    made: &mut Option<Made>,
    tls: &TlsSettings,
    version: HttpVersion,
) -> Result<Arc<ClientConfig>, String> {
    let looked = Instant::now();
    let Some(before) = made else {
        let stamps = stamps(tls);
        let config = tls.config(version)?;
        *made = Some(Made { config: Arc::clone(&config), stamps, looked });
        return Ok(config);
    };
    if looked.duration_since(before.looked) >= LOOK_EVERY {
        before.looked = looked;
        let stamps = stamps(tls);
        if before.stamps != stamps {
            before.stamps = stamps;
            match tls.config(version) {
                Ok(config) => before.config = config,
                Err(why) => tracing::warn!("{why}; it has changed, and what it was is still used"),
            }
        }
    }
    Ok(Arc::clone(&before.config))
}

fn stamps(tls: &TlsSettings) -> Vec<Option<Stamp>> {
    let client = tls.client.iter();
    let of_client = client.flat_map(|client| {
        [Some(&client.certificate), Some(&client.key), client.password.as_ref()]
    });
    let all = of_client.flatten().chain(&tls.trust_cacerts);
    all.map(stamp).collect()
}

fn stamp(location: &Location) -> Option<Stamp> {
    let found = std::fs::metadata(&location.path).ok()?;
    Some(Stamp { modified: found.modified().ok(), length: found.len(), inode: found.ino() })
}
