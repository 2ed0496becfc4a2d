//! Making the connections of the pool, and checking whether they are still open.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use deadpool::managed::{self, Metrics, RecycleResult};
use deadpool_postgres::{ClientWrapper, ManagerConfig, RecyclingMethod};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::connect_error::ConnectError;
use super::log::log_connected;
use super::tls::Tls;
use super::url::DatabaseUrl;
use super::{retry, schema_version};
use crate::cause::Cause;
use crate::timeouts;

/// A connection in the pool.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: ClientWrapper,
    /// When the server last answered, by the wall clock.
    pub(super) last_used: SystemTime,
}

/// Makes the connections of the pool, and checks whether they are still open.
pub(super) struct Manager {
    postgres: deadpool_postgres::Manager,
    pub(super) tls: Tls,
    url: Arc<DatabaseUrl>,
    /// Set once the schema was found to be one that this build can work with.
    schema_checked: OnceCell<()>,
    /// Why the last attempt to connect failed.
    last_error: Mutex<Option<(Instant, Cause)>>,
    /// The permanent error of the preconnect, until the first statement has reported it.
    preconnect_error: Mutex<Option<(Instant, ConnectError)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Manager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Manager").finish_non_exhaustive()
    }
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = ConnectError;

    async fn create(&self) -> Result<Connection, ConnectError> {
        if let Some(error) = self.take_connect_error() {
            return Err(error);
        }
        retry::retry_with_backoff(
            timeouts::CONNECT,
            || self.connect(),
            |cause| *lock(&self.last_error) = Some((Instant::now(), cause.clone())),
        )
        .await
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        metrics: &Metrics,
    ) -> RecycleResult<ConnectError> {
        managed::Manager::recycle(&self.postgres, &mut connection.client, metrics)
            .await
            .map_err(|_| managed::RecycleError::message("closed"))
    }

    fn detach(&self, connection: &mut Connection) {
        managed::Manager::detach(&self.postgres, &mut connection.client);
    }
}

impl Manager {
    /// A manager of connections to this database.
    ///
    /// # Errors
    /// Those of the TLS library.
    pub(super) fn new(url: Arc<DatabaseUrl>) -> Result<Self, Cause> {
        let tls = Tls::new(&url).map_err(|error| Cause::from_error("TLS", error))?;
        Ok(Self {
            postgres: deadpool_postgres::Manager::from_config(
                url.driver_config(),
                tls.clone(),
                ManagerConfig {
                    recycling_method: RecyclingMethod::Fast,
                },
            ),
            tls,
            url,
            schema_checked: OnceCell::new(),
            last_error: Mutex::default(),
            preconnect_error: Mutex::default(),
        })
    }

    /// Keeps the permanent error of a preconnect for the first statement.
    pub(super) fn keep_connect_error(&self, error: ConnectError) {
        *lock(&self.preconnect_error) = Some((Instant::now(), error));
    }

    /// One attempt. The first connection of a process also checks that the schema is not behind this build; where it is,
    /// the next connection checks again.
    async fn connect(&self) -> Result<Connection, ConnectError> {
        let started = Instant::now();
        let client = match managed::Manager::create(&self.postgres).await {
            Ok(client) => client,
            Err(error) => return Err(ConnectError::from_connecting(error, &self.url)),
        };
        let check_schema = async || {
            let schema_version = schema_version::check_connection(&client).await?;
            log_connected(
                &self.url,
                self.tls.version(),
                started.elapsed(),
                schema_version,
            );
            Ok(())
        };
        self.schema_checked.get_or_try_init(check_schema).await?;
        Ok(Connection {
            client,
            last_used: SystemTime::now(),
        })
    }

    /// The permanent error of the preconnect, for the request that it was made for. The database would refuse again; only
    /// the next request makes another attempt.
    fn take_connect_error(&self) -> Option<ConnectError> {
        let (at, error) = lock(&self.preconnect_error).take()?;
        (at.elapsed() < timeouts::CONNECT_ERROR_TTL).then_some(error)
    }

    /// Why no connection was made in time.
    pub(super) fn acquire_timed_out(&self) -> Cause {
        let text = format!("no connection in {:?}", timeouts::ACQUIRE);
        match &*lock(&self.last_error) {
            Some((at, cause)) if at.elapsed() < timeouts::ACQUIRE => {
                Cause::new(format!("{text}: {cause}"))
            }
            _ => Cause::new(text),
        }
    }
}
