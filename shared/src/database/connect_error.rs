//! Errors of connecting, told apart by whether another attempt may succeed.

use tokio_postgres::config::SslNegotiation;
use tokio_postgres::error::SqlState;

use super::error::{MISSING_PRIVILEGE, contains_all, is_transient};
use super::url::DatabaseUrl;
use crate::cause::Cause;

/// Why an attempt to connect failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// Another attempt may succeed.
    #[error(transparent)]
    Transient(Cause),
    /// No attempt can succeed before someone fixes the problem. The cause says what to do.
    #[error(transparent)]
    Permanent(Cause),
}

/// Messages of the server, of Neon's proxy, of a pooler and of the TLS library after which only the operator can help, with
/// advice on what to do. Neon's proxy uses one SQLSTATE for all of its errors, so the words decide.
const PERMANENT: [(&[&str], &str); 17] = [
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
        "remove `project` and `endpoint` from `options` in DATABASE_URL: the host names the endpoint",
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
        "a pooler takes no `options`: remove them from DATABASE_URL",
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
    (&["permission denied"], MISSING_PRIVILEGE),
];

const DIRECT_TLS: &str = "TLS started at once (sslnegotiation=direct), which servers before PostgreSQL 17 do not support: \
                          if this is one, write sslnegotiation=postgres in DATABASE_URL";

impl ConnectError {
    /// From an error of the driver on a connection that is being made.
    pub fn from_driver(error: tokio_postgres::Error) -> Self {
        let code = error.code().cloned();
        let cause = Cause::from_error("could not connect", error);
        let text = cause.to_string();
        let advice = PERMANENT
            .iter()
            .find(|(words, _)| contains_all(&text, words));
        if let Some((_, advice)) = advice {
            return Self::Permanent(cause.with_advice(advice));
        }
        match code {
            // Without a code, it is the network. XX000 is any error of Neon's proxy.
            None => Self::Transient(cause),
            Some(code) if is_transient(&code) || code == SqlState::INTERNAL_ERROR => {
                Self::Transient(cause)
            }
            Some(_) => Self::Permanent(cause),
        }
    }

    /// From an error of the driver on a connection to this database.
    pub fn from_connecting(error: tokio_postgres::Error, url: &DatabaseUrl) -> Self {
        let is_handshake = contains_all(&error.to_string(), &["tls handshake"]);
        match Self::from_driver(error) {
            Self::Transient(cause)
                if is_handshake && url.negotiation() == SslNegotiation::Direct =>
            {
                Self::Transient(cause.with_advice(DIRECT_TLS))
            }
            other => other,
        }
    }

    /// What it came from.
    pub fn into_cause(self) -> Cause {
        match self {
            Self::Transient(cause) | Self::Permanent(cause) => cause,
        }
    }
}
