//! What can go wrong with the database, told apart by what can be done about it.

use std::fmt;

use tokio_postgres::error::SqlState;

use crate::error::Cause;

/// Why a statement was not answered.
#[derive(Debug)]
pub enum Error {
    /// The database cannot answer now; a later try may succeed.
    Unavailable(Cause),
    /// A row refers to one that is not there.
    ForeignKeyViolation(Cause),
    /// Anything else: a fault of ours.
    Fault(Cause),
}

impl Error {
    /// Finds out what an error of the driver means for a statement on an open connection.
    pub(super) fn of_statement(error: &tokio_postgres::Error) -> Self {
        let cause = Cause::from_error("a statement failed", error);
        match error.code() {
            Some(code) if *code == SqlState::FOREIGN_KEY_VIOLATION => {
                Self::ForeignKeyViolation(cause)
            }
            Some(code) if is_missing_object(code) => Self::Unavailable(Cause::new(format!(
                "{cause}; is the schema behind? Run the migrations"
            ))),
            Some(code) if is_transient(code) => Self::Unavailable(cause),
            // Without a code it did not come from the server: the connection is closed or broken.
            None if error.is_closed() || is_io(error) => Self::Unavailable(cause),
            _ => Self::Fault(cause),
        }
    }
}

/// A table, column, type or function that the statement needs does not exist.
fn is_missing_object(code: &SqlState) -> bool {
    [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
        SqlState::UNDEFINED_OBJECT,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::INVALID_SCHEMA_NAME,
    ]
    .contains(code)
}

/// The server is going, gone, or out of something that others will give back.
fn is_transient(code: &SqlState) -> bool {
    // 08 connection exception, 53 insufficient resources, 57P operator intervention (shutdown, crash, starting up),
    // 40 transaction rollback (deadlock, serialization failure), 55P03 lock not available, 57014 query canceled.
    ["08", "53", "57P", "40"]
        .iter()
        .any(|class| code.code().starts_with(class))
        || *code == SqlState::LOCK_NOT_AVAILABLE
        || *code == SqlState::QUERY_CANCELED
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

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(cause) | Self::ForeignKeyViolation(cause) | Self::Fault(cause) => {
                cause.fmt(formatter)
            }
        }
    }
}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(cause) => Self::Unavailable(cause),
            Error::ForeignKeyViolation(cause) | Error::Fault(cause) => Self::Internal(cause),
        }
    }
}
