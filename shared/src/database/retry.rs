//! Another attempt, where it may fare better than the last.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::{Instant, sleep, timeout_at};

use super::error::ConnectError;
use crate::deadlines;
use crate::error::Cause;

/// The end of a step that has a limit of its own, within that of the whole.
pub(super) fn until(deadline: Instant, limit: Duration) -> Instant {
    deadline.min(Instant::now() + limit)
}

/// The pauses between attempts, without an end: each longer than the last, and no two instances' alike.
pub(super) fn pauses() -> impl Iterator<Item = Duration> + Send {
    let (shortest, longest) = deadlines::PAUSES;
    ExponentialBuilder::new()
        .with_min_delay(shortest)
        .with_max_delay(longest)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Makes one attempt after the other until one succeeds, or fails for good, or `time` is over. Each that may fare better
/// the next time is told to `failed`.
///
/// # Errors
/// That of the last attempt.
pub(super) async fn persist<T, F>(
    time: Duration,
    attempt: impl Fn() -> F,
    failed: impl Fn(&Cause),
) -> Result<T, ConnectError>
where
    F: Future<Output = Result<T, ConnectError>>,
{
    let deadline = Instant::now() + time;
    let mut pauses = pauses();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let cause = match timeout_at(until(deadline, deadlines::ATTEMPT), attempt()).await {
            Ok(Err(ConnectError::Transient(cause))) => cause,
            Ok(done) => return done,
            Err(_) => Cause::new(format!(
                "could not connect: no answer in {:?}",
                deadlines::ATTEMPT
            )),
        };
        failed(&cause);
        match pauses.next() {
            Some(pause) if Instant::now() + pause < deadline => sleep(pause).await,
            _ => {
                return Err(ConnectError::Transient(Cause::new(format!(
                    "{cause} ({attempts} attempts in {time:?})"
                ))));
            }
        }
    }
}
