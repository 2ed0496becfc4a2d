//! Sessions: what makes a token revocable. Each token has one row, found by its `jti`.

use tokio_postgres::types::Type;

use super::{Caller, IssuedToken};
use crate::Error;
use crate::database::{self, Database};

/// Begins a statement with the common table `caller`: the user's id where the session of `$1` (its `jti`) and `$2`
/// (its user) lives, and no row where it does not.
macro_rules! with_caller {
    ($($rest:expr),+ $(,)?) => {
        concat!(
            "WITH caller AS (
                SELECT session.user_id
                FROM session
                WHERE session.token_jti = $1
                  AND session.user_id = $2
                  AND NOT session.revoked
                  AND session.expires_at > now() AT TIME ZONE 'utc'
            )",
            $($rest),+
        )
    };
}
pub(crate) use with_caller;

const CHECK: &str = with_caller!("SELECT caller.user_id FROM caller");

/// Sees whether the caller's session lives.
///
/// # Errors
/// [`Error::InvalidToken`] where it does not.
pub async fn check(database: &Database, caller: &Caller) -> Result<(), Error> {
    let session = database
        .row(
            CHECK,
            &[(&caller.session, Type::TEXT), (&caller.user_id, Type::INT4)],
            |_| (),
        )
        .await?;
    session.ok_or(Error::InvalidToken)
}

const REVOKE: &str = "
    UPDATE session
    SET revoked = true
    WHERE session.token_jti = $1
      AND session.user_id = $2
      AND session.expires_at > now() AT TIME ZONE 'utc'
    RETURNING session.id";

/// Ends the caller's session. Ending it a second time is no error.
///
/// # Errors
/// [`Error::InvalidToken`] where there is no such session.
pub async fn revoke(database: &Database, caller: &Caller) -> Result<(), Error> {
    let session = database
        .row(
            REVOKE,
            &[(&caller.session, Type::TEXT), (&caller.user_id, Type::INT4)],
            |_| (),
        )
        .await?;
    session.ok_or(Error::InvalidToken)
}

/// A new password hash that takes the place of one made by older rules.
#[derive(Debug)]
pub struct Rehash {
    /// The hash that was verified. If another stands there by now, the password was changed, and stays so.
    pub old: String,
    /// The hash to store.
    pub new: String,
}

const OPEN: &str = "
    WITH account AS (
        SELECT id FROM \"user\" WHERE id = $1 FOR KEY SHARE
    ), rehashed AS (
        UPDATE \"user\" SET hashed_password = $6 WHERE id = $1 AND hashed_password = $5
    )
    INSERT INTO session (user_id, token_jti, token, expires_at)
    SELECT account.id, $2, $3, to_timestamp($4::bigint) AT TIME ZONE 'utc'
    FROM account
    RETURNING session.id";

/// Opens a session for a user who has just proved to be one and, where it is due, replaces the password's hash.
///
/// # Errors
/// [`Error::WrongCredentials`] where the account is gone by now.
pub async fn open(
    database: &Database,
    user_id: i32,
    token: &IssuedToken,
    rehash: Option<&Rehash>,
) -> Result<(), Error> {
    let parameters: &database::Parameters<'_> = &[
        (&user_id, Type::INT4),
        (&token.jti, Type::TEXT),
        (&token.fingerprint, Type::TEXT),
        (&token.expires_at, Type::INT8),
        (&rehash.map(|rehash| &rehash.old), Type::TEXT),
        (&rehash.map(|rehash| &rehash.new), Type::TEXT),
    ];
    let session = database.row(OPEN, parameters, |_| ()).await?;
    session.ok_or(Error::WrongCredentials)
}
