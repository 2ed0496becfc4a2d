//! What is noted of a request while it is being answered, and the one line that the log has of it in the end.
//!
//! | field | |
//! |---|---|
//! | `request_id` | Lambda's, and the header `X-Request-Id` of the answer |
//! | `trace_id`, `traceparent` | the trace that the request is a part of: X-Ray's, and that of the W3C header |
//! | `route` | method and path, with the names of the parameters |
//! | `status`, `duration_ms` | of the answer |
//! | `database_ms` | the time spent with the database, waiting for a connection included |
//! | `round_trips` | to the database, once connected |
//! | `retries` | how often something was sent to the database again |
//! | `connection_age_s` | how old the connection was |
//! | `cold_start` | whether it was the first request of its process |
//! | `user_id` | who was calling, by the word of a token or a password |
//! | `error`, `cause` | the class of an error, and for 5xx what it came from |
//!
//! Nothing else of a request is ever logged: no body, query or other header, and so no password, token or task. The
//! address of a client stands in the gateway's log alone.

use std::cell::Cell;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lambda_http::http::StatusCode;
use serde::{Serialize, Serializer};
use tracing::{Level, enabled};

use super::metrics::Measured;
use crate::Error;
use crate::http::{Reply, Request};

tokio::task_local! {
    static CURRENT: Record;
}

static IS_WARM: AtomicBool = AtomicBool::new(false);

/// A request, as it is being answered.
pub(crate) struct Record {
    started: Instant,
    cold_start: bool,
    request_id: String,
    trace_id: Option<String>,
    traceparent: Option<String>,
    route: String,
    user_id: Cell<Option<i32>>,
    database: Cell<Duration>,
    round_trips: Cell<u32>,
    retries: Cell<u32>,
    connection_age: Cell<Option<Duration>>,
}

impl Record {
    /// A request that has just come.
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            started: Instant::now(),
            cold_start: !IS_WARM.swap(true, Ordering::Relaxed),
            request_id: request.id().to_owned(),
            trace_id: request.trace_id().map(str::to_owned),
            traceparent: request.traceparent().map(str::to_owned),
            route: request.route(),
            user_id: Cell::default(),
            database: Cell::default(),
            round_trips: Cell::default(),
            retries: Cell::default(),
            connection_age: Cell::default(),
        }
    }

    /// Has what the making of the answer does noted here, logs it, and gives the reply, under the id by which the log
    /// has it.
    pub(crate) async fn keep(self, answer: impl Future<Output = Result<Reply, Error>>) -> Reply {
        let work = async {
            let (reply, error) = match answer.await {
                Ok(reply) => (reply, None),
                Err(error) => (Reply::error(&error), Some(error)),
            };
            CURRENT.with(|record| {
                record.log(reply.status(), error.as_ref());
                reply.with_request_id(&record.request_id)
            })
        };
        CURRENT.scope(self, work).await
    }

    fn log(&self, status: StatusCode, error: Option<&Error>) {
        let is_fault = status.is_server_error();
        if !is_fault && !enabled!(Level::INFO) {
            return;
        }
        let line = Line {
            timestamp: Timestamp::now(),
            level: if is_fault { "ERROR" } else { "INFO" },
            message: "answered",
            request_id: &self.request_id,
            trace_id: self.trace_id.as_deref(),
            traceparent: self.traceparent.as_deref(),
            route: &self.route,
            status: status.as_u16(),
            duration_ms: milliseconds(self.started.elapsed()),
            database_ms: milliseconds(self.database.get()),
            round_trips: self.round_trips.get(),
            retries: self.retries.get(),
            connection_age_s: self.connection_age.get().map(|age| age.as_secs()),
            cold_start: self.cold_start,
            user_id: self.user_id.get(),
            error: error.map(Error::class),
            cause: error.and_then(Error::cause).map(ToString::to_string),
        };
        let text = if super::is_for_people() {
            line.for_people()
        } else {
            line.json()
        };
        // One write, so that the lines of requests served at once do not mix. There is no one to tell of an error.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
}

/// To the microsecond.
pub(super) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

/// Notes who is calling.
pub(crate) fn called_by(user_id: i32) {
    note(|record| record.user_id.set(Some(user_id)));
}

/// Notes a round trip to the database, on a connection of this age.
pub(crate) fn round_trip(connection_age: Duration) {
    note(|record| {
        record.round_trips.update(|count| count + 1);
        record.connection_age.set(Some(connection_age));
    });
}

/// The id of the request that is being answered, for what else the log says meanwhile.
pub(crate) fn id() -> Option<String> {
    CURRENT.try_with(|record| record.request_id.clone()).ok()
}

/// Notes that something is sent to the database again.
pub(crate) fn retry() {
    note(|record| record.retries.update(|count| count + 1));
}

/// Notes how long it lives as time spent with the database.
pub(crate) struct DatabaseTimer(Instant);

impl DatabaseTimer {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Drop for DatabaseTimer {
    fn drop(&mut self) {
        note(|record| record.database.update(|time| time + self.0.elapsed()));
    }
}

/// Outside of a request, as in a job, there is nothing to note it in.
fn note(what: impl FnOnce(&Record)) {
    let _ = CURRENT.try_with(what);
}

/// What the log says of a request, in this order.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    #[serde(serialize_with = "display")]
    pub(super) timestamp: Timestamp,
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
    pub(super) connection_age_s: Option<u64>,
    pub(super) cold_start: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

fn display<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.6}"))
}

impl Line<'_> {
    fn json(&self) -> String {
        let json = match Measured::of(self) {
            Some(measured) => serde_json::to_string(&measured),
            None => serde_json::to_string(self),
        };
        json.unwrap_or_default() + "\n"
    }

    /// For who reads along on a terminal: green for what went well, yellow for a refusal, red for a fault.
    fn for_people(&self) -> String {
        let colour = match self.status {
            ..400 => 32,
            400..500 => 33,
            _ => 31,
        };
        let database = match self.round_trips {
            0 => String::new(),
            count => format!(", {:.1} with the database ({count}×)", self.database_ms),
        };
        let error = [self.error, self.cause.as_deref()]
            .map(|words| words.map(|words| format!(": {words}")));
        let [error, cause] = error.map(Option::unwrap_or_default);
        format!(
            "\x1b[{colour}m{}\x1b[0m {}  {:.1} ms{database}{error}{cause}\n",
            self.status, self.route, self.duration_ms
        )
    }
}
