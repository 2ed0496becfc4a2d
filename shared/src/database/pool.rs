//! The pool of a process: made when it is first needed, it hands out one connection for each statement.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use deadpool::managed::{self, Metrics, Object, PoolError, RecycleResult};
use deadpool_postgres::{ClientWrapper, ManagerConfig, RecyclingMethod};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use super::connection::PooledConnection;
use super::error::{ConnectError, Error};
use super::log::log_connected;
use super::tls::Tls;
use super::url::DatabaseUrl;
use super::{retry, schema_version};
use crate::cause::Cause;
use crate::timeouts;

/// The connections of a process. None is made before it is needed.
#[derive(Debug)]
pub(super) struct Pool {
    url: Arc<DatabaseUrl>,
    max_size: usize,
    pool: OnceCell<managed::Pool<Manager>>,
}

impl Pool {
    /// A pool of at most `max_size` connections.
    pub(super) fn new(url: DatabaseUrl, max_size: usize) -> Self {
        Self {
            url: Arc::new(url),
            max_size,
            pool: OnceCell::new(),
        }
    }

    /// Makes a connection ahead of the first statement. A permanent error is kept for that statement.
    pub(super) async fn preconnect(&self) {
        // Where the pool cannot be made, the statement reports why.
        let Ok(pool) = self.pool().await else {
            return;
        };
        match pool.get().await {
            Ok(object) => PooledConnection::new(object).release(),
            Err(PoolError::Backend(error @ ConnectError::Permanent(_))) => {
                *lock(&pool.manager().preconnect_error) = Some((Instant::now(), error));
            }
            Err(_) => {}
        }
    }

    /// Takes a connection that is open, as far as can be told without a round trip, or makes one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there is none by the deadline, or the database refuses permanently.
    pub(super) async fn acquire(&self, deadline: Instant) -> Result<PooledConnection, Error> {
        let pool = self.pool().await.map_err(Error::Fault)?;
        match timeout_at(retry::cap(deadline, timeouts::ACQUIRE), pool.get()).await {
            Ok(Ok(object)) => Ok(PooledConnection::new(object)),
            Ok(Err(PoolError::Backend(error))) => Err(Error::Unavailable(error.into_cause())),
            Ok(Err(_)) | Err(_) => Err(Error::Unavailable(pool.manager().acquire_timed_out())),
        }
    }

    /// Closes the connections that nobody uses: where one has died unnoticed, others may have, too.
    pub(super) fn drop_idle(&self) {
        if let Some(pool) = self.pool.get() {
            pool.retain(|_, _| false);
        }
    }

    async fn pool(&self) -> Result<&managed::Pool<Manager>, Cause> {
        self.pool.get_or_try_init(async || self.new_pool()).await
    }

    fn new_pool(&self) -> Result<managed::Pool<Manager>, Cause> {
        let tls = Tls::new(&self.url).map_err(|error| Cause::from_error("TLS", error))?;
        let manager = Manager {
            postgres: deadpool_postgres::Manager::from_config(
                self.url.driver_config(),
                tls.clone(),
                ManagerConfig {
                    recycling_method: RecyclingMethod::Fast,
                },
            ),
            tls,
            url: self.url.clone(),
            schema_checked: OnceCell::new(),
            last_error: Mutex::default(),
            preconnect_error: Mutex::default(),
        };
        // Without timeouts of the pool: `acquire` and `create` have their own, and nothing else waits.
        managed::Pool::builder(manager)
            .max_size(self.max_size)
            .build()
            .map_err(|error| Cause::from_error("the pool", error))
    }
}

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
    tls: Tls,
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

    fn acquire_timed_out(&self) -> Cause {
        let text = format!("no connection in {:?}", timeouts::ACQUIRE);
        match &*lock(&self.last_error) {
            Some((at, cause)) if at.elapsed() < timeouts::ACQUIRE => {
                Cause::new(format!("{text}: {cause}"))
            }
            _ => Cause::new(text),
        }
    }
}

/// What starts TLS on the pool's connections, where the pool still exists.
pub(super) fn tls_of(object: &Object<Manager>) -> Option<Tls> {
    Object::pool(object).map(|pool| pool.manager().tls.clone())
}
