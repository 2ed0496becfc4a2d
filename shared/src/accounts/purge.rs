//! Deleting the sessions that nobody needs any more.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_postgres::types::Type;
use tracing::info;

use crate::database::{self, Database, Statement};
use crate::telemetry::milliseconds;

/// How many sessions one statement of a purge looks at.
const PURGE_BATCH: i64 = 5_000;

// Batches follow the primary key: a purge reads the table once, and no login has to maintain another index. A login that has
// ended stays until it expires, since logging out twice is not an error. A personal token could stay for a year.
const DELETE_EXPIRED: Statement = Statement::write(
    "
    WITH batch AS (
        SELECT id, expires_at <= now() AT TIME ZONE 'utc' OR (revoked AND kind = 'token') AS is_over
        FROM public.session
        WHERE id > $1
        ORDER BY id
        LIMIT $2
    ), deleted AS (
        DELETE FROM public.session
        USING batch
        WHERE session.id = batch.id AND batch.is_over
        RETURNING session.id
    )
    SELECT (SELECT max(batch.id)::bigint FROM batch), (SELECT count(*) FROM deleted)",
);

/// Looks at the `limit` sessions after this id, and deletes those that have expired, and personal tokens that have ended.
/// Returns the last id, where there was a session, and how many were deleted.
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
    /// Whether all of them were looked at. Where the time was too short, the next purge begins anew.
    pub finished: bool,
}

/// Deletes expired sessions and ended personal tokens, batch by batch, for at most `time`, and logs their number.
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
