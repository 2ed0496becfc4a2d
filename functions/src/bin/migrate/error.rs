//! Why a run of `migrate` fails.

use std::time::Duration;

use shared::Cause;
use shared::config_errors::ConfigErrors;
use shared::database::ConnectError;

/// Why a run fails. The text holds no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] ConfigErrors),
    /// The database cannot be connected to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There is a pooler between this program and the server.
    #[error(
        "DATABASE_URL_UNPOOLED (or DATABASE_URL) leads to a connection pooler, which would hand each statement of a \
         migration, and its lock, to another session. Write the direct connection string: on Neon, the one whose host has \
         no \"-pooler\""
    )]
    Pooler,
    /// Another run holds the migration lock.
    #[error("another run of the migrations has been at work for {0:?}; try again when it is done")]
    AnotherRun(Duration),
    /// Objects are in the way; nothing was changed.
    #[error("the migrations cannot run, and nothing was changed: {}", .0.join(". Also: "))]
    Obstructed(Vec<String>),
    /// Another session holds a lock on a table.
    #[error(
        "{cause}; another session has held one of the tables for {waited:?}: stop what writes to them, end sessions that \
         are idle in a transaction, and run this again"
    )]
    TableLocked {
        /// What the migration reported.
        #[source]
        cause: Cause,
        /// How long the migration waited.
        waited: Duration,
    },
    /// A migration was edited after it had been applied.
    #[error(
        "{0}; a migration was edited after this database had applied it. No release edits a migration: check out the \
         release that applied it. A local database of an earlier checkout has to be emptied: ./dev reset"
    )]
    Edited(#[source] Cause),
    /// The time was over.
    #[error("the migrations took longer than {0:?}")]
    TimedOut(Duration),
    /// The schema differs from the expected one; the differences were reported before.
    #[error("the schema is not as this build expects it: {0} difference(s), named above")]
    Differs(usize),
    /// CloudFormation asks for something that is neither Create, Update nor Delete.
    #[error("the RequestType is neither Create, Update nor Delete")]
    UnknownRequest,
    /// The program itself failed.
    #[error(
        "a fault of migrate itself; its log has the place in a line that begins with \"panic\""
    )]
    Panicked,
    /// Anything else.
    #[error(transparent)]
    Failed(#[from] Cause),
}

impl MigrateError {
    /// From an error of the driver: what was being done.
    pub(crate) fn from_step(step: &'static str) -> impl Fn(tokio_postgres::Error) -> Self {
        move |error| Cause::from_error(step, error).into()
    }
}
