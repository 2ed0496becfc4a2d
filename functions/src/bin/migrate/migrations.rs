//! Applying the migrations in `sql/`.

use std::time::Duration;

use refinery::Runner;
use refinery::error::Kind;
use shared::Cause;
use shared::database::schema_version::CURRENT_VERSION;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Client;
use tokio_postgres::error::{DbError, SqlState};
use tracing::debug;

use crate::catalog;
use crate::connection::{MigrationConnection, TABLE_LOCK, read_version};
use crate::error::MigrateError;
use crate::migration_settings::MigrationSettings;
use crate::preflight;
use crate::roles::{self, Grants};
use crate::sequences::{self, Lag};
use crate::task_clocks::{self, Drift};
use crate::verify::{Verification, verify_in_session};

mod embedded {
    //! The files of `sql/`, compiled in.
    refinery::embed_migrations!("../sql");
}

/// What a run found and did.
#[derive(Debug)]
pub(crate) struct Migrated {
    /// The migrations that were applied, in order.
    pub(crate) applied: Vec<String>,
    /// What was granted to the application's role.
    pub(crate) grants: Grants,
    /// The schema's version afterwards.
    pub(crate) version: i32,
    /// What the operator should know.
    pub(crate) warnings: Vec<String>,
    /// What keeps the functions from their work, or may do so, one line each. Someone else has changed the database.
    pub(crate) differences: Vec<String>,
}

/// Applies the migrations, all in one transaction, sets sequences and clocks that are behind, grants the application's role its
/// privileges, and verifies that the functions can do their work.
///
/// A second run at the same time waits for the first one, and then finds nothing to do. A schema that a later release has
/// migrated further is left as it is, so that a deployment can be rolled back.
///
/// # Errors
/// [`MigrateError`], also where it is not done within `time`.
pub(crate) async fn migrate(
    settings: &MigrationSettings,
    time: Duration,
) -> Result<Migrated, MigrateError> {
    let deadline = Instant::now() + time;
    let too_late = |_| MigrateError::TimedOut(time);
    let opened = timeout_at(deadline, MigrationConnection::open(&settings.database)).await;
    let connection = opened.map_err(too_late)??;
    let session = connection.session.clone();
    let done = timeout_at(deadline, migrate_in_session(connection, settings)).await;
    if done.is_err() {
        session.end().await;
    }
    done.map_err(too_late)?
}

async fn migrate_in_session(
    mut connection: MigrationConnection,
    settings: &MigrationSettings,
) -> Result<Migrated, MigrateError> {
    // The lock ends with the session.
    connection.lock().await?;
    let client = &mut connection.client;
    let applied = apply(client).await?;
    let corrected = sequences::correct(client).await?;
    // What reads the tasks needs the tables that this build expects.
    let repaired = if catalog::differences(client).await?.is_empty() {
        task_clocks::correct(client).await?
    } else {
        None
    };
    let grants = match &settings.application_role {
        Some(role) => roles::grant(client, role).await?,
        None => Grants::default(),
    };
    let version = read_version(client).await?;
    let mut warnings = connection.warnings();
    warnings.append(&mut connection.notes);
    warnings.extend(corrected.iter().map(Lag::describe_as_corrected));
    warnings.extend(repaired.as_ref().map(Drift::describe_as_corrected));
    // This release cannot tell a fault from what a later release has changed.
    let verification = if version > CURRENT_VERSION {
        Verification::default()
    } else {
        verify_in_session(connection.client, settings).await?
    };
    warnings.extend(verification.notes);
    warnings.extend(verification.untested);
    Ok(Migrated {
        applied,
        grants,
        version,
        warnings,
        differences: verification.differences,
    })
}

/// The schema's version in a database that holds a table of ours or of the legacy service: 0 where no migration was ever
/// applied. `None` where there is no such table.
pub(crate) async fn version_in_use(
    settings: &MigrationSettings,
) -> Result<Option<i32>, MigrateError> {
    let client = MigrationConnection::open(&settings.database).await?.client;
    let tables = r#"SELECT to_regclass('public."user"') IS NULL
                       AND to_regclass('public.task') IS NULL
                       AND to_regclass('public.session') IS NULL
                       AND to_regclass('public.user_sessions') IS NULL"#;
    let row = client.query_one(tables, &[]).await;
    let is_empty = row
        .map_err(MigrateError::from_step("looking for tables"))?
        .get(0);
    if is_empty {
        Ok(None)
    } else {
        read_version(&client).await.map(Some)
    }
}

fn runner() -> Runner {
    embedded::migrations::runner()
        // The migrations of a later release are missing here, which is not a fault.
        .set_abort_missing(false)
        .set_grouped(true)
}

/// Applies what is new, in one transaction. A migration that fails leaves nothing behind, not even the empty history.
async fn apply(client: &mut Client) -> Result<Vec<String>, MigrateError> {
    let runner = runner();
    let migrations: Vec<_> = runner
        .get_migrations()
        .iter()
        .map(|migration| (migration.version(), migration.name()))
        .collect();
    preflight::check(client, &migrations).await?;
    let had_history = preflight::history_exists(client).await?;
    let report = runner.run_async(client).await;
    if report.is_err() && !had_history {
        let remove = "DROP TABLE IF EXISTS public.refinery_schema_history";
        if let Err(error) = client.batch_execute(remove).await {
            debug!(%error, "the history could not be removed");
        }
    }
    let report = report.map_err(|error| {
        let is_edited = matches!(error.kind(), Kind::DivergentVersion(..));
        let is_locked = sqlstate(&error) == Some(&SqlState::LOCK_NOT_AVAILABLE);
        let cause = Cause::from_error("a migration failed", error);
        if is_edited {
            MigrateError::Edited(cause)
        } else if is_locked {
            MigrateError::TableLocked {
                cause,
                waited: TABLE_LOCK,
            }
        } else {
            cause.into()
        }
    })?;
    Ok(report
        .applied_migrations()
        .iter()
        .map(ToString::to_string)
        .collect())
}

/// The SQLSTATE of the server's error, among the sources of an error.
fn sqlstate<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a SqlState> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<DbError>() {
            return Some(error.code());
        }
        next = error.source();
    }
    None
}
