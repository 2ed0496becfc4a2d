//! Sessions: what makes a token revocable. Each token has one row, found by its `jti`.

use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio_postgres::types::Type;
use tracing::info;

use super::password::Verified;
use super::throttle::{Stranger, guess, take_back};
use super::{Caller, IssuedToken};
use crate::database::{self, Database, Statement};
use crate::{Error, telemetry};

/// The condition that a row of `session` is that of `$1` (its `jti`) and `$2` (its user), and lives.
macro_rules! lives {
    () => {
        " session.token_jti = $1
          AND session.user_id = $2
          AND NOT session.revoked
          AND session.expires_at > now() AT TIME ZONE 'utc' "
    };
}
pub(crate) use lives;

/// Begins a statement with the common table `caller`: the user's id where the session lives, and no row where it does
/// not. It is for statements that write; one that only reads does so from `session` itself, since the server takes as
/// long to take a common table apart as to find a task.
macro_rules! with_caller {
    ($($rest:expr),+ $(,)?) => {
        concat!(
            "WITH caller AS (SELECT session.user_id FROM session WHERE",
            $crate::auth::session::lives!(),
            ")",
            $($rest),+
        )
    };
}
pub(crate) use with_caller;

const CHECK: Statement = Statement::read(concat!(
    "SELECT session.user_id FROM session WHERE",
    lives!()
));

/// Sees whether the caller's session lives.
///
/// # Errors
/// [`Error::InvalidToken`] where it does not.
pub async fn check(database: &Database, caller: &Caller) -> Result<(), Error> {
    let session = database
        .row(
            &CHECK,
            &[(&caller.session, Type::TEXT), (&caller.user_id, Type::INT4)],
            |_| (),
        )
        .await?;
    session.ok_or(Error::InvalidToken)
}

const REVOKE: Statement = Statement::idempotent_write(
    "
    UPDATE session
    SET revoked = true
    WHERE session.token_jti = $1
      AND session.user_id = $2
      AND session.expires_at > now() AT TIME ZONE 'utc'
    RETURNING session.id",
);

/// Ends the caller's session. Ending it a second time is no error.
///
/// # Errors
/// [`Error::InvalidToken`] where there is no such session.
pub async fn revoke(database: &Database, caller: &Caller) -> Result<(), Error> {
    let session = database
        .row(
            &REVOKE,
            &[(&caller.session, Type::TEXT), (&caller.user_id, Type::INT4)],
            |_| (),
        )
        .await?;
    session.ok_or(Error::InvalidToken)
}

// The password's hash is still the one that was verified, or else someone has just changed it: its row is locked, so
// that no one does until the session is there, and can be ended by who does then. Sent a second time, the statement
// finds the session that it has opened.
const OPEN: Statement = Statement::idempotent_write(concat!(
    "WITH rehashed AS (
        UPDATE \"user\" SET hashed_password = $6
        WHERE id = $1 AND hashed_password IN ($5, $6) AND $6 IS NOT NULL
        RETURNING id, email
    ), locked AS (
        SELECT id, email FROM \"user\" WHERE id = $1 AND hashed_password = $5 AND $6 IS NULL FOR SHARE
    ), account AS (
        SELECT * FROM rehashed UNION ALL SELECT * FROM locked
    ), opened AS (
        INSERT INTO session (user_id, token_jti, token, expires_at)
        SELECT account.id, $2, $3, to_timestamp($4::bigint) AT TIME ZONE 'utc'
        FROM account
        ON CONFLICT (token_jti) DO UPDATE SET token = excluded.token
        RETURNING session.id
    ), target AS (
        SELECT email FROM account
    ), ",
    guess!("$7", "$8", "$9", "$10"),
    take_back!("account"),
    "SELECT opened.id FROM opened"
));

/// Opens a session for a user who has just proved to be one and, where it is due, replaces the password's hash. `false`
/// where another hash stands there by now, or the account is gone.
///
/// # Errors
/// Those of the database.
pub async fn open(
    database: &Database,
    stranger: &Stranger,
    user_id: i32,
    token: &IssuedToken,
    verified: &Verified,
) -> Result<bool, Error> {
    let [address, pair, account, all] = stranger.guess();
    let replacement = verified
        .replacement
        .as_ref()
        .map(SecretString::expose_secret);
    let parameters: &database::Parameters<'_> = &[
        (&user_id, Type::INT4),
        (&token.jti, Type::TEXT),
        (&token.fingerprint, Type::TEXT),
        (&token.expires_at, Type::INT8),
        (&verified.hash.expose_secret(), Type::TEXT),
        (&replacement, Type::TEXT),
        address,
        pair,
        account,
        all,
    ];
    let session = database.row(&OPEN, parameters, |_| ()).await?;
    telemetry::request::called_by(user_id);
    Ok(session.is_some())
}

const END_OTHERS: Statement = Statement::idempotent_write(with_caller!(
    "UPDATE session
     SET revoked = true
     FROM caller
     WHERE session.user_id = caller.user_id AND session.token_jti <> $1 AND NOT session.revoked"
));

/// Ends all of the caller's sessions but this one.
///
/// # Errors
/// Those of the database.
pub async fn end_others(database: &Database, caller: &Caller) -> Result<(), Error> {
    database
        .row(
            &END_OTHERS,
            &[(&caller.session, Type::TEXT), (&caller.user_id, Type::INT4)],
            |_| (),
        )
        .await?;
    Ok(())
}

/// How many sessions one statement of a purge looks at.
const PURGE_BATCH: i64 = 5_000;

// Batches go by the primary key, so that a purge reads the table once and no login has to keep up a further index.
const PURGE: Statement = Statement::write(
    "
    WITH batch AS (
        SELECT id, expires_at
        FROM session
        WHERE id > $1
        ORDER BY id
        LIMIT $2
    ), gone AS (
        DELETE FROM session
        USING batch
        WHERE session.id = batch.id AND batch.expires_at <= now() AT TIME ZONE 'utc'
        RETURNING session.id
    )
    SELECT (SELECT max(batch.id) FROM batch), (SELECT count(*) FROM gone)",
);

/// What became of the sessions that have expired.
#[derive(Debug, Default, Serialize)]
pub struct Purged {
    /// How many were deleted.
    pub deleted: i64,
    /// Whether all were; where there was no time for it, the next purge goes on.
    pub finished: bool,
}

/// Deletes the sessions that have expired, batch by batch, for at most `time`, and logs how many they were.
///
/// # Errors
/// Those of the database. What was deleted until then stays so.
pub async fn purge(database: &Database, time: Duration) -> Result<Purged, database::Error> {
    let started = Instant::now();
    let mut purged = Purged::default();
    let mut last = Some(0);
    while let Some(after) = last
        && started.elapsed() < time
    {
        let batch: Result<(Option<i32>, i64), _> = database
            .only_row(
                &PURGE,
                &[(&after, Type::INT4), (&PURGE_BATCH, Type::INT8)],
                |row| (row.get(0), row.get(1)),
            )
            .await;
        match batch {
            Ok((end, deleted)) => {
                purged.deleted += deleted;
                last = end;
            }
            Err(error) => {
                info!(
                    deleted = purged.deleted,
                    "purged expired sessions until an error came"
                );
                return Err(error);
            }
        }
    }
    purged.finished = last.is_none();
    info!(
        deleted = purged.deleted,
        finished = purged.finished,
        duration_ms = started.elapsed().as_secs_f64() * 1_000.0,
        "purged expired sessions"
    );
    Ok(purged)
}
