//! The database: one pool for each process, made when it is first needed, and one round trip for each statement.

use std::pin::pin;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use futures_util::TryStreamExt as _;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use tracing::{info, warn};

use crate::error::Cause;
use crate::settings::DatabaseUrl;

mod connector;
mod deadlines;
mod error;
pub mod schema;

pub use error::Error;

/// A statement's parameters, each with its type: with the types known, parse, bind and execute travel together.
pub type Parameters<'a> = [(&'a (dyn ToSql + Sync), Type)];

/// The database that the functions work on.
#[derive(Debug)]
pub struct Database {
    url: DatabaseUrl,
    max_connections: usize,
    pool: OnceCell<Pool>,
    /// Filled once the schema has been seen to be one that this build can work with.
    schema: OnceCell<()>,
}

impl Database {
    /// A database that is connected to when it is first asked.
    ///
    /// `max_connections` is the number of requests that this instance may be given at once: an instance that serves
    /// one at a time needs one connection.
    pub fn new(url: DatabaseUrl, max_connections: usize) -> Self {
        Self {
            url,
            max_connections,
            pool: OnceCell::new(),
            schema: OnceCell::new(),
        }
    }

    /// Connects ahead of the first statement. A failure is logged and nothing else: the statement tries again.
    pub async fn warm_up(&self) {
        match self.connection().await {
            Ok(_) => info!("connected"),
            Err(error) => warn!(cause = %error, "could not connect ahead of the first request"),
        }
    }

    /// Runs a statement that answers at most one row.
    ///
    /// # Errors
    /// [`Error`]; more than one row is a fault.
    pub async fn row<T: Send>(
        &self,
        statement: &'static str,
        parameters: &Parameters<'_>,
        read: impl Fn(&Row) -> T + Send,
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
        statement: &'static str,
        parameters: &Parameters<'_>,
        read: impl Fn(&Row) -> T + Send,
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
        statement: &'static str,
        parameters: &Parameters<'_>,
        max_bytes: usize,
        read: impl Fn(&Row) -> T + Send,
    ) -> Result<Option<Vec<T>>, Error> {
        let connection = self.connection().await?;
        let work = async {
            let parameters = parameters
                .iter()
                .map(|(value, kind)| (*value, kind.clone()));
            let mut stream = pin!(connection.query_typed_raw(statement, parameters).await?);
            let mut rows = Vec::new();
            let mut bytes = 0_usize;
            while let Some(row) = stream.try_next().await? {
                bytes = bytes.saturating_add(row.raw_size_bytes());
                if bytes > max_bytes {
                    return Ok(None);
                }
                rows.push(read(&row));
            }
            Ok(Some(rows))
        };
        match timeout(deadlines::STATEMENT, work).await {
            Ok(Ok(Some(rows))) => Ok(Some(rows)),
            Ok(Ok(None)) => {
                // The rest of the rows is still on its way.
                discard(connection);
                Ok(None)
            }
            Ok(Err(error)) => {
                let error = Error::of_statement(&error);
                if matches!(error, Error::Unavailable(_)) {
                    discard(connection);
                }
                Err(error)
            }
            Err(_) => {
                // Its answer may still come, and must not meet the next statement.
                discard(connection);
                Err(Error::Unavailable(Cause::new(format!(
                    "no answer to a statement in {:?}",
                    deadlines::STATEMENT
                ))))
            }
        }
    }

    /// A connection. The first one of a process also sees that the schema is not behind this build; where it is, every
    /// later one looks again.
    async fn connection(&self) -> Result<Object, Error> {
        let deadline = Instant::now() + deadlines::ACQUIRE;
        let connect = async {
            let pool = self.pool.get_or_try_init(async || self.new_pool()).await?;
            let connection = pool.get().await;
            connection
                .map_err(|error| Error::Unavailable(Cause::from_error("could not connect", &error)))
        };
        let late = |_| {
            Error::Unavailable(Cause::new(format!(
                "no connection in {:?}",
                deadlines::ACQUIRE
            )))
        };
        let connection = timeout_at(deadline, connect).await.map_err(late)??;
        let check = self
            .schema
            .get_or_try_init(async || schema::check_on(&connection).await);
        match timeout_at(deadline, check).await {
            Ok(Ok(())) => Ok(connection),
            Ok(Err(error)) => Err(error),
            Err(elapsed) => {
                // As for a statement below.
                discard(connection);
                Err(late(elapsed))
            }
        }
    }

    fn new_pool(&self) -> Result<Pool, Error> {
        let tls = connector::tls(&self.url)
            .map_err(|error| Error::Fault(Cause::from_error("TLS", &error)))?;
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        Pool::builder(Manager::from_config(
            connector::driver_config(&self.url),
            tls,
            recycling,
        ))
        .max_size(self.max_connections)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(deadlines::ACQUIRE))
        .create_timeout(Some(deadlines::CONNECT))
        .recycle_timeout(Some(deadlines::RECYCLE))
        .build()
        .map_err(|error| Error::Fault(Cause::from_error("the pool", &error)))
    }
}

/// Takes a connection out of the pool and closes it.
fn discard(connection: Object) {
    drop(Object::take(connection));
}
