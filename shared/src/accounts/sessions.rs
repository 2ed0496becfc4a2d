//! Ending sessions, and deleting those that have expired.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_postgres::types::Type;
use tracing::info;

use crate::auth::Caller;
use crate::database::{self, Database, Statement};
use crate::http::Error;
use crate::telemetry::milliseconds;

// A session that has ended already is found, too: logging out twice is not an error.
const END_SESSION: Statement = Statement::idempotent_write(
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
            &END_SESSION,
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

/// How many sessions one statement of a purge looks at.
const PURGE_BATCH: i64 = 5_000;

// Batches follow the primary key: a purge reads the table once, and no login has to maintain another index.
const DELETE_EXPIRED: Statement = Statement::write(
    "
    WITH batch AS (
        SELECT id, expires_at
        FROM public.session
        WHERE id > $1
        ORDER BY id
        LIMIT $2
    ), deleted AS (
        DELETE FROM public.session
        USING batch
        WHERE session.id = batch.id AND batch.expires_at <= now() AT TIME ZONE 'utc'
        RETURNING session.id
    )
    SELECT (SELECT max(batch.id)::bigint FROM batch), (SELECT count(*) FROM deleted)",
);

/// Looks at the `limit` sessions after this id, and deletes those that have expired. Returns the last id, where there was a
/// session, and how many were deleted.
///
/// # Errors
/// Those of the database.
pub async fn delete_expired(
    database: &Database,
    after: i64,
    limit: i64,
) -> Result<(Option<i64>, i64), database::Error> {
    database
        .query_one(
            &DELETE_EXPIRED,
            &[(&after, Type::INT8), (&limit, Type::INT8)],
            |row| (row.get(0), row.get(1)),
        )
        .await
}

/// The result of a purge.
#[derive(Debug, Default, Serialize)]
pub struct Purged {
    /// How many sessions were deleted.
    pub deleted: i64,
    /// Whether all expired sessions were deleted. Where the time was too short, the next purge goes on.
    pub finished: bool,
}

/// Deletes expired sessions, batch by batch, for at most `time`, and logs their number.
///
/// # Errors
/// Those of the database. What was deleted before stays deleted.
pub async fn purge_sessions(
    database: &Database,
    time: Duration,
) -> Result<Purged, database::Error> {
    let started = Instant::now();
    let mut purged = Purged::default();
    let mut last_id = Some(i64::MIN);
    while let Some(after) = last_id
        && started.elapsed() < time
    {
        match delete_expired(database, after, PURGE_BATCH).await {
            Ok((end, deleted)) => {
                purged.deleted += deleted;
                last_id = end;
            }
            Err(error) => {
                info!(
                    deleted = purged.deleted,
                    "purged expired sessions until an error occurred"
                );
                return Err(error);
            }
        }
    }
    purged.finished = last_id.is_none();
    info!(
        deleted = purged.deleted,
        finished = purged.finished,
        duration_ms = milliseconds(started.elapsed()),
        "purged expired sessions"
    );
    Ok(purged)
}
