//! Whether a caller's session is active: neither ended nor expired.
//!
//! The view `public.active_session` defines it. Statements that do a caller's work join that view, so that the check takes
//! no round trip of its own. The one statement here is for requests that are refused before they have such a statement.

use tokio_postgres::types::Type;

use super::caller::Caller;
use super::error::Error;
use crate::database::{Database, Statement};

const SELECT_ACTIVE_SESSION: Statement = Statement::read(
    "
    SELECT session.kind
    FROM public.active_session AS session
    WHERE session.token_jti = $1 AND session.user_id = $2",
);

/// Checks that the caller's session is active.
///
/// # Errors
/// [`Error::InvalidToken`] where it is not.
pub async fn check(database: &Database, caller: &Caller) -> Result<(), Error> {
    kind(database, caller)
        .await?
        .map(|_| ())
        .ok_or(Error::InvalidToken)
}

/// The kind of the caller's session, `login` or `token`. `None` where the session is not active.
///
/// # Errors
/// Those of the database.
pub async fn kind(database: &Database, caller: &Caller) -> Result<Option<String>, Error> {
    let kind = database
        .query_opt(
            &SELECT_ACTIVE_SESSION,
            &[(&caller.session, Type::TEXT), (&caller.user_id, Type::INT4)],
            |row| row.get(0),
        )
        .await?;
    Ok(kind)
}
