//! Refreshing a login: a new token without the password.

use std::time::SystemTime;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::auth::{AccessToken, Caller, IssuedToken, Names, Tokens};
use crate::cause::Cause;
use crate::database::{Database, Statement};
use crate::http::Error;

/// How often a token is signed at most. The second one names what the database has, so a third is needed only where that
/// changes at the same moment.
const MAX_TOKENS: u32 = 3;

// Sent twice, it finds the session that it has opened.
const REFRESH: Statement = Statement::idempotent_write(
    "
    SELECT refreshed.is_open, refreshed.email, refreshed.username, refreshed.latest_expiry
    FROM public.todo_refresh_login($1, $2, $3, $4, $5, $6, $7, $8) AS refreshed",
);

/// Whether a login was opened for a token, and what a token has to name.
struct Refreshed {
    is_open: bool,
    names: Names,
    /// In seconds since 1970.
    latest_expiry: i64,
}

impl Refreshed {
    fn from_row(row: &Row) -> Self {
        Self {
            is_open: row.get(0),
            names: Names {
                email: row.get(1),
                username: row.get(2),
            },
            latest_expiry: row.get(3),
        }
    }
}

/// Opens another login for a caller who has one; that one stays. The new one expires `max_days` days after the password was
/// given, at the latest.
///
/// `names` are those in the caller's token. Where the database has others, as after a change by hand, or where the token
/// would expire too late, this takes a second round trip.
///
/// # Errors
/// [`Error::InvalidToken`] where the session is not active, or the password was given too long ago.
pub async fn refresh(
    database: &Database,
    tokens: &Tokens,
    caller: &Caller,
    mut names: Names,
    max_days: i32,
    now: SystemTime,
) -> Result<AccessToken, Error> {
    let mut latest_expiry = i64::MAX;
    for _ in 0..MAX_TOKENS {
        let token = tokens.issue_until(caller.user_id, &names, now, latest_expiry)?;
        let refreshed = open(database, caller, &token, &names, max_days).await?;
        let refreshed = refreshed.ok_or(Error::InvalidToken)?;
        if refreshed.is_open {
            return Ok(token.access_token);
        }
        names = refreshed.names;
        latest_expiry = refreshed.latest_expiry;
    }
    Err(Error::Unavailable(Cause::new(
        "the account was changed each time after a token was signed for it",
    )))
}

async fn open(
    database: &Database,
    caller: &Caller,
    token: &IssuedToken,
    names: &Names,
    max_days: i32,
) -> Result<Option<Refreshed>, Error> {
    let refreshed = database
        .query_opt(
            &REFRESH,
            &[
                (&caller.session, Type::TEXT),
                (&caller.user_id, Type::INT4),
                (&token.jti, Type::TEXT),
                (&token.fingerprint, Type::TEXT),
                (&token.expires_at, Type::INT8),
                (&names.email, Type::TEXT),
                (&names.username, Type::TEXT),
                (&max_days, Type::INT4),
            ],
            Refreshed::from_row,
        )
        .await?;
    Ok(refreshed)
}
