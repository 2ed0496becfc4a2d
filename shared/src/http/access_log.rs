//! The access log: one line for each request, once it is answered.
//!
//! | field | |
//! |---|---|
//! | `request_id` | Lambda's request id, which is also the header `X-Request-Id` of the answer |
//! | `trace_id`, `traceparent` | the trace that the request belongs to: X-Ray's, and that of the W3C header |
//! | `route` | method and path, with the names of the parameters |
//! | `status`, `duration_ms` | of the answer |
//! | `database_ms` | time spent on the database, waiting for a connection included |
//! | `round_trips` | to the database, once connected |
//! | `retries` | how often something was sent to the database again |
//! | `connection_age_s` | age of the connection |
//! | `cold_start` | whether this was the first request of its process |
//! | `user_id` | who was calling, as a valid token or a password has told |
//! | `error`, `cause` | the kind of an error, and for 5xx its cause |
//!
//! Nothing else of a request is ever logged: no body, no query and no other header, and so no password, token or task. The
//! client's address is only in the gateway's log.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jiff::Timestamp;
use lambda_http::http::StatusCode;
use serde::{Serialize, Serializer};
use tracing::{Level, enabled};

use super::error::Error;
use super::metrics::{EmfRecord, RequestMetrics};
use super::reply::Reply;
use super::request::Request;
use crate::telemetry::context::{Counters, RequestContext};
use crate::telemetry::{milliseconds, stdout_is_terminal};

static IS_WARM: AtomicBool = AtomicBool::new(false);

/// What the log needs to know of a request before it is answered.
struct Received {
    at: Instant,
    cold_start: bool,
    request_id: String,
    trace_id: Option<String>,
    traceparent: Option<String>,
    route: String,
}

impl Received {
    fn new(request: &Request) -> Self {
        Self {
            at: Instant::now(),
            cold_start: !IS_WARM.swap(true, Ordering::Relaxed),
            request_id: request.id().to_owned(),
            trace_id: request.trace_id().map(str::to_owned),
            traceparent: request.traceparent().map(str::to_owned),
            route: request.route(),
        }
    }
}

/// Answers a request, logs the answer, and adds the id under which it is logged.
pub(super) async fn log_answer<F>(request: Request, answer: impl FnOnce(Request) -> F) -> Reply
where
    F: Future<Output = Result<Reply, Error>>,
{
    let received = Received::new(&request);
    let context = RequestContext::new(&received.request_id);
    let (answer, counters) = context.run(answer(request)).await;
    let (reply, error) = match answer {
        Ok(reply) => (reply, None),
        Err(error) => (Reply::from_error(&error), Some(error)),
    };
    write_entry(&received, counters, reply.status(), error.as_ref());
    reply.with_request_id(&received.request_id)
}

fn write_entry(received: &Received, counters: Counters, status: StatusCode, error: Option<&Error>) {
    let is_fault = status.is_server_error();
    if !is_fault && !enabled!(Level::INFO) {
        return;
    }
    let entry = AccessLogEntry {
        timestamp: Timestamp::now(),
        level: if is_fault { "ERROR" } else { "INFO" },
        message: "answered",
        request_id: &received.request_id,
        trace_id: received.trace_id.as_deref(),
        traceparent: received.traceparent.as_deref(),
        route: &received.route,
        status: status.as_u16(),
        duration_ms: milliseconds(received.at.elapsed()),
        database_ms: milliseconds(counters.database),
        round_trips: counters.round_trips,
        retries: counters.retries,
        connection_age_s: counters.connection_age.map(|age| age.as_secs()),
        cold_start: received.cold_start,
        // Anyone can write a personal token that names a user.
        user_id: counters
            .user_id
            .filter(|_| !matches!(error, Some(Error::InvalidToken))),
        error: error.map(Error::kind),
        cause: error.and_then(Error::cause).map(ToString::to_string),
    };
    let line = if stdout_is_terminal() {
        entry.to_text()
    } else {
        entry.to_json()
    };
    // One write, so that the lines of requests that are served at once do not mix. Nobody could be told of an error.
    let _ = std::io::stdout().write_all(line.as_bytes());
}

/// A line of the log, its fields in this order.
#[derive(Serialize)]
struct AccessLogEntry<'a> {
    #[serde(serialize_with = "serialize_timestamp")]
    timestamp: Timestamp,
    level: &'static str,
    message: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    route: &'a str,
    status: u16,
    duration_ms: f64,
    database_ms: f64,
    round_trips: u32,
    retries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_age_s: Option<u64>,
    cold_start: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

fn serialize_timestamp<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.6}"))
}

impl AccessLogEntry<'_> {
    fn to_json(&self) -> String {
        let metrics = RequestMetrics {
            timestamp: self.timestamp,
            is_cold_start: self.cold_start,
            had_connection: self.connection_age_s.is_some(),
            is_error: self.error.is_some(),
        };
        let json = match EmfRecord::new(self, &metrics) {
            Some(record) => serde_json::to_string(&record),
            None => serde_json::to_string(self),
        };
        json.unwrap_or_default() + "\n"
    }

    /// For a terminal: green for success, yellow for a refusal, red for a fault.
    fn to_text(&self) -> String {
        let colour = match self.status {
            ..400 => 32,
            400..500 => 33,
            _ => 31,
        };
        let database = match self.round_trips {
            0 => String::new(),
            count => format!(
                ", database {:.1} ms in {count} round trips",
                self.database_ms
            ),
        };
        let [error, cause] = [self.error, self.cause.as_deref()]
            .map(|text| text.map(|text| format!(": {text}")).unwrap_or_default());
        format!(
            "\x1b[{colour}m{}\x1b[0m {}  {:.1} ms{database}{error}{cause}\n",
            self.status, self.route, self.duration_ms
        )
    }
}
