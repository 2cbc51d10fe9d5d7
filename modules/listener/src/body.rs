//! What a client sends: a body within a limit, read into memory that was admitted, from a client that
//! keeps up.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dormouse_sdk::ingress::{Admission, Lane, SubmitError};
use http::StatusCode;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout, timeout_at};

use crate::answer::Refusal;

/// A client may usually take this long for a body, and longer by what [`RATE_BYTES_MIN`] allows.
pub const GRACE: Duration = Duration::from_secs(30);
/// Bytes per second that a client has to send at least, once [`GRACE`] is over.
pub const RATE_BYTES_MIN: u64 = 64 * 1024;
/// Longest body of unknown length that is read before memory for the longest possible one is admitted.
const UNKNOWN_BYTES: usize = 64 * 1024;
/// How much of a refused body is read and dropped, so that the client gets to see the refusal.
const DRAINED_BYTES_MAX: usize = 64 << 20;
/// How long a refused body is read.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// A body in memory, with the right to that memory.
#[derive(Debug)]
pub struct Received {
    pub bytes: Bytes,
    /// To be kept until the message has been submitted.
    pub admission: Admission,
}

/// Why a body was not read. Nothing has been accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    TooLarge {
        bytes_max: usize,
    },
    TooSlow {
        after: Duration,
    },
    /// The runtime has no room for more.
    Busy {
        waited: Duration,
    },
    Refused(SubmitError),
    Broken(String),
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { bytes_max } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is longer than {bytes_max} bytes"),
            ),
            BodyError::TooSlow { after } => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not come within {after:?}"),
            ),
            BodyError::Busy { waited } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!(
                    "too much is waiting already, and no room became free within {waited:?}; \
                     nothing was accepted, try again later"
                ),
            ),
            BodyError::Refused(error) => error.into(),
            BodyError::Broken(why) => {
                Self::new(StatusCode::BAD_REQUEST, format!("the body broke off: {why}"))
            }
        }
    }
}

/// What a body may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest body; also for what the runtime has memory.
    pub bytes_max: usize,
    /// Longest wait for room in the runtime.
    pub wait: Duration,
    /// Time for a body of any length; usually [`GRACE`].
    pub grace: Duration,
}

/// Reads a body.
pub async fn read(mut body: Incoming, lane: &Lane, limits: Limits) -> Result<Received, BodyError> {
    let Limits { wait, grace, .. } = limits;
    let bytes_max = limits.bytes_max.min(lane.longest());
    let hint = body.size_hint();
    let known = hint.exact().map(|exact| usize::try_from(exact).unwrap_or(usize::MAX));
    if hint.lower() > bytes_max as u64 {
        drain(body);
        return Err(BodyError::TooLarge { bytes_max });
    }
    let mut admitted = known.unwrap_or(UNKNOWN_BYTES.min(bytes_max));
    let mut admission = match admit(lane, admitted, wait).await {
        Ok(admission) => admission,
        Err(error) => {
            drain(body);
            return Err(error);
        }
    };
    let mut bytes = BytesMut::with_capacity(admitted);
    let mut started = None;
    loop {
        // Mostly it has come with the head: no timer is set for that.
        let here = poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await;
        let next = if let Poll::Ready(next) = here {
            next
        } else {
            let started = *started.get_or_insert_with(Instant::now);
            let patience = grace + Duration::from_secs(bytes.len() as u64 / RATE_BYTES_MIN);
            let next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
            let next = timeout_at(started + patience, next).await;
            next.map_err(|_| BodyError::TooSlow { after: patience })?
        };
        let frame = match next {
            None => break,
            Some(Err(error)) => return Err(BodyError::Broken(error.to_string())),
            Some(Ok(frame)) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > bytes_max - bytes.len() {
            drain(body);
            return Err(BodyError::TooLarge { bytes_max });
        }
        if bytes.len() + data.len() > admitted {
            // Given back first: whoever waited while holding some could wait for each other for ever.
            drop(admission);
            admitted = bytes_max;
            admission = match admit(lane, admitted, wait).await {
                Ok(admission) => admission,
                Err(error) => {
                    drop(bytes);
                    drain(body);
                    return Err(error);
                }
            };
        }
        bytes.extend_from_slice(&data);
        if body.is_end_stream() {
            break;
        }
    }
    Ok(Received { bytes: bytes.freeze(), admission })
}

async fn admit(lane: &Lane, bytes: usize, wait: Duration) -> Result<Admission, BodyError> {
    if let Some(admission) = lane.try_admit(bytes) {
        return Ok(admission);
    }
    match timeout(wait, lane.admit(bytes)).await {
        Ok(admitted) => admitted.map_err(BodyError::Refused),
        Err(_) => Err(BodyError::Busy { waited: wait }),
    }
}

/// Reads on for a while and drops what comes, while the refusal is on its way: a connection that is
/// closed with unread bytes takes the answer with it.
pub fn drain(mut body: Incoming) {
    tokio::task::spawn_local(timeout(DRAIN_TIME, async move {
        let mut left = DRAINED_BYTES_MAX;
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    }));
}
