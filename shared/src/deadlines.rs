//! How long each step towards an answer may take: every deadline of the project, and why.
//!
//! They lie inside each other. API Gateway waits 30 s for an answer, and Lambda gives a function [`FUNCTION`]. Within
//! that, a request takes at most [`REQUEST`]; each of its statements, of which there are one to three, at most `CALL` and
//! then `CANCEL`, and together no more than leaves `LAST_WORDS` of the request; and in a call, getting a connection takes
//! at most `ACQUIRE`, of which making a new one takes `CONNECT`, and the statement itself `STATEMENT`.

use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

/// What Lambda gives a function for a request (`Timeout` in template.yaml).
pub const FUNCTION: Duration = Duration::from_secs(25);

/// A request, whatever it does: it leaves the time to say so before Lambda would end the process.
pub const REQUEST: Duration = Duration::from_secs(23);

/// A statement with all that belongs to it: getting a connection, and doing both again where that is safe.
pub(crate) const CALL: Duration = Duration::from_millis(10_500);

/// Getting a connection, be it a new one or the one that another task of the instance is making.
pub(crate) const ACQUIRE: Duration = Duration::from_millis(5_500);

/// Making a connection, in as many attempts as there is time for. A suspended compute wakes in a few hundred
/// milliseconds, one that is moved or restarts in a few seconds.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// One attempt at it: name, TCP, TLS, authentication and the schema's version. Short enough for a second one, which
/// may meet another node of the host, where the first has met one that says nothing.
pub(crate) const ATTEMPT: Duration = Duration::from_millis(2_500);

/// TCP with one of a host's addresses, of which Neon's have several.
pub(crate) const ADDRESS: Duration = Duration::from_secs(1);

/// How long a connection is trusted after it was last heard, by the wall clock. What drops idle connections (a
/// suspended compute, a NAT gateway) takes minutes to do so; a busy instance asks more often than this.
pub(crate) const TRUST: Duration = Duration::from_secs(5);

/// The first answer of a connection that is no longer trusted. The database is a few milliseconds away, a few hundred
/// at worst.
pub(crate) const PROOF: Duration = Duration::from_secs(1);

/// One statement and its answer.
pub(crate) const STATEMENT: Duration = Duration::from_secs(5);

/// Asking the server to cancel a statement.
pub(crate) const CANCEL: Duration = Duration::from_secs(1);

/// How long the request that connecting was ahead of may take to come, and be answered by its refusal: a wrong password
/// is not shown twice for one request.
pub(crate) const REFUSAL: Duration = Duration::from_secs(1);

/// The shortest and the longest pause before another attempt. Up to as much again is added at random, so that the
/// instances that a fault has stopped do not all come back at once.
pub(crate) const PAUSES: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_millis(400));

/// Making the connection of the migrations, which have no user waiting for them.
pub(crate) const MIGRATION_CONNECT: Duration = Duration::from_secs(15);

/// Waiting for another run of the migrations to finish.
pub(crate) const MIGRATION_LOCK: Duration = Duration::from_mins(1);

/// A migration's wait for a table that another session uses. Meanwhile everyone else waits behind the migration.
pub(crate) const TABLE_LOCK: Duration = Duration::from_secs(10);

/// What is left of a request for its answer, once its last statement was given up and cancelled.
const LAST_WORDS: Duration = Duration::from_millis(500);

tokio::task_local! {
    static REQUEST_ENDS: Instant;
}

/// Answers a request within its time.
///
/// # Errors
/// [`Elapsed`], which never ends a statement: those of the request end before, see [`of_call`].
pub(crate) async fn in_request<T>(answer: impl Future<Output = T>) -> Result<T, Elapsed> {
    let end = Instant::now() + REQUEST;
    REQUEST_ENDS.scope(end, timeout_at(end, answer)).await
}

/// When a statement that is asked for now has to have its answer. In a request, the cancellation of a statement fits into
/// what is left of it: a future that is dropped could not wait for that.
pub(crate) fn of_call() -> Instant {
    let end = Instant::now() + CALL;
    let in_request = REQUEST_ENDS.try_with(|request| *request - CANCEL - LAST_WORDS);
    in_request.map_or(end, |latest| latest.min(end))
}

const _: () = {
    assert!(REQUEST.as_millis() + 1_000 < FUNCTION.as_millis());
    // API Gateway's limit (AWS, "Quotas for HTTP APIs": maximum integration timeout).
    assert!(FUNCTION.as_millis() < 30_000);
    assert!(
        2 * CALL.as_millis() + CANCEL.as_millis() + LAST_WORDS.as_millis() <= REQUEST.as_millis()
    );
    assert!(ACQUIRE.as_millis() + STATEMENT.as_millis() <= CALL.as_millis());
    assert!(CONNECT.as_millis() < ACQUIRE.as_millis());
    assert!(2 * ATTEMPT.as_millis() <= CONNECT.as_millis());
    assert!(2 * ADDRESS.as_millis() < ATTEMPT.as_millis());
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_gives_a_function_this_long() {
        let template = include_str!("../../template.yaml");
        let globals = template.split_once("\nGlobals:").expect("settings").1;
        let timeout = globals.split_once(" Timeout: ").expect("a timeout").1;
        let timeout = timeout.split_whitespace().next().expect("a number");
        assert_eq!(timeout.parse(), Ok(FUNCTION.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn every_statement_of_a_request_ends_and_is_cancelled_before_the_request() {
        let started = Instant::now();
        let calls = in_request(async {
            let mut calls = Vec::new();
            for _ in 0..3 {
                calls.push(of_call());
                tokio::time::sleep_until(of_call() + CANCEL).await;
            }
            calls
        });
        let calls = calls.await.expect("the request has time left");
        assert_eq!(calls[0], started + CALL);
        assert_eq!(calls[2], started + REQUEST - CANCEL - LAST_WORDS);
        assert_eq!(of_call(), Instant::now() + CALL);
    }
}
