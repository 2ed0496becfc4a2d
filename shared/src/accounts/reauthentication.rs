//! Asking a caller for the password once more, before something that cannot be undone.

use secrecy::SecretString;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::auth::Caller;
use crate::auth::password::{self, Verified};
use crate::auth::rate_limit::Requester;
use crate::database::{Database, Statement};
use crate::http::Error;

/// The hash of the caller's password, and the seconds to wait where there were too many attempts.
struct OwnHash {
    hashed_password: SecretString,
    retry_after: Option<i32>,
}

impl OwnHash {
    fn from_row(row: &Row) -> Self {
        Self {
            hashed_password: row.get::<_, String>(0).into(),
            retry_after: row.get(1),
        }
    }
}

// Sent twice, it counts the attempt twice, which harms only someone who guesses wrong.
const SELECT_OWN: Statement = Statement::idempotent_write(
    r#"
    SELECT account.hashed_password,
           public.consume_login_attempt(account.id, NULL, $3, $4, $5, $6) AS retry_after
    FROM public.active_session AS session
    JOIN public."user" AS account ON account.id = session.user_id
    WHERE session.token_jti = $1 AND session.user_id = $2"#,
);

/// Verifies the caller's password. A wrong one counts as a failed login.
///
/// # Errors
/// [`Error::WrongPassword`], [`Error::TooManyAttempts`]; [`Error::InvalidToken`] where the session is not active.
pub(super) async fn reauthenticate(
    database: &Database,
    requester: &Requester,
    caller: &Caller,
    password: SecretString,
) -> Result<Verified, Error> {
    let limits = &requester.limits;
    let own = database
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
        .await?
        .ok_or(Error::InvalidToken)?;
    if let Some(retry_after) = own.retry_after {
        return Err(Error::TooManyAttempts { retry_after });
    }
    password::verify(password, Some(own.hashed_password))
        .await?
        .ok_or(Error::WrongPassword)
}

/// The result of a statement that required the verified hash: `None` where the session is not active, and `false` where the
/// account has another hash by now.
///
/// # Errors
/// [`Error::InvalidToken`], [`Error::WrongPassword`].
pub(super) fn require_password_unchanged(was_unchanged: Option<bool>) -> Result<(), Error> {
    if was_unchanged.ok_or(Error::InvalidToken)? {
        Ok(())
    } else {
        Err(Error::WrongPassword)
    }
}
