//! Errors of statements, told apart by what can be done about them.

use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::cause::Cause;

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot answer now; a later attempt may succeed.
    #[error(transparent)]
    Unavailable(Cause),
    /// A row refers to a row that does not exist.
    #[error(transparent)]
    ForeignKeyViolation(Cause),
    /// Anything else: a fault of ours.
    #[error(transparent)]
    Fault(Cause),
}

/// Why a statement got no result, told apart by whether it may be sent again.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was not executed: the connection had ended.
    NotExecuted(Cause),
    /// It was not executed: the server or a pooler had no connection for it.
    ServerBusy(Cause),
    /// It was rolled back, because other transactions changed the same rows at the same time: nothing was done.
    RolledBack(Cause),
    /// The connection was lost after the statement was sent: it may have been executed.
    ConnectionLost(Cause),
    /// Sending it again would not help, or might do harm.
    Fatal(Error),
}

impl Failure {
    /// From an error that came before the statement was sent.
    pub(super) fn from_unsent(error: tokio_postgres::Error) -> Self {
        match Self::from_later_answer(error) {
            Self::ConnectionLost(cause) => Self::NotExecuted(cause),
            other => other,
        }
    }

    /// From an error that came instead of the statement's first answer.
    ///
    /// The server describes the rows of a statement before it executes it. So where it ends the session instead, the
    /// statement was not executed. A pooler can lose the description on the way: its errors count only where they say that
    /// it has not found a server yet.
    pub(super) fn from_first_answer(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(message) if is_busy(message) => Self::ServerBusy(failed(error)),
            Some(message) if is_end_of_session(message) => Self::NotExecuted(failed(error)),
            _ => Self::from_later_answer(error),
        }
    }

    /// From an error that came after the statement may have been executed.
    pub(super) fn from_later_answer(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            None if is_lost(&error) => Self::ConnectionLost(failed(error)),
            Some(message) if is_about_connection(message.code()) => {
                Self::ConnectionLost(failed(error))
            }
            Some(message) if is_conflict(message.code()) => Self::RolledBack(failed(error)),
            _ => Self::Fatal(Error::from_answer(error)),
        }
    }
}

fn failed(error: tokio_postgres::Error) -> Cause {
    Cause::from_error("a statement failed", error)
}

impl Error {
    /// From an error that the server sent as its answer.
    fn from_answer(error: tokio_postgres::Error) -> Self {
        let code = error.code().cloned();
        let is_qualified = error
            .as_db_error()
            .is_some_and(|message| message.message().contains("public."));
        let cause = failed(error);
        match code {
            Some(code) if code == SqlState::FOREIGN_KEY_VIOLATION => {
                Self::ForeignKeyViolation(cause)
            }
            Some(code) if is_missing_name(&code) && !is_qualified => {
                Self::Unavailable(cause.with_advice(FOREIGN_NAME))
            }
            Some(code) if is_missing_name(&code) || is_missing_part(&code) => {
                Self::Unavailable(cause.with_advice(MISSING_OBJECT))
            }
            Some(code) if code == SqlState::READ_ONLY_SQL_TRANSACTION => {
                Self::Unavailable(cause.with_advice(READ_ONLY))
            }
            Some(code) if code == SqlState::INSUFFICIENT_PRIVILEGE => {
                Self::Fault(cause.with_advice(MISSING_PRIVILEGE))
            }
            Some(code) if is_transient(&code) => Self::Unavailable(cause),
            _ => Self::Fault(cause),
        }
    }

    /// The database accepts no writes.
    pub(super) fn read_only() -> Self {
        Self::Unavailable(Cause::new("the database is read-only").with_advice(READ_ONLY))
    }
}

const READ_ONLY: &str = "DATABASE_URL names a read replica, or default_transaction_read_only is on for the role, the \
                         database or the server: name the primary compute, or switch the setting off";

const MISSING_OBJECT: &str = "run the migrations; where they find nothing to do, someone has removed or renamed the \
                              object: `./dev verify` names it";

const FOREIGN_NAME: &str = "the statements of this service name everything with its schema, so another program's \
                            trigger, rule or default uses this name, and the object does not exist or is not in the \
                            session's search_path";

pub(super) const MISSING_PRIVILEGE: &str = "the role in DATABASE_URL lacks a privilege: run the migrations with the role's name in \
                                 APPLICATION_ROLE";

/// A table, type or function does not exist, or is in no schema of the `search_path`.
fn is_missing_name(code: &SqlState) -> bool {
    [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_OBJECT,
        SqlState::UNDEFINED_FUNCTION,
    ]
    .contains(code)
}

/// A column of an object, or a schema, does not exist.
fn is_missing_part(code: &SqlState) -> bool {
    [SqlState::UNDEFINED_COLUMN, SqlState::INVALID_SCHEMA_NAME].contains(code)
}

/// The transaction was rolled back because of other transactions (PostgreSQL, "Serialization Failure Handling"). A deadlock
/// is possible at every isolation level, a serialization failure from `repeatable read` on.
fn is_conflict(code: &SqlState) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ]
    .contains(code)
}

/// The server is shutting down or out of a resource that others will free.
pub(super) fn is_transient(code: &SqlState) -> bool {
    // 53 insufficient resources, 40 transaction rollback, 55P03 lock not available, 57014 query canceled.
    is_about_connection(code)
        || ["53", "40"]
            .iter()
            .any(|class| code.code().starts_with(class))
        || *code == SqlState::LOCK_NOT_AVAILABLE
        || *code == SqlState::QUERY_CANCELED
}

/// 08 connection exception, 57P operator intervention (shutdown, crash, starting up).
fn is_about_connection(code: &SqlState) -> bool {
    ["08", "57P"]
        .iter()
        .any(|class| code.code().starts_with(class))
}

/// `pg_terminate_backend`, or an orderly shutdown. After a crash the session ends in other ways.
fn is_end_of_session(message: &DbError) -> bool {
    *message.code() == SqlState::ADMIN_SHUTDOWN
        && message.parsed_severity() == Some(Severity::Fatal)
}

/// There are too many connections, or a pooler cannot log in to its server yet. PostgreSQL and PgBouncer use a SQLSTATE for
/// that; Neon's proxy and older versions of PgBouncer only a message.
fn is_busy(error: &DbError) -> bool {
    const WORDS: [&str; 7] = [
        "too many connections",
        "too many clients",
        "no more connections allowed",
        "failed to acquire permit",
        "query_wait_timeout",
        "server login failed",
        "server login has been failing",
    ];
    *error.code() == SqlState::TOO_MANY_CONNECTIONS
        || *error.code() == SqlState::CANNOT_CONNECT_NOW
        || WORDS
            .iter()
            .any(|words| contains_all(error.message(), &[words]))
}

pub(super) fn contains_all(text: &str, words: &[&str]) -> bool {
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(word))
}

/// The connection is closed or broken, without a message from the server.
fn is_lost(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || is_io(error)
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<std::io::Error>() {
            return true;
        }
        source = error.source();
    }
    false
}
