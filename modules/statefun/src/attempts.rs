//! When a failed call is tried again: the schedules of StateFun's two transports.

use std::time::Duration;

use bytes::Bytes;
use dormouse_protocol::{Address, InvokeError, Response, StateSpec};
use tokio::time::{Instant, timeout_at};

use crate::function::Remote;
use crate::transport::{Retries, Transport};

/// First step of the async transport's backoff; the first delay is twice as long.
const ASYNC_BACKOFF: Duration = Duration::from_millis(2);
/// First delay of the okhttp transport.
const OKHTTP_BACKOFF: Duration = Duration::from_millis(10);
/// With less of the budget left than this, the async transport gives up.
const ASYNC_REMAINDER: Duration = Duration::from_millis(1);
/// The shortest time that an attempt of the async transport gets, in milliseconds, at random.
const ASYNC_ATTEMPT_MS: std::ops::Range<u64> = 7..13;

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// What was expected and what came.
    pub text: String,
    /// The endpoint asked to be left alone for so long.
    pub retry_after: Option<Duration>,
}

/// As far as it decides about another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection, or it broke.
    Connection,
    /// A kept-alive connection turned out to be closed: nothing is wrong with the endpoint.
    Stale,
    /// The attempt took too long.
    Timeout,
    /// A status outside of 200 to 299.
    Status(u16),
    /// A status within, but no usable answer.
    Answer,
    /// Our own side cannot call, as when a file is missing. Another attempt would find the same.
    Settings,
    /// A well-formed answer that asks for something impossible. Another attempt would get it again.
    Effects,
}

impl Failure {
    #[must_use]
    pub fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), retry_after: None }
    }
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again, with a new connection.
    AtOnce,
    After(Duration),
    GiveUp,
}

/// Decides about retry number `retry` (counted from 1), `elapsed` after the beginning of the call.
#[must_use]
pub fn next(transport: &Transport, failure: &Failure, retry: u32, elapsed: Duration) -> Next {
    let left = transport.call.saturating_sub(elapsed);
    let doubled = |first: Duration, times: u32| first.saturating_mul(1_u32 << times.min(31));
    let (tried_again, delay) = match transport.retries {
        Retries::Async => (
            !matches!(
                failure.kind,
                FailureKind::Timeout | FailureKind::Settings | FailureKind::Effects
            ) && left > ASYNC_REMAINDER,
            doubled(ASYNC_BACKOFF, retry),
        ),
        Retries::OkHttp => (
            match failure.kind {
                FailureKind::Connection | FailureKind::Stale | FailureKind::Timeout => true,
                FailureKind::Status(status) => {
                    matches!(status, 408 | 409 | 420 | 429 | 499) || status >= 500
                }
                FailureKind::Answer | FailureKind::Settings | FailureKind::Effects => false,
            } && !left.is_zero(),
            doubled(OKHTTP_BACKOFF, retry - 1).min(left),
        ),
    };
    let delay = delay.max(failure.retry_after.unwrap_or_default());
    if !tried_again {
        Next::GiveUp
    } else if failure.kind == FailureKind::Stale {
        Next::AtOnce
    } else if transport.retries == Retries::Async && delay >= left || delay > left {
        // Nothing would be tried at the end of that sleep.
        Next::GiveUp
    } else {
        Next::After(delay)
    }
}

/// Calls a remote function until it answers or the schedule ends.
pub async fn call(
    remote: &Remote,
    target: &Address,
    body: &Bytes,
    specs: &[StateSpec],
) -> Result<Response, InvokeError> {
    let started = Instant::now();
    let mut failed: u32 = 0;
    let mut fresh = false;
    let mut earlier = String::new();
    loop {
        let elapsed = if failed == 0 { Duration::ZERO } else { started.elapsed() };
        let limit = attempt_limit(&remote.endpoint.transport, elapsed);
        let attempt = async {
            match failed {
                0 => remote.first_attempt(body, specs).await,
                _ => remote.attempt(body, specs, fresh).await,
            }
        };
        let mut failure = match timeout_at(started + elapsed + limit, attempt).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(failure)) => failure,
            Err(_) => out_of_time(limit, &earlier),
        };
        if fresh && failure.kind == FailureKind::Stale {
            // It was tried at once already; with HTTP/2, the new connection may serve others.
            failure.kind = FailureKind::Connection;
        }
        failed = failed.saturating_add(1);
        match next(&remote.endpoint.transport, &failure, failed, started.elapsed()) {
            Next::AtOnce => fresh = true,
            Next::After(delay) => {
                fresh = false;
                earlier = failure.text;
                tokio::time::sleep(delay).await;
            }
            Next::GiveUp => {
                return Err(InvokeError {
                    message: describe(remote, target, &failure, failed, started.elapsed()),
                    retry_after: failure.retry_after,
                });
            }
        }
    }
}

/// The last attempt may have had little time; what the ones before it met says more.
fn out_of_time(limit: Duration, earlier: &str) -> Failure {
    let mut text = format!("expected an answer within {limit:.1?} (`call`), got none");
    if !earlier.is_empty() {
        text = format!("{earlier}; then {text}");
    }
    Failure::new(FailureKind::Timeout, text)
}

fn attempt_limit(transport: &Transport, elapsed: Duration) -> Duration {
    match transport.retries {
        Retries::Async => transport
            .call
            .saturating_sub(elapsed)
            .max(Duration::from_millis(fastrand::u64(ASYNC_ATTEMPT_MS))),
        Retries::OkHttp => transport.call,
    }
}

fn describe(
    remote: &Remote,
    target: &Address,
    failure: &Failure,
    attempts: u32,
    elapsed: Duration,
) -> String {
    let url = &remote.site.url.text;
    let text = &failure.text;
    let times = match attempts {
        1 => "1 attempt".to_owned(),
        more => format!("{more} attempts"),
    };
    format!("calling {target} at {url}: {text} ({times} in {elapsed:.1?})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn failure(kind: FailureKind) -> Failure {
        Failure::new(kind, "why")
    }

    #[test]
    fn async_tries_every_failure_again_but_not_a_timeout() {
        let transport = Transport::default();
        let status = failure(FailureKind::Status(404));
        for (retry, delay) in [(1, 4), (2, 8), (3, 16), (10, 2_048)] {
            assert_eq!(next(&transport, &status, retry, ms(0)), Next::After(ms(delay)));
        }
        for kind in [FailureKind::Connection, FailureKind::Answer] {
            assert_eq!(next(&transport, &failure(kind), 1, ms(0)), Next::After(ms(4)));
        }
        for kind in [FailureKind::Timeout, FailureKind::Settings, FailureKind::Effects] {
            assert_eq!(next(&transport, &failure(kind), 1, ms(0)), Next::GiveUp);
        }
        let stale = failure(FailureKind::Stale);
        assert_eq!(next(&transport, &stale, 1, ms(0)), Next::AtOnce);
    }

    #[test]
    fn async_stays_within_its_budget() {
        let transport = Transport { call: ms(100), ..Transport::default() };
        let status = failure(FailureKind::Status(500));
        assert_eq!(next(&transport, &status, 2, ms(91)), Next::After(ms(8)));
        assert_eq!(next(&transport, &status, 2, ms(92)), Next::GiveUp);
        assert_eq!(next(&transport, &status, 1, ms(99)), Next::GiveUp);
        assert_eq!(next(&transport, &status, 4_000_000_000, ms(0)), Next::GiveUp);
    }

    #[test]
    fn okhttp_takes_most_statuses_as_final() {
        let transport = Transport::okhttp();
        for status in [408, 409, 420, 429, 499, 500, 503, 599] {
            let kind = FailureKind::Status(status);
            assert_eq!(next(&transport, &failure(kind), 1, ms(0)), Next::After(ms(10)), "{status}");
        }
        for status in [301, 400, 401, 404, 405, 415] {
            let kind = FailureKind::Status(status);
            assert_eq!(next(&transport, &failure(kind), 1, ms(0)), Next::GiveUp, "{status}");
        }
        assert_eq!(next(&transport, &failure(FailureKind::Answer), 1, ms(0)), Next::GiveUp);
    }

    #[test]
    fn okhttp_tries_timeouts_again_until_call_has_passed() {
        let transport = Transport::okhttp();
        let timeout = failure(FailureKind::Timeout);
        assert_eq!(next(&transport, &timeout, 3, ms(0)), Next::After(ms(40)));
        assert_eq!(next(&transport, &timeout, 20, ms(59_000)), Next::After(ms(1_000)));
        assert_eq!(next(&transport, &timeout, 1, ms(60_000)), Next::GiveUp);
    }

    #[test]
    fn an_endpoint_that_asks_for_a_pause_gets_it() {
        let transport = Transport::default();
        let mut busy = failure(FailureKind::Status(503));
        busy.retry_after = Some(ms(5_000));
        assert_eq!(next(&transport, &busy, 1, ms(0)), Next::After(ms(5_000)));
        busy.retry_after = Some(ms(3_600_000));
        assert_eq!(next(&transport, &busy, 1, ms(0)), Next::GiveUp);
    }
}
