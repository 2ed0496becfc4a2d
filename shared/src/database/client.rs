//! Running statements, and sending them again where that is safe.

use std::sync::Arc;

use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Row};
use tracing::warn;

use super::error::{Error, Failure};
use super::pool::Pool;
use super::retry;
use super::schema_version::require_current;
use super::session;
use super::statement::{Effect, Parameters, Statement};
use super::url::DatabaseUrl;
use crate::cause::Cause;
use crate::telemetry::context::{self, DatabaseTimer};
use crate::timeouts;

// `transaction_read_only` is on where default_transaction_read_only is, and on a read replica.
const SELECT_HEALTH: Statement = Statement::read(
    "
    SELECT coalesce(max(version), 0)::integer, current_setting('transaction_read_only')::boolean
    FROM public.refinery_schema_history",
);

/// The database that the functions work on.
#[derive(Debug)]
pub struct Database {
    source: Source,
}

/// Where the sessions come from that run the statements.
#[derive(Debug)]
enum Source {
    Pool(Pool),
    Session(Arc<Client>),
}

impl Database {
    /// A database. The first statement connects to it.
    ///
    /// `max_connections` is the number of requests that this instance may get at once: an instance that serves one request
    /// at a time needs one connection.
    pub fn new(url: DatabaseUrl, max_connections: usize) -> Self {
        Self {
            source: Source::Pool(Pool::new(url, max_connections)),
        }
    }

    /// A database that is one session, which the caller has opened. All statements run in it, and so in the caller's
    /// transaction. None is sent again, and none has a timeout but the session's own.
    pub fn in_session(client: Arc<Client>) -> Self {
        Self {
            source: Source::Session(client),
        }
    }

    /// Connects ahead of the first statement. Where that fails, the statement connects, and reports its own error.
    pub async fn warm_up(&self) {
        if let Source::Pool(pool) = &self.source {
            pool.preconnect().await;
        }
    }

    /// Connects where there is no connection.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn connect(&self) -> Result<(), Error> {
        if let Source::Pool(pool) = &self.source {
            let acquired = pool.acquire(timeouts::query_deadline());
            acquired.await?.release();
        }
        Ok(())
    }

    /// Checks that the database answers, that it accepts writes, and that its schema is not behind this build. Returns the
    /// schema's version.
    ///
    /// # Errors
    /// [`Error::Unavailable`] otherwise.
    pub async fn check_health(&self) -> Result<i32, Error> {
        let (version, is_read_only) = self
            .query_one(&SELECT_HEALTH, &[], |row| (row.get(0), row.get(1)))
            .await?;
        if is_read_only {
            return Err(Error::read_only());
        }
        require_current(version).map_err(Error::Unavailable)
    }

    /// Runs a statement that returns at most one row.
    ///
    /// # Errors
    /// [`Error`]; more than one row is a fault.
    pub async fn query_opt<T: Send>(
        &self,
        statement: &Statement,
        parameters: &Parameters<'_>,
        from_row: fn(&Row) -> T,
    ) -> Result<Option<T>, Error> {
        let mut rows = self
            .query(statement, parameters, usize::MAX, from_row)
            .await?
            .unwrap_or_default();
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            count => Err(Error::Fault(Cause::new(format!(
                "{count} rows where one was expected"
            )))),
        }
    }

    /// Runs a statement that always returns one row.
    ///
    /// # Errors
    /// [`Error`]; any other number of rows is a fault.
    pub async fn query_one<T: Send>(
        &self,
        statement: &Statement,
        parameters: &Parameters<'_>,
        from_row: fn(&Row) -> T,
    ) -> Result<T, Error> {
        let row = self.query_opt(statement, parameters, from_row).await?;
        row.ok_or_else(|| Error::Fault(Cause::new("no row where one was expected")))
    }

    /// Runs a statement and reads its rows as they arrive. `None` where they are more than `max_bytes`, as the server sends
    /// them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn query<T: Send>(
        &self,
        statement: &Statement,
        parameters: &Parameters<'_>,
        max_bytes: usize,
        from_row: fn(&Row) -> T,
    ) -> Result<Option<Vec<T>>, Error> {
        let pool = match &self.source {
            Source::Pool(pool) => pool,
            Source::Session(client) => {
                return session::run(client, statement, parameters, max_bytes, from_row).await;
            }
        };
        let _timer = DatabaseTimer::start();
        let deadline = timeouts::query_deadline();
        let mut backoff = retry::backoff();
        let mut was_sent_again = false;
        loop {
            let connection = pool.acquire(deadline).await?;
            let answer = connection.run(statement, parameters, max_bytes, from_row, deadline);
            let (cause, may_be_sent_again, may_have_been_executed) = match answer.await {
                Ok(rows) => return Ok(rows),
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::ServerBusy(cause) | Failure::RolledBack(cause)) => {
                    match backoff.next() {
                        Some(pause) if Instant::now() + pause < deadline => {
                            sleep(pause).await;
                            context::count_retry();
                            continue;
                        }
                        _ => (cause, false, false),
                    }
                }
                Err(Failure::NotExecuted(cause)) => (cause, true, false),
                Err(Failure::ConnectionLost(cause)) => {
                    (cause, statement.effect != Effect::Write, true)
                }
            };
            if was_sent_again || !may_be_sent_again {
                return Err(Error::Unavailable(cause));
            }
            warn!(
                request_id = context::request_id(),
                %cause,
                may_have_been_executed,
                "sending a statement again, on a new connection"
            );
            context::count_retry();
            was_sent_again = true;
            pool.drop_idle();
        }
    }
}
