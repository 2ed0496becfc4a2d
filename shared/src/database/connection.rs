//! The life of a connection.
//!
//! ```text
//!             first statement              answered
//!   ┌──────┐                ┌────────────┐          ┌─────────┐  no word for TRUST  ┌──────────┐
//!   │ none │ ─────────────▶ │ connecting │ ───────▶ │ trusted │ ──────────────────▶ │ doubtful │
//!   └──────┘                └────────────┘          └─────────┘ ◀────────────────── └──────────┘
//!       ▲  refused for good,   │      ▲ pause            │          answers in PROOF     │
//!       │  or CONNECT is over  │      └──┘ otherwise     │ closed, lost or cancelled     │ closed, or silent
//!       └──────────────────────┴─────────────────────────┴───────────────────────────────┘
//! ```
//!
//! An instance is frozen between requests, while Neon suspends computes and networks forget. What a connection has
//! become meanwhile shows in two ways. Where the other side closed it, its socket says so as soon as the reactor has
//! run. Where the other side has fallen silent, only an answer tells: so a connection is trusted for
//! [`TRUST`](deadlines::TRUST) after it was last heard, by the wall clock, since a frozen process may not see other
//! clocks move. After that it has to prove itself within [`PROOF`](deadlines::PROOF). A statement that only reads is its
//! own proof; before a write goes an empty query, since a write whose answer is lost cannot be sent again. For the same
//! reason a write on a trusted connection waits until the reactor has looked at the socket.
//!
//! A connection that fails is closed, never repaired, and what it was asked is asked again on a new one where that is
//! safe:
//!
//! | what happened | read | idempotent write | write |
//! |---|---|---|---|
//! | it was closed before the statement was sent | once more | once more | once more |
//! | the server ended the session instead of beginning with the statement | once more | once more | once more |
//! | the server or the pooler had no slot for it | until [`CALL`](deadlines::CALL) is over | the same | the same |
//! | it was lost after the statement was sent | once more | once more | no: it may have run |
//! | no answer within [`STATEMENT`](deadlines::STATEMENT) | cancelled | cancelled | cancelled |
//! | no word of the cancellation within [`CANCEL`](deadlines::CANCEL) | no | no | no: it may still run |
//! | a doubtful connection gave none within [`PROOF`](deadlines::PROOF) | once more | once more | once more |
//!
//! What is not sent again is [`Error::Unavailable`], which claims nothing of what the statement did.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use deadpool::managed::{self, Metrics, Object, Pool, PoolError, RecycleResult};
use deadpool_postgres::{ClientWrapper, ManagerConfig, RecyclingMethod};
use futures_util::{TryFutureExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::{Row, RowStream};

use super::error::{ConnectError, Error, Failure};
use super::tls::Tls;
use super::{Effect, Parameters, Statement, retry, schema};
use crate::deadlines;
use crate::error::Cause;
use crate::settings::DatabaseUrl;
use crate::telemetry;

/// The connections of a process, of which none is made before it is needed.
#[derive(Debug)]
pub(super) struct Connections {
    url: Arc<DatabaseUrl>,
    max: usize,
    pool: OnceCell<Pool<Manager>>,
}

impl Connections {
    /// At most `max` at once.
    pub(super) fn new(url: DatabaseUrl, max: usize) -> Self {
        Self {
            url: Arc::new(url),
            max,
            pool: OnceCell::new(),
        }
    }

    /// Makes a connection ahead of the first lease, which is given it, or else the refusal.
    pub(super) async fn connect_ahead(&self) {
        // What is wrong with the pool, the lease finds out too.
        let Ok(pool) = self.pool().await else {
            return;
        };
        match pool.get().await {
            Ok(object) => Lease(Some(object)).keep(),
            Err(PoolError::Backend(refusal @ ConnectError::Permanent(_))) => {
                *lock(&pool.manager().refusal) = Some((Instant::now(), refusal));
            }
            Err(_) => {}
        }
    }

    /// Takes a connection that is open, as far as can be told without a round trip, or else makes one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there is none by then or the database refuses it for good.
    pub(super) async fn lease(&self, deadline: Instant) -> Result<Lease, Error> {
        let pool = self.pool().await.map_err(Error::Fault)?;
        match timeout_at(retry::until(deadline, deadlines::ACQUIRE), pool.get()).await {
            Ok(Ok(object)) => Ok(Lease(Some(object))),
            Ok(Err(PoolError::Backend(error))) => Err(Error::Unavailable(error.into_cause())),
            Ok(Err(_)) | Err(_) => Err(Error::Unavailable(pool.manager().too_late())),
        }
    }

    /// Closes those that no one uses: where one has died unnoticed, the others may have too.
    pub(super) fn drop_idle(&self) {
        if let Some(pool) = self.pool.get() {
            pool.retain(|_, _| false);
        }
    }

    async fn pool(&self) -> Result<&Pool<Manager>, Cause> {
        self.pool.get_or_try_init(async || self.new_pool()).await
    }

    fn new_pool(&self) -> Result<Pool<Manager>, Cause> {
        let tls = Tls::new(&self.url).map_err(|error| Cause::from_error("TLS", &error))?;
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
            schema: OnceCell::new(),
            last_failure: Mutex::default(),
            refusal: Mutex::default(),
        };
        // Without timeouts of its own: `lease` and `create` have theirs, and nothing else waits.
        Pool::builder(manager)
            .max_size(self.max)
            .build()
            .map_err(|error| Cause::from_error("the pool", &error))
    }
}

/// A connection in the pool.
#[derive(Debug)]
struct Connection {
    client: ClientWrapper,
    /// When it last answered.
    heard: SystemTime,
}

impl Connection {
    fn is_doubtful(&self) -> bool {
        // A clock that was set back tells nothing either.
        !self
            .heard
            .elapsed()
            .is_ok_and(|idle| idle < deadlines::TRUST)
    }

    /// Whether its socket says that it was closed. That takes no round trip: first the reactor looks at the socket, then
    /// the task that reads from it can see what it found.
    async fn is_closed(&self) -> bool {
        yield_now().await;
        yield_now().await;
        self.client.is_closed()
    }
}

/// Makes the connections of the pool, and sees which of them are still open.
struct Manager {
    postgres: deadpool_postgres::Manager,
    tls: Tls,
    url: Arc<DatabaseUrl>,
    /// Filled once the schema has been seen to be one that this build can work with.
    schema: OnceCell<()>,
    last_failure: Mutex<Option<(Instant, Cause)>>,
    /// What became of connecting ahead, until a lease was told.
    refusal: Mutex<Option<(Instant, ConnectError)>>,
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
        if let Some(refusal) = self.take_refusal() {
            return Err(refusal);
        }
        retry::persist(
            deadlines::CONNECT,
            || self.open(),
            |cause| *lock(&self.last_failure) = Some((Instant::now(), cause.clone())),
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
    /// One attempt. The first connection of a process also sees that the schema is not behind this build; where it is,
    /// later ones look again.
    async fn open(&self) -> Result<Connection, ConnectError> {
        let started = Instant::now();
        let client = managed::Manager::create(&self.postgres)
            .await
            .map_err(|error| ConnectError::of_connecting(&error, &self.url))?;
        let first = async || {
            let schema_version = schema::check_on(&client).await?;
            telemetry::connected(
                &self.url,
                self.tls.version(),
                started.elapsed(),
                schema_version,
            );
            Ok(())
        };
        self.schema.get_or_try_init(first).await?;
        Ok(Connection {
            client,
            heard: SystemTime::now(),
        })
    }

    /// What the database has just refused for good, it would refuse again: the request that connecting was ahead of is
    /// answered by that, and only the next one asks anew.
    fn take_refusal(&self) -> Option<ConnectError> {
        let (at, refusal) = lock(&self.refusal).take()?;
        (at.elapsed() < deadlines::REFUSAL).then_some(refusal)
    }

    fn too_late(&self) -> Cause {
        let late = format!("no connection in {:?}", deadlines::ACQUIRE);
        match &*lock(&self.last_failure) {
            Some((at, cause)) if at.elapsed() < deadlines::ACQUIRE => {
                Cause::new(format!("{late}: {cause}"))
            }
            _ => Cause::new(late),
        }
    }
}

/// A connection at the service of one statement. Unless it is [kept](Self::keep), it is closed: what is still on its
/// way to it must not meet the next statement.
pub(super) struct Lease(Option<Object<Manager>>);

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.0.take().map(Object::take));
    }
}

impl Lease {
    /// Runs a statement and reads its rows as they arrive. `None` when they are more than `max_bytes`, as the server
    /// sends them.
    ///
    /// # Errors
    /// [`Failure`], which says whether it may be sent again.
    pub(super) async fn run<T: Send>(
        self,
        statement: &Statement,
        parameters: &Parameters<'_>,
        max_bytes: usize,
        read: fn(&Row) -> T,
        deadline: Instant,
    ) -> Result<Option<Vec<T>>, Failure> {
        let deadline = retry::until(deadline, deadlines::STATEMENT);
        let mut first_by = deadline;
        match (self.connection().is_doubtful(), statement.effect) {
            (true, Effect::Read) => first_by = retry::until(deadline, deadlines::PROOF),
            (true, _) => self.prove(deadline).await?,
            (false, Effect::Write) if self.connection().is_closed().await => {
                return Err(Failure::NotRun(Cause::new("the connection was closed")));
            }
            (false, _) => {}
        }

        let rows = self
            .send(statement, parameters, max_bytes, read, first_by, deadline)
            .await?;
        if rows.is_some() {
            self.keep_trusted();
        }
        Ok(rows)
    }

    /// Sends a statement, and gives its rows. The first answer has to come by `first_by`, and the last by `deadline`.
    async fn send<T: Send>(
        &self,
        statement: &Statement,
        parameters: &Parameters<'_>,
        max_bytes: usize,
        read: fn(&Row) -> T,
        first_by: Instant,
        deadline: Instant,
    ) -> Result<Option<Vec<T>>, Failure> {
        if Instant::now() >= deadline {
            return Err(Failure::Final(Error::Unavailable(Cause::new(
                "there was no time left for a statement",
            ))));
        }
        telemetry::request::round_trip(self.age());
        let parameters = parameters
            .iter()
            .map(|(value, kind)| (*value, kind.clone()));
        let query = self.client().query_typed_raw(statement.sql, parameters);
        let mut query = pin!(query.map_err(|error| Failure::of_first_answer(&error)));
        let begun = if first_by < deadline {
            let begun = timeout_at(first_by, &mut query).await;
            Some(begun.map_err(|_| Failure::Lost(silent()))??)
        } else {
            None
        };
        let mut answer = pin!(async {
            let rows = match begun {
                Some(rows) => rows,
                None => query.await?,
            };
            collect(rows, max_bytes, read).await
        });
        match timeout_at(deadline, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => self.cancel(answer).await,
        }
    }

    /// Gives it back to the pool: it has nothing to do.
    pub(super) fn keep(mut self) {
        drop(self.0.take());
    }

    /// The same, of one that has just answered.
    fn keep_trusted(mut self) {
        if let Some(mut object) = self.0.take() {
            object.heard = SystemTime::now();
        }
    }

    fn connection(&self) -> &Object<Manager> {
        self.0.as_ref().expect("it is taken at the end alone")
    }

    fn client(&self) -> &ClientWrapper {
        &self.connection().client
    }

    fn age(&self) -> Duration {
        Object::metrics(self.connection()).age()
    }

    /// Has it answer to nothing at all, also through a pooler, which asks a session of the server for it.
    async fn prove(&self, deadline: Instant) -> Result<(), Failure> {
        telemetry::request::round_trip(self.age());
        let until = retry::until(deadline, deadlines::PROOF);
        match timeout_at(until, self.client().simple_query("")).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failure::of_unsent(&error)),
            Err(_) => Err(Failure::NotRun(silent())),
        }
    }

    /// Has the server give up a statement, which would otherwise go on and hold its locks, and waits for what then comes of
    /// it: its result, if it was done after all.
    ///
    /// The connection has to stay open meanwhile. Neon's proxy takes a cancel request, and passes it on a few milliseconds
    /// later; a pooler that has lost its client by then no longer knows which statement is meant.
    async fn cancel<T>(
        &self,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let tls = Object::pool(self.connection()).map(|pool| pool.manager().tls.clone());
        let cancelled = async {
            self.client().cancel_token().cancel_query(tls?).await.ok()?;
            Some(answer.await)
        };
        let outcome = match timeout(deadlines::CANCEL, cancelled).await {
            Ok(Some(Ok(done))) => return Ok(done),
            Ok(Some(Err(Failure::Final(
                error @ (Error::Fault(_) | Error::ForeignKeyViolation(_)),
            )))) => {
                return Err(Failure::Final(error));
            }
            Ok(Some(Err(Failure::Final(_) | Failure::NotRun(_) | Failure::NoSlot(_)))) => {
                "it was cancelled"
            }
            Ok(Some(Err(Failure::Lost(_))) | None) | Err(_) => {
                "it could not be cancelled, and may still be done"
            }
        };
        Err(Failure::Final(Error::Unavailable(Cause::new(format!(
            "no answer to a statement in time ({:?} at most); {outcome}",
            deadlines::STATEMENT
        )))))
    }
}

/// Reads rows as they arrive. `None` when they are more than `max_bytes`.
async fn collect<T: Send>(
    rows: RowStream,
    max_bytes: usize,
    read: fn(&Row) -> T,
) -> Result<Option<Vec<T>>, Failure> {
    let mut stream = pin!(rows.map_err(|error| Failure::of_later_answer(&error)));
    let mut rows = Vec::new();
    let mut bytes = 0_usize;
    // The end of the rows is also that of the transaction.
    while let Some(row) = stream.try_next().await? {
        bytes = bytes.saturating_add(row.raw_size_bytes());
        if bytes > max_bytes {
            return Ok(None);
        }
        rows.push(read(&row));
    }
    Ok(Some(rows))
}

fn silent() -> Cause {
    Cause::new(format!(
        "a connection that was idle said nothing in {:?}",
        deadlines::PROOF
    ))
}
