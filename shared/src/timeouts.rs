//! How long each step of a request may take: every timeout of the functions, with its reason.
//!
//! They are nested. API Gateway waits 30 s for an answer, and Lambda gives a function [`FUNCTION`]. Within that, a request
//! takes at most [`REQUEST`]. Each of its statements takes at most `QUERY_TOTAL` and then `CANCEL`, and all
//! of them together leave `REPLY` of the request. Within `QUERY_TOTAL`, getting a connection takes at most `ACQUIRE`, of
//! which making a new one takes `CONNECT`, and the statement itself takes `STATEMENT`.

use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

/// What Lambda gives a function for a request (`Timeout` in template.yaml).
pub const FUNCTION: Duration = Duration::from_secs(25);

/// A whole request. It leaves time for a 503 before Lambda would end the process.
pub const REQUEST: Duration = Duration::from_secs(23);

/// A statement with all that belongs to it: getting a connection, and doing both again where that is safe.
pub(crate) const QUERY_TOTAL: Duration = Duration::from_millis(10_500);

/// Getting a connection: a new one, or the one that another task of the instance is making.
pub(crate) const ACQUIRE: Duration = Duration::from_millis(5_500);

/// Making a connection, in as many attempts as fit. A suspended compute wakes in a few hundred milliseconds; one that is
/// moved or restarts takes a few seconds.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// One attempt to connect: name, TCP, TLS, authentication and the schema's version. It leaves time for a second attempt,
/// which may reach another node of the host where the first one is unresponsive.
pub(crate) const CONNECT_ATTEMPT: Duration = Duration::from_millis(2_500);

/// TCP with one of the host's addresses. Neon's hosts have several.
pub(crate) const TCP_CONNECT: Duration = Duration::from_secs(1);

/// How long a connection may be idle, by the wall clock, before it is health-checked. Whatever drops idle connections (a
/// suspended compute, a NAT gateway) waits for minutes; a busy instance is never idle for this long.
pub(crate) const IDLE_BEFORE_HEALTH_CHECK: Duration = Duration::from_secs(5);

/// A health check. The database is a few milliseconds away, at worst a few hundred.
pub(crate) const HEALTH_CHECK: Duration = Duration::from_secs(1);

/// One statement and its answer.
pub(crate) const STATEMENT: Duration = Duration::from_secs(5);

/// Having the server cancel a statement, and hearing that the statement has ended.
pub(crate) const CANCEL: Duration = Duration::from_secs(1);

/// What the last statement leaves of a request's time, after its cancellation, for the answer.
const REPLY: Duration = Duration::from_millis(500);

/// How long a permanent error of the preconnect is kept for the request that it was made for, so that one request shows
/// a wrong password only once.
pub(crate) const CONNECT_ERROR_TTL: Duration = Duration::from_secs(1);

/// The shortest and the longest pause before another attempt. Up to the same time again is added at random, so that
/// instances that one fault has stopped do not all come back at the same moment.
pub(crate) const BACKOFF: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_millis(400));

/// How long an attempt to log in may wait for the result of those that are being verified (`undecided` in
/// `sql/V2__rate_limits.sql`), and the pause before it asks again. Verifying a password takes tens of milliseconds.
pub(crate) const ADMISSION: Duration = Duration::from_secs(10);
pub(crate) const BEFORE_READMISSION: Duration = Duration::from_millis(150);

tokio::task_local! {
    static REQUEST_DEADLINE: Instant;
}

/// Answers a request within [`REQUEST`].
///
/// # Errors
/// [`Elapsed`]. It never interrupts a statement: statements end earlier, see [`query_deadline`].
pub(crate) async fn within_request<T>(answer: impl Future<Output = T>) -> Result<T, Elapsed> {
    let deadline = Instant::now() + REQUEST;
    REQUEST_DEADLINE
        .scope(deadline, timeout_at(deadline, answer))
        .await
}

/// By when a statement that starts now has to be answered. Within a request, this leaves time to cancel the statement: a
/// future that is dropped cannot wait for a cancellation.
pub(crate) fn query_deadline() -> Instant {
    let deadline = Instant::now() + QUERY_TOTAL;
    let latest = REQUEST_DEADLINE.try_with(|request| *request - CANCEL - REPLY);
    latest.map_or(deadline, |latest| latest.min(deadline))
}

const _: () = {
    // API Gateway's maximum integration timeout (AWS, "Quotas for HTTP APIs").
    assert!(FUNCTION.as_millis() < 30_000);
    assert!(REQUEST.as_millis() + 1_000 < FUNCTION.as_millis());
    assert!(
        2 * QUERY_TOTAL.as_millis() + CANCEL.as_millis() + REPLY.as_millis() <= REQUEST.as_millis()
    );
    assert!(ACQUIRE.as_millis() + STATEMENT.as_millis() <= QUERY_TOTAL.as_millis());
    assert!(CONNECT.as_millis() < ACQUIRE.as_millis());
    assert!(2 * CONNECT_ATTEMPT.as_millis() <= CONNECT.as_millis());
    assert!(2 * TCP_CONNECT.as_millis() < CONNECT_ATTEMPT.as_millis());
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_has_the_same_function_timeout() {
        let template = include_str!("../../template.yaml");
        let globals = template.split_once("\nGlobals:").expect("settings").1;
        let timeout = globals.split_once(" Timeout: ").expect("a timeout").1;
        let timeout = timeout.split_whitespace().next().expect("a number");
        assert_eq!(timeout.parse(), Ok(FUNCTION.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_outlasts_its_statements_and_their_cancellation() {
        let started = Instant::now();
        let calls = within_request(async {
            let mut calls = Vec::new();
            for _ in 0..3 {
                calls.push(query_deadline());
                tokio::time::sleep_until(query_deadline() + CANCEL).await;
            }
            calls
        });
        let calls = calls.await.expect("the request has time left");
        assert_eq!(calls[0], started + QUERY_TOTAL);
        assert_eq!(calls[2], started + REQUEST - CANCEL - REPLY);
        assert_eq!(query_deadline(), Instant::now() + QUERY_TOTAL);
    }
}
