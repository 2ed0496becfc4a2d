//! Asking a caller for the password once more, before something that cannot be undone.

use secrecy::SecretString;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::verification::PasswordCheck;
use crate::auth::Caller;
use crate::auth::password::StoredHash;
use crate::auth::rate_limit::{AdmissionWait, LoginAttempt, Requester};
use crate::database::{self, Database, Statement};
use crate::http::Error;

/// The hash of the caller's password, and what the limits say about the attempt.
struct OwnHash {
    stored: StoredHash,
    attempt: LoginAttempt,
}

impl OwnHash {
    fn from_row(row: &Row) -> Self {
        Self {
            stored: StoredHash {
                user_id: row.get(0),
                hash: row.get::<_, String>(1).into(),
            },
            attempt: LoginAttempt {
                retry_after: row.get(2),
                undecided: row.get(3),
                from_known_address: row.get(4),
            },
        }
    }
}

// Sent twice, it counts the attempt twice, which harms only someone who guesses wrong.
const SELECT_OWN: Statement = Statement::idempotent_write(
    r#"
    SELECT account.id, account.hashed_password, attempt.retry_after, attempt.undecided, attempt.from_known_address
    FROM public.active_session AS session
    JOIN public."user" AS account ON account.id = session.user_id
    CROSS JOIN LATERAL public.consume_login_attempt(account.id, NULL, $3, $4, $5, $6) AS attempt
    WHERE session.token_jti = $1 AND session.user_id = $2"#,
);

/// Counts an attempt of the caller to give the password. Where it is wrong, it stays a failed login.
///
/// # Errors
/// [`Error::TooManyAttempts`]; [`Error::InvalidToken`] where the session is not active.
pub(super) async fn reauthenticate<'a>(
    database: &Database,
    requester: &Requester,
    caller: &Caller,
    password: &'a SecretString,
) -> Result<(PasswordCheck<'a>, LoginAttempt), Error> {
    let wait = AdmissionWait::start();
    loop {
        let own = match select_own(database, requester, caller).await {
            // The account was deleted while the attempt was being counted.
            Err(database::Error::ForeignKeyViolation(_)) => None,
            own => own?,
        };
        let OwnHash { stored, attempt } = own.ok_or(Error::InvalidToken)?;
        if wait.is_admitted(attempt).await? {
            return Ok((PasswordCheck::new(password, stored), attempt));
        }
    }
}

async fn select_own(
    database: &Database,
    requester: &Requester,
    caller: &Caller,
) -> Result<Option<OwnHash>, database::Error> {
    let limits = &requester.limits;
    database
        .query_opt(
            &SELECT_OWN,
            &[
                (&caller.session, Type::TEXT),
                (&caller.user_id, Type::INT4),
                (&requester.address_key, Type::BYTEA),
                (&limits.logins_per_account_and_address, Type::INT4),
                (&limits.logins_per_account, Type::INT4),
                (&limits.logins_per_address, Type::INT4),
            ],
            OwnHash::from_row,
        )
        .await
}
