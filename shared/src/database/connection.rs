//! The life of a connection.
//!
//! ```text
//!            first statement            answered          idle for IDLE_BEFORE_HEALTH_CHECK
//!   ┌──────┐               ┌────────────┐       ┌─────────┐                      ┌────────────┐
//!   │ none │ ────────────▶ │ connecting │ ────▶ │ healthy │ ───────────────────▶ │ unverified │
//!   └──────┘               └────────────┘       └─────────┘ ◀─────────────────── └────────────┘
//!      ▲   permanent error,   │     ▲ backoff        │      answers within HEALTH_CHECK │
//!      │   or CONNECT is over │     └──┘             │ closed, lost or given up         │ closed or unresponsive
//!      └──────────────────────┴──────────────────────┴──────────────────────────────────┘
//! ```
//!
//! An instance is frozen between requests. Meanwhile Neon suspends computes, and networks drop connections. A connection
//! that the other side has closed can be recognised: its socket says so as soon as the reactor has run. A connection that
//! has become unresponsive can be recognised only by asking. So a connection counts as healthy for
//! [`IDLE_BEFORE_HEALTH_CHECK`](timeouts::IDLE_BEFORE_HEALTH_CHECK) after its last answer, by the wall clock, since other
//! clocks may stand still while a process is frozen. After that it has to answer within
//! [`HEALTH_CHECK`](timeouts::HEALTH_CHECK) to an empty query. A read goes out together with it, in one round trip; a write
//! waits for its answer, since a write whose answer is lost cannot be sent again. For the same reason a write on a healthy
//! connection waits until the reactor has looked at the socket.
//!
//! A connection that fails is closed, never repaired; after a statement that was rolled back because of other transactions
//! it goes on. The statement is sent again on a new connection where that is safe:
//!
//! | what happened | read | idempotent write | write |
//! |---|---|---|---|
//! | the connection was closed before the statement was sent | once more | once more | once more |
//! | the server ended the session instead of starting the statement | once more | once more | once more |
//! | the server or the pooler had no free connection | until [`QUERY_TOTAL`](timeouts::QUERY_TOTAL) is over | the same | the same |
//! | the server rolled the statement back because of other transactions | until [`QUERY_TOTAL`](timeouts::QUERY_TOTAL) is over | the same | the same |
//! | the connection was lost after the statement was sent | once more | once more | no: it may have been executed |
//! | an unverified connection did not answer within [`HEALTH_CHECK`](timeouts::HEALTH_CHECK) | once more | once more | once more |
//! | no answer within [`STATEMENT`](timeouts::STATEMENT) | cancelled | cancelled | cancelled |
//! | the statement did not end within [`CANCEL`](timeouts::CANCEL) after that | no | no | no: it may still be executed |
//!
//! Creating a task is an idempotent write, because each creation has a key. To update, toggle and delete are writes: a second
//! toggle would undo the first, a second update could overwrite what another client wrote in between, and a second deletion
//! would find nothing and answer 404. Their repetition belongs to the client, whose `If-Match` tells whether the first attempt
//! was done.
//!
//! A statement that is not sent again ends as [`Error::Unavailable`], which does not say whether it was executed.

use std::pin::{Pin, pin};
use std::time::{Duration, SystemTime};

use deadpool::managed::Object;
use deadpool_postgres::ClientWrapper;
use futures_util::TryStreamExt as _;
use futures_util::future::{Either, select};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::{Row, RowStream};

use super::error::{Error, Failure};
use super::manager::{Connection, Manager};
use super::retry::cap;
use super::statement::{Effect, Parameters, Statement};
use crate::cause::Cause;
use crate::telemetry::context;
use crate::timeouts;

/// A connection for one statement. Unless it is [released](Self::release) it is closed when it is dropped, so that no answer
/// to this statement can meet the next one.
pub(super) struct PooledConnection(Option<Object<Manager>>);

impl Drop for PooledConnection {
    fn drop(&mut self) {
        drop(self.0.take().map(Object::take));
    }
}

impl PooledConnection {
    /// A connection from the pool.
    pub(super) fn new(object: Object<Manager>) -> Self {
        Self(Some(object))
    }

    /// Runs a statement and reads its rows as they arrive. `None` where they are more than `max_bytes`, as the server sends
    /// them.
    ///
    /// # Errors
    /// [`Failure`], which says whether the statement may be sent again.
    pub(super) async fn run<T: Send>(
        self,
        statement: &Statement,
        parameters: &Parameters<'_>,
        max_bytes: usize,
        from_row: fn(&Row) -> T,
        deadline: Instant,
    ) -> Result<Option<Vec<T>>, Failure> {
        let deadline = cap(deadline, timeouts::STATEMENT);
        let is_unverified = self.needs_health_check();
        match statement.effect {
            Effect::Read => {}
            _ if is_unverified => {
                context::count_round_trip(self.age());
                self.health_check(deadline).await?;
            }
            Effect::Write if self.is_closed().await => {
                return Err(Failure::NotExecuted(Cause::new(
                    "the connection was closed",
                )));
            }
            Effect::Write | Effect::IdempotentWrite => {}
        }
        if Instant::now() >= deadline {
            return Err(Failure::Fatal(Error::Unavailable(Cause::new(
                "there was no time left for a statement",
            ))));
        }

        context::count_round_trip(self.age());
        let answer = self.send(statement, parameters, max_bytes, from_row);
        let answer = if is_unverified && matches!(statement.effect, Effect::Read) {
            self.receive_checked(answer, deadline).await
        } else {
            self.receive(pin!(answer), deadline).await
        };
        // Where rows are left unread, the connection is closed.
        if matches!(answer, Ok(Some(_)) | Err(Failure::RolledBack(_))) {
            self.release_healthy();
        }
        answer
    }

    async fn send<T: Send>(
        &self,
        statement: &Statement,
        parameters: &Parameters<'_>,
        max_bytes: usize,
        from_row: fn(&Row) -> T,
    ) -> Result<Option<Vec<T>>, Failure> {
        let parameters = parameters
            .iter()
            .map(|(value, kind)| (*value, kind.clone()));
        let rows = self.client().query_typed_raw(statement.sql, parameters);
        let rows = rows.await.map_err(Failure::from_first_answer)?;
        read_rows(rows, max_bytes, from_row).await
    }

    /// Waits for the answer of a statement, and for that of a health check, which is sent ahead of it in the same round trip.
    async fn receive_checked<T>(
        &self,
        answer: impl Future<Output = Result<T, Failure>>,
        deadline: Instant,
    ) -> Result<T, Failure> {
        let answer = pin!(answer);
        let health_check = pin!(self.health_check(deadline));
        match select(health_check, answer).await {
            Either::Left((checked, answer)) => {
                checked?;
                self.receive(answer, deadline).await
            }
            Either::Right((answer, _)) => answer,
        }
    }

    async fn receive<T>(
        &self,
        mut answer: Pin<&mut impl Future<Output = Result<T, Failure>>>,
        deadline: Instant,
    ) -> Result<T, Failure> {
        match timeout_at(deadline, answer.as_mut()).await {
            Ok(answer) => answer,
            Err(_) => self.cancel(answer).await,
        }
    }

    /// Has the server cancel a statement, which would otherwise go on and hold its locks, and waits until the statement has
    /// ended. Returns the result of a statement that finished before it was cancelled.
    ///
    /// The connection has to stay open meanwhile. Neon's proxy answers a cancel request at once and forwards it a few
    /// milliseconds later; a pooler whose client has disconnected by then no longer knows which statement is meant.
    async fn cancel<T>(
        &self,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let cancelled = async {
            let tls = Object::pool(self.object())?.manager().tls.clone();
            self.client().cancel_token().cancel_query(tls).await.ok()?;
            Some(answer.await)
        };
        let outcome = match timeout(timeouts::CANCEL, cancelled).await {
            Ok(Some(Ok(result))) => return Ok(result),
            Ok(Some(Err(Failure::Fatal(
                error @ (Error::Fault(_) | Error::ForeignKeyViolation(_)),
            )))) => return Err(Failure::Fatal(error)),
            Ok(Some(Err(
                Failure::Fatal(Error::Unavailable(_))
                | Failure::NotExecuted(_)
                | Failure::RolledBack(_)
                | Failure::ServerBusy(_),
            ))) => "it was cancelled",
            Ok(Some(Err(Failure::ConnectionLost(_))) | None) | Err(_) => {
                "it could not be cancelled, and may still be done"
            }
        };
        Err(Failure::Fatal(Error::Unavailable(Cause::new(format!(
            "no answer to a statement in time ({:?} at most); {outcome}",
            timeouts::STATEMENT
        )))))
    }

    /// Returns an unused connection to the pool.
    pub(super) fn release(mut self) {
        drop(self.0.take());
    }

    /// Returns a connection to the pool that has just answered.
    fn release_healthy(mut self) {
        if let Some(mut object) = self.0.take() {
            object.last_used = SystemTime::now();
        }
    }

    fn object(&self) -> &Object<Manager> {
        self.0
            .as_ref()
            .expect("it is taken only when it is released")
    }

    fn connection(&self) -> &Connection {
        self.object()
    }

    fn client(&self) -> &ClientWrapper {
        &self.connection().client
    }

    fn age(&self) -> Duration {
        Object::metrics(self.object()).age()
    }

    fn needs_health_check(&self) -> bool {
        // A clock that was set back says nothing.
        !self
            .connection()
            .last_used
            .elapsed()
            .is_ok_and(|idle| idle < timeouts::IDLE_BEFORE_HEALTH_CHECK)
    }

    /// Whether the socket says that the connection was closed. This takes no round trip: the reactor looks at the socket,
    /// and then the task that reads from it can see the end.
    async fn is_closed(&self) -> bool {
        yield_now().await;
        yield_now().await;
        self.client().is_closed()
    }

    /// Sends an empty query. A pooler forwards it to a server.
    async fn health_check(&self, deadline: Instant) -> Result<(), Failure> {
        let until = cap(deadline, timeouts::HEALTH_CHECK);
        match timeout_at(until, self.client().simple_query("")).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failure::from_unsent(error)),
            Err(_) => Err(Failure::NotExecuted(unresponsive())),
        }
    }
}

/// Reads rows as they arrive. `None` where they are more than `max_bytes`.
pub(super) async fn read_rows<T: Send>(
    rows: RowStream,
    max_bytes: usize,
    from_row: fn(&Row) -> T,
) -> Result<Option<Vec<T>>, Failure> {
    let mut stream = pin!(rows.map_err(Failure::from_later_answer));
    let mut rows = Vec::new();
    let mut bytes = 0_usize;
    // The end of the rows is also the end of the transaction.
    while let Some(row) = stream.try_next().await? {
        bytes = bytes.saturating_add(row.raw_size_bytes());
        if bytes > max_bytes {
            return Ok(None);
        }
        rows.push(from_row(&row));
    }
    Ok(Some(rows))
}

fn unresponsive() -> Cause {
    Cause::new(format!(
        "an idle connection did not answer within {:?}",
        timeouts::HEALTH_CHECK
    ))
}
