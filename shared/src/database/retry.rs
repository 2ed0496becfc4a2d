//! Trying again, where the next attempt may succeed.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::{Instant, sleep, timeout_at};

use super::connect_error::ConnectError;
use crate::cause::Cause;
use crate::timeouts;

/// The deadline of a step: its own limit, but no later than the deadline of the whole.
pub(super) fn cap(deadline: Instant, limit: Duration) -> Instant {
    deadline.min(Instant::now() + limit)
}

/// The pauses between attempts, without an end: each is longer than the one before, with jitter.
pub(super) fn backoff() -> impl Iterator<Item = Duration> + Send {
    let (shortest, longest) = timeouts::BACKOFF;
    ExponentialBuilder::new()
        .with_min_delay(shortest)
        .with_max_delay(longest)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Attempts to connect until an attempt succeeds, or fails permanently, or `time` is over. `on_failure` is called with the
/// cause of each failure that is not permanent.
///
/// # Errors
/// That of the last attempt.
pub async fn retry_with_backoff<T, F>(
    time: Duration,
    attempt: impl Fn() -> F,
    on_failure: impl Fn(&Cause),
) -> Result<T, ConnectError>
where
    F: Future<Output = Result<T, ConnectError>>,
{
    let deadline = Instant::now() + time;
    let mut backoff = backoff();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let cause = match timeout_at(cap(deadline, timeouts::CONNECT_ATTEMPT), attempt()).await {
            Ok(Err(ConnectError::Transient(cause))) => cause,
            Ok(result) => return result,
            Err(_) => Cause::new(format!(
                "could not connect: no answer in {:?}",
                timeouts::CONNECT_ATTEMPT
            )),
        };
        on_failure(&cause);
        match backoff.next() {
            Some(pause) if Instant::now() + pause < deadline => sleep(pause).await,
            _ => {
                return Err(ConnectError::Transient(Cause::new(format!(
                    "{cause} ({attempts} attempts in {time:?})"
                ))));
            }
        }
    }
}
