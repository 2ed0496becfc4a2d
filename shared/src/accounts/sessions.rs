//! A caller's sessions: listing and ending them.

use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::auth::{Caller, Scope};
use crate::cause::Cause;
use crate::database::{Database, Statement};
use crate::http::{Error, Reply};
use crate::timestamp::Timestamp;
use crate::validation::{InvalidInput, Parameters, Query, RuleError};

/// An active session, as its user sees it. The order of the fields is that of the contract.
#[derive(Serialize)]
pub struct Session {
    id: i32,
    /// `login` or `token`.
    kind: String,
    /// Of a personal token, as its user has named it.
    name: Option<String>,
    /// Of a personal token.
    scope: Option<String>,
    /// Whether it is the session of the request.
    current: bool,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl Session {
    fn from_row(row: &Row) -> Self {
        Self {
            id: row.get(0),
            kind: row.get(1),
            name: row.get(2),
            scope: row.get(3),
            current: row.get(4),
            created_at: row.get(5),
            expires_at: row.get(6),
        }
    }

    /// A personal token that a login has just created.
    pub(super) fn of_new_token(
        id: i32,
        name: String,
        scope: Scope,
        created_at: Timestamp,
        expires_at: Timestamp,
    ) -> Self {
        Self {
            id,
            kind: "token".to_owned(),
            name: Some(name),
            scope: Some(scope.name().to_owned()),
            current: false,
            created_at,
            expires_at,
        }
    }
}

const LIST_SESSIONS: Statement = Statement::read(
    "
    SELECT active.id, active.kind, session.name, active.scope, active.token_jti = $1 AS current,
           session.created_at, active.expires_at
    FROM public.active_session AS caller
    JOIN public.active_session AS active ON active.user_id = caller.user_id
    JOIN public.session ON session.id = active.id
    WHERE caller.token_jti = $1 AND caller.user_id = $2
    ORDER BY session.created_at DESC, session.id DESC",
);

/// The caller's active sessions, the newest first.
///
/// # Errors
/// [`Error::InvalidToken`] where the caller's own is not active.
pub async fn list_sessions(database: &Database, caller: &Caller) -> Result<Vec<Session>, Error> {
    let sessions = database
        .query(
            &LIST_SESSIONS,
            &[(&caller.session, Type::TEXT), (&caller.user_id, Type::INT4)],
            Reply::MAX_BYTES,
            Session::from_row,
        )
        .await?
        .ok_or_else(|| Error::Internal(Cause::new("the list of sessions is too large")))?;
    // The caller's own is one of them.
    if sessions.is_empty() {
        return Err(Error::InvalidToken);
    }
    Ok(sessions)
}

// A session that has ended already is found, too: logging out twice is not an error.
const LOG_OUT: Statement = Statement::idempotent_write(
    "
    UPDATE public.session
    SET revoked = true
    WHERE token_jti = $1 AND user_id = $2 AND expires_at > now() AT TIME ZONE 'utc'
    RETURNING id",
);

/// Ends the caller's session. Ending it a second time is not an error.
///
/// # Errors
/// [`Error::InvalidToken`] where there is no such session, or it has expired.
pub async fn log_out(database: &Database, caller: &Caller) -> Result<(), Error> {
    let session = database
        .query_opt(
            &LOG_OUT,
            &[(&caller.session, Type::TEXT), (&caller.user_id, Type::INT4)],
            |_| (),
        )
        .await?;
    session.ok_or(Error::InvalidToken)
}

const END_OTHER_SESSIONS: Statement = Statement::idempotent_write(
    "
    WITH caller AS (
        SELECT session.user_id
        FROM public.active_session AS session
        WHERE session.token_jti = $1 AND session.user_id = $2
    )
    UPDATE public.session
    SET revoked = true
    FROM caller
    WHERE session.user_id = caller.user_id AND session.token_jti <> $1 AND NOT session.revoked",
);

/// Ends all of the caller's sessions but this one.
pub(super) async fn end_other_sessions(database: &Database, caller: &Caller) -> Result<(), Error> {
    database
        .query_opt(
            &END_OTHER_SESSIONS,
            &[(&caller.session, Type::TEXT), (&caller.user_id, Type::INT4)],
            |_| (),
        )
        .await?;
    Ok(())
}

const END_SESSION: Statement = Statement::write(
    "
    WITH caller AS (
        SELECT session.user_id
        FROM public.active_session AS session
        WHERE session.token_jti = $1 AND session.user_id = $2
    ), ended AS (
        UPDATE public.session
        SET revoked = true
        FROM caller
        WHERE session.id = $3 AND session.user_id = caller.user_id
          AND NOT session.revoked AND session.expires_at > now() AT TIME ZONE 'utc'
        RETURNING session.id
    )
    SELECT ended.id IS NOT NULL FROM caller LEFT JOIN ended ON true",
);

/// Ends one of the caller's active sessions.
///
/// # Errors
/// [`Error::SessionNotFound`]; [`Error::InvalidToken`] where the caller's own is not active.
pub async fn end_session(database: &Database, caller: &Caller, id: i64) -> Result<(), Error> {
    let was_found: Option<bool> = database
        .query_opt(
            &END_SESSION,
            &[
                (&caller.session, Type::TEXT),
                (&caller.user_id, Type::INT4),
                (&id, Type::INT8),
            ],
            |row| row.get(0),
        )
        .await?;
    if was_found.ok_or(Error::InvalidToken)? {
        Ok(())
    } else {
        Err(Error::SessionNotFound)
    }
}

/// Which of a caller's other sessions to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherSessions {
    /// Logins.
    #[default]
    Logins,
    /// Personal tokens.
    Tokens,
    /// Both.
    All,
}

impl OtherSessions {
    /// Reads the parameter `kind` of a query: logins, where it is missing.
    ///
    /// # Errors
    /// [`InvalidInput`] where it has another value.
    pub fn from_query(query: &Query) -> Result<Self, InvalidInput> {
        let mut parameters = Parameters::new(query);
        let which = parameters.optional("kind", |value| match value.get() {
            r#""token""# => Ok(Self::Tokens),
            r#""all""# => Ok(Self::All),
            _ => Err(RuleError::enumeration("'token' or 'all'")),
        });
        parameters.into_result(which.unwrap_or_default())
    }

    fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Logins => &["login"],
            Self::Tokens => &["token"],
            Self::All => &["login", "token"],
        }
    }
}

const END_SESSIONS: Statement =
    Statement::idempotent_write("SELECT public.todo_end_other_sessions($1, $2, $3)");

/// Ends the caller's other sessions of these kinds.
///
/// # Errors
/// [`Error::InvalidToken`] where the caller's own is not active.
pub async fn end_sessions(
    database: &Database,
    caller: &Caller,
    which: OtherSessions,
) -> Result<(), Error> {
    let is_active = database
        .query_one(
            &END_SESSIONS,
            &[
                (&caller.session, Type::TEXT),
                (&caller.user_id, Type::INT4),
                (&which.kinds(), Type::TEXT_ARRAY),
            ],
            |row| row.get(0),
        )
        .await?;
    if is_active {
        Ok(())
    } else {
        Err(Error::InvalidToken)
    }
}
