//! The caller's own account.

use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::auth::Caller;
use crate::database::{Database, Statement};
use crate::http::Error;
use crate::timestamp::Timestamp;

/// A user, as they see themselves. The order of the fields is that of the contract.
#[derive(Debug, Serialize)]
pub struct User {
    username: String,
    email: String,
    pub(super) id: i32,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl User {
    /// From a row that begins with the columns username, email, id, created_at and updated_at.
    pub(super) fn from_row(row: &Row) -> Self {
        Self {
            username: row.get(0),
            email: row.get(1),
            id: row.get(2),
            created_at: row.get(3),
            updated_at: row.get(4),
        }
    }
}

const SELECT_CALLER: Statement = Statement::read(
    r#"
    SELECT account.username, account.email, account.id, account.created_at, account.updated_at
    FROM public.active_session AS session
    JOIN public."user" AS account ON account.id = session.user_id
    WHERE session.token_jti = $1 AND session.user_id = $2"#,
);

/// The caller's account.
///
/// # Errors
/// [`Error::InvalidToken`] where the session is not active.
pub async fn get(database: &Database, caller: &Caller) -> Result<User, Error> {
    let user = database
        .query_opt(
            &SELECT_CALLER,
            &[(&caller.session, Type::TEXT), (&caller.user_id, Type::INT4)],
            User::from_row,
        )
        .await?;
    user.ok_or(Error::InvalidToken)
}
