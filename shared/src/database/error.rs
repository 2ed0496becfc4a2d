//! What can go wrong with the database, told apart by what can be done about it.

use std::fmt;

use tokio_postgres::config::SslNegotiation;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::error::Cause;
use crate::settings::DatabaseUrl;

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

/// What became of a statement that was not answered.
#[derive(Debug)]
pub(super) enum Failure {
    /// It did not run, since the connection had ended.
    NotRun(Cause),
    /// It did not run, since the server, or a pooler, had no slot for it.
    NoSlot(Cause),
    /// The connection was lost on the way: it may have run or not.
    Lost(Cause),
    /// To send it again would not help, or might do harm.
    Final(Error),
}

impl Failure {
    /// What an error means that comes before a statement was sent.
    pub(super) fn of_unsent(error: &tokio_postgres::Error) -> Self {
        match Self::of_later_answer(error) {
            Self::Lost(cause) => Self::NotRun(cause),
            other => other,
        }
    }

    /// What an error means that comes instead of a statement's first answer.
    ///
    /// The server describes a statement's rows before it executes it, so where it says that it ends the session
    /// instead, the statement did not run. A pooler can lose the server's description on the way, so its word counts
    /// only where it speaks of a server that it has yet to find.
    pub(super) fn of_first_answer(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(said) if is_without_slot(said) => Self::NoSlot(failed(error)),
            Some(said) if is_end_of_session(said) => Self::NotRun(failed(error)),
            _ => Self::of_later_answer(error),
        }
    }

    /// What an error means that comes once a statement may have run.
    pub(super) fn of_later_answer(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            None if is_lost(error) => Self::Lost(failed(error)),
            Some(said) if is_about_connection(said.code()) => Self::Lost(failed(error)),
            _ => Self::Final(Error::of_statement(error)),
        }
    }
}

fn failed(error: &tokio_postgres::Error) -> Cause {
    Cause::from_error("a statement failed", error)
}

impl Error {
    /// What an error means that the server gave as its answer.
    fn of_statement(error: &tokio_postgres::Error) -> Self {
        let cause = failed(error);
        match error.code() {
            Some(code) if *code == SqlState::FOREIGN_KEY_VIOLATION => {
                Self::ForeignKeyViolation(cause)
            }
            Some(code) if is_missing_object(code) => Self::Unavailable(Cause::new(format!(
                "{cause}; is the schema behind? Run the migrations"
            ))),
            Some(code) if is_transient(code) => Self::Unavailable(cause),
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
    // 53 insufficient resources, 40 transaction rollback (deadlock, serialization failure), 55P03 lock not available,
    // 57014 query canceled.
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
fn is_end_of_session(said: &DbError) -> bool {
    *said.code() == SqlState::ADMIN_SHUTDOWN && said.parsed_severity() == Some(Severity::Fatal)
}

/// There are too many connections: PostgreSQL and PgBouncer give it a code, Neon's proxy and older PgBouncers words
/// alone. Or the server of a pooler does not let it in yet.
fn is_without_slot(said: &DbError) -> bool {
    const WORDS: [&str; 7] = [
        "too many connections",
        "too many clients",
        "no more connections allowed",
        "failed to acquire permit",
        "query_wait_timeout",
        "server login failed",
        "server login has been failing",
    ];
    *said.code() == SqlState::TOO_MANY_CONNECTIONS
        || *said.code() == SqlState::CANNOT_CONNECT_NOW
        || WORDS
            .iter()
            .any(|words| contains_all(said.message(), &[words]))
}

fn contains_all(text: &str, words: &[&str]) -> bool {
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(word))
}

/// Without a word from the server: the connection is closed or broken.
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

/// Why there is no connection, told apart by whether another attempt may fare better.
#[derive(Clone, Debug)]
pub(super) enum ConnectError {
    /// It may.
    Transient(Cause),
    /// Only once someone has mended what is wrong; the cause says what.
    Permanent(Cause),
}

/// What the server, Neon's proxy, a pooler or the TLS library says where only the operator can help, and what to do.
/// Neon's proxy gives all of its errors the same code, so the words have to tell.
const PERMANENT: [(&[&str], &str); 16] = [
    (
        &["password authentication failed"],
        "check the role, the password and the endpoint (the host's first label) in DATABASE_URL",
    ),
    (
        &["endpoint", "be found"],
        "the host in DATABASE_URL names no endpoint: copy the connection string from the Neon console again",
    ),
    (
        &["endpoint", "disabled"],
        "enable the compute in the Neon console",
    ),
    (
        &["exceeded", "quota"],
        "raise the limit of the plan or of the project in the Neon console",
    ),
    (
        &["limit of concurrently active endpoints"],
        "suspend another compute of the project in the Neon console, or raise the limit",
    ),
    (
        &["ip address", "not allowed"],
        "a Lambda function has no fixed address: switch IP Allow off in the Neon console",
    ),
    (
        &["blocked network"],
        "allow connections from the public internet in the Neon project's network settings",
    ),
    (
        &["vpc endpoint id"],
        "allow the function's VPC endpoint in the Neon project's network settings",
    ),
    (
        &["inconsistent project name"],
        "take `project` and `endpoint` out of `options` in DATABASE_URL: the host names the endpoint",
    ),
    (
        &["endpoint id is not specified"],
        "the host in DATABASE_URL has to be the endpoint's own name: copy the connection string from the Neon console",
    ),
    (
        &["did not use channel binding"],
        "the server offers no channel binding, as where its certificate is signed with SHA-384: write \
         channel_binding=prefer in DATABASE_URL",
    ),
    (
        &["unsupported startup parameter"],
        "a pooler takes no `options`: take them out of DATABASE_URL",
    ),
    (
        &["certificate"],
        "the server's certificate is not one for this host from a CA in SSL_CERT_FILE, or else in the system's bundle",
    ),
    (
        &["server does not support tls"],
        "the server has to speak TLS",
    ),
    (
        &["database", "does not exist"],
        "check the database's name in DATABASE_URL",
    ),
    (
        &["role", "does not exist"],
        "check the role in DATABASE_URL",
    ),
];

const DIRECT_TLS: &str = "TLS began at once (sslnegotiation=direct); should the server not expect that, write \
                          sslnegotiation=postgres in DATABASE_URL";

impl ConnectError {
    /// Finds out what an error of the driver means for a connection that is being made.
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        let cause = Cause::from_error("could not connect", error);
        let said = cause.to_string();
        let advice = PERMANENT
            .iter()
            .find(|(words, _)| contains_all(&said, words));
        if let Some((_, advice)) = advice {
            return Self::Permanent(Cause::new(format!("{said}; {advice}")));
        }
        match error.code() {
            // Without a code it is the network or the other side's silence; XX000 is any error of Neon's proxy.
            None => Self::Transient(cause),
            Some(code) if is_transient(code) || *code == SqlState::INTERNAL_ERROR => {
                Self::Transient(cause)
            }
            Some(_) => Self::Permanent(cause),
        }
    }

    /// The same, of a connection to this database.
    pub(super) fn of_connecting(error: &tokio_postgres::Error, url: &DatabaseUrl) -> Self {
        match Self::of(error) {
            Self::Transient(cause)
                if url.negotiation() == SslNegotiation::Direct
                    && contains_all(&error.to_string(), &["tls handshake"]) =>
            {
                Self::Transient(Cause::new(format!("{cause}; {DIRECT_TLS}")))
            }
            other => other,
        }
    }

    pub(super) fn into_cause(self) -> Cause {
        match self {
            Self::Transient(cause) | Self::Permanent(cause) => cause,
        }
    }
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
