//! The pool of a process: made when it is first needed, it hands out one connection for each statement.

use std::sync::Arc;

use deadpool::managed::{self, PoolError};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use super::connect_error::ConnectError;
use super::connection::PooledConnection;
use super::error::Error;
use super::manager::Manager;
use super::retry;
use super::url::DatabaseUrl;
use crate::cause::Cause;
use crate::timeouts;

/// The connections of a process. None is made before it is needed.
#[derive(Debug)]
pub(super) struct Pool {
    url: Arc<DatabaseUrl>,
    max_size: usize,
    connections: OnceCell<managed::Pool<Manager>>,
}

impl Pool {
    /// A pool of at most `max_size` connections.
    pub(super) fn new(url: DatabaseUrl, max_size: usize) -> Self {
        Self {
            url: Arc::new(url),
            max_size,
            connections: OnceCell::new(),
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
                pool.manager().keep_connect_error(error);
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
        if let Some(pool) = self.connections.get() {
            pool.retain(|_, _| false);
        }
    }

    async fn pool(&self) -> Result<&managed::Pool<Manager>, Cause> {
        self.connections
            .get_or_try_init(async || self.new_pool())
            .await
    }

    fn new_pool(&self) -> Result<managed::Pool<Manager>, Cause> {
        let manager = Manager::new(self.url.clone())?;
        // Without timeouts of the pool: `acquire` and `create` have their own, and nothing else waits.
        managed::Pool::builder(manager)
            .max_size(self.max_size)
            .build()
            .map_err(|error| Cause::from_error("the pool", error))
    }
}
