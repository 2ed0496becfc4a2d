//! The database: one pool for each process, made when it is first needed, and one round trip for each statement.

use tokio::time::{Instant, sleep};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use tracing::warn;

use crate::deadlines;
use crate::error::Cause;
use crate::settings::DatabaseUrl;
use crate::telemetry::{self, request::DatabaseTimer};

mod connection;
mod error;
mod retry;
pub mod schema;
mod tls;

use connection::Connections;
pub use error::Error;
use error::Failure;

/// A statement, and what sending it twice would do: a connection can be lost when the statement has run and its answer
/// has not come.
#[derive(Debug)]
pub struct Statement {
    sql: &'static str,
    effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Effect {
    Read,
    IdempotentWrite,
    Write,
}

impl Statement {
    /// One that changes nothing.
    pub const fn read(sql: &'static str) -> Self {
        let effect = Effect::Read;
        Self { sql, effect }
    }

    /// One that, sent twice, leaves and answers the same as sent once.
    pub const fn idempotent_write(sql: &'static str) -> Self {
        let effect = Effect::IdempotentWrite;
        Self { sql, effect }
    }

    /// Any other, which is never sent again when it may have run.
    pub const fn write(sql: &'static str) -> Self {
        let effect = Effect::Write;
        Self { sql, effect }
    }

    /// Its text.
    pub const fn sql(&self) -> &'static str {
        self.sql
    }
}

/// A statement's parameters, each with its type: with the types known, parse, bind and execute travel together.
pub type Parameters<'a> = [(&'a (dyn ToSql + Sync), Type)];

/// The database that the functions work on.
#[derive(Debug)]
pub struct Database {
    connections: Connections,
}

impl Database {
    /// A database that is connected to when it is first asked.
    ///
    /// `max_connections` is the number of requests that this instance may be given at once: an instance that serves
    /// one at a time needs one connection.
    pub fn new(url: DatabaseUrl, max_connections: usize) -> Self {
        Self {
            connections: Connections::new(url, max_connections),
        }
    }

    /// Connects ahead of the first statement. Where that fails, the statement tries again, and says why it fails too.
    pub async fn warm_up(&self) {
        self.connections.connect_ahead().await;
    }

    /// Sees that there is a connection, and makes one where there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn connect(&self) -> Result<(), Error> {
        let lease = self.connections.lease(deadlines::of_call());
        lease.await?.keep();
        Ok(())
    }

    /// Runs a statement that answers at most one row.
    ///
    /// # Errors
    /// [`Error`]; more than one row is a fault.
    pub async fn row<T: Send>(
        &self,
        statement: &Statement,
        parameters: &Parameters<'_>,
        read: fn(&Row) -> T,
    ) -> Result<Option<T>, Error> {
        let mut rows = self
            .rows(statement, parameters, usize::MAX, read)
            .await?
            .unwrap_or_default();
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            count => Err(Error::Fault(Cause::new(format!(
                "{count} rows where one was expected"
            )))),
        }
    }

    /// Runs a statement that always answers one row.
    ///
    /// # Errors
    /// [`Error`]; any other number of rows is a fault.
    pub async fn only_row<T: Send>(
        &self,
        statement: &Statement,
        parameters: &Parameters<'_>,
        read: fn(&Row) -> T,
    ) -> Result<T, Error> {
        let row = self.row(statement, parameters, read).await?;
        row.ok_or_else(|| Error::Fault(Cause::new("no row where one was expected")))
    }

    /// Runs a statement and reads its rows as they arrive. `None` when they are more than `max_bytes`, as the server
    /// sends them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rows<T: Send>(
        &self,
        statement: &Statement,
        parameters: &Parameters<'_>,
        max_bytes: usize,
        read: fn(&Row) -> T,
    ) -> Result<Option<Vec<T>>, Error> {
        let _timer = DatabaseTimer::start();
        let deadline = deadlines::of_call();
        let mut pauses = retry::pauses();
        let mut was_sent_again = false;
        loop {
            let connection = self.connections.lease(deadline).await?;
            let answer = connection.run(statement, parameters, max_bytes, read, deadline);
            let (cause, may_be_sent_again) = match answer.await {
                Ok(rows) => return Ok(rows),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::NoSlot(cause)) => match pauses.next() {
                    Some(pause) if Instant::now() + pause < deadline => {
                        sleep(pause).await;
                        telemetry::request::retry();
                        continue;
                    }
                    _ => (cause, false),
                },
                Err(Failure::NotRun(cause)) => (cause, true),
                Err(Failure::Lost(cause)) => (cause, statement.effect != Effect::Write),
            };
            if was_sent_again || !may_be_sent_again {
                return Err(Error::Unavailable(cause));
            }
            warn!(
                request_id = telemetry::request::id(),
                %cause,
                "sending a statement again, on a new connection"
            );
            telemetry::request::retry();
            was_sent_again = true;
            self.connections.drop_idle();
        }
    }
}
