//! The schema: the migrations in `sql/`, and whether they have come to what this build needs.

use std::time::Duration;

use refinery::{Report, Runner};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use super::error::ConnectError;
use super::{Database, Error, Statement};
use crate::deadlines;
use crate::error::Cause;
use crate::settings::MigrationSettings;

mod direct;
mod role;
mod verify;

pub use role::Grants;

mod embedded {
    //! The files of `sql/`, compiled in.
    refinery::embed_migrations!("../sql");
}

/// The version of the schema that this build needs: that of the newest migration.
pub const VERSION: i32 = 2;

/// What a run of the migrations found and did.
#[derive(Debug)]
pub struct Migrated {
    /// The migrations that were applied, in order.
    pub applied: Vec<String>,
    /// What was granted to the application's role.
    pub grants: Grants,
    /// The schema's version afterwards.
    pub version: i32,
    /// What the migrations have to say to the operator.
    pub warnings: Vec<String>,
    /// What is not as the migrations make it, a line for each difference. Someone else has changed it.
    pub differences: Vec<String>,
}

/// Brings a database's schema up to date, lets the application's role work with it, and compares it with what this
/// build expects. Each migration is one transaction.
///
/// A second run at the same time waits for the first, and then finds nothing to do. A schema that a later release has
/// brought further is left as it is, so that a deployment can be rolled back.
///
/// # Errors
/// A cause in words, without a secret; also where it is not done in `time`.
pub async fn migrate(settings: &MigrationSettings, time: Duration) -> Result<Migrated, Cause> {
    let work = async {
        let mut direct = direct::connect(&settings.database).await?;
        // The lock ends with the session.
        direct.lock().await?;
        let client = &mut direct.client;
        let applied = apply(client).await?;
        let grants = match &settings.application_role {
            Some(role) => role::grant(client, role).await?,
            None => Grants::default(),
        };
        let version = version(client).await.map_err(failed(READING))?;
        let differences = if version > VERSION {
            // What a later release has made of it, this one cannot tell from a fault.
            Vec::new()
        } else {
            verify::differences(client).await?
        };
        Ok(Migrated {
            applied,
            grants,
            version,
            warnings: direct.warnings(),
            differences,
        })
    };
    timeout(time, work)
        .await
        .map_err(|_| Cause::new(format!("the migrations took longer than {time:?}")))?
}

/// The schema's version in a database that holds a table of ours, or of the service that this one replaces: 0 where no
/// migration has ever been applied. `None` where there is no such table.
///
/// # Errors
/// A cause in words, without a secret.
pub async fn version_in_use(settings: &MigrationSettings) -> Result<Option<i32>, Cause> {
    let client = direct::connect(&settings.database).await?.client;
    if is_empty(&client).await? {
        Ok(None)
    } else {
        version(&client).await.map(Some).map_err(failed(READING))
    }
}

/// Compares a database's schema with what this build expects, and names every difference, each in a line. Changes
/// nothing.
///
/// # Errors
/// A cause in words, without a secret.
pub async fn differences(settings: &MigrationSettings) -> Result<Vec<String>, Cause> {
    let client = direct::connect(&settings.database).await?.client;
    let mut differences = verify::differences(&client).await?;
    let version = version(&client).await.map_err(failed(READING))?;
    if version < VERSION {
        differences.push(format!(
            "schema version: found {version}; expected {VERSION} or later (run the migrations)"
        ));
    }
    Ok(differences)
}

/// Says in which step of a run an error came.
fn failed(step: &'static str) -> impl Fn(tokio_postgres::Error) -> Cause {
    move |error| Cause::from_error(step, &error)
}

async fn is_empty(client: &Client) -> Result<bool, Cause> {
    let tables = "SELECT to_regclass('\"user\"') IS NULL
                     AND to_regclass('task') IS NULL
                     AND to_regclass('session') IS NULL
                     AND to_regclass('user_sessions') IS NULL";
    let row = client.query_one(tables, &[]).await;
    row.map(|row| row.get(0))
        .map_err(failed("looking for tables"))
}

fn runner() -> Runner {
    // Those of a later release are not among ours, which is no fault.
    embedded::migrations::runner().set_abort_missing(false)
}

async fn apply(client: &mut Client) -> Result<Vec<String>, Cause> {
    let report: Report = runner().run_async(client).await.map_err(|error| {
        let cause = Cause::from_error("a migration failed", &error);
        match direct::code(&error) {
            Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => Cause::new(format!(
                "{cause}; another session has held one of the tables for {:?}: stop what writes to them, end \
                 sessions that are idle in a transaction, and run this again",
                deadlines::TABLE_LOCK
            )),
            _ => cause,
        }
    })?;
    Ok(report
        .applied_migrations()
        .iter()
        .map(ToString::to_string)
        .collect())
}

const NEWEST: Statement =
    Statement::read("SELECT coalesce(max(version), 0)::integer FROM refinery_schema_history");

const READING: &str = "reading the schema's version";

fn newest(row: &Row) -> i32 {
    row.get(0)
}

/// The version of the newest migration that was applied; 0 where none ever was.
async fn version(client: &Client) -> Result<i32, tokio_postgres::Error> {
    match client.query_typed_one(NEWEST.sql, &[]).await {
        Ok(row) => Ok(newest(&row)),
        Err(error) if is_undefined_table(&error) => Ok(0),
        Err(error) => Err(error),
    }
}

fn is_undefined_table(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::UNDEFINED_TABLE)
}

/// Sees that the database answers and that its schema is at least the one this build needs; answers its version.
///
/// # Errors
/// [`Error::Unavailable`] otherwise.
pub async fn check(database: &Database) -> Result<i32, Error> {
    let version = database.only_row(&NEWEST, &[], newest).await?;
    require(version).map_err(Error::Unavailable)
}

/// Sees that a new connection leads to a schema that is at least the one this build needs, in one round trip; answers
/// its version.
pub(super) async fn check_on(client: &Client) -> Result<i32, ConnectError> {
    let version = version(client)
        .await
        .map_err(|error| ConnectError::of(&error))?;
    require(version).map_err(ConnectError::Permanent)
}

fn require(version: i32) -> Result<i32, Cause> {
    if version >= VERSION {
        return Ok(version);
    }
    Err(Cause::new(format!(
        "the schema is at version {version}, and this build needs version {VERSION} or later: run the migrations"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_needs_the_newest_migration() {
        assert_eq!(
            runner()
                .get_migrations()
                .iter()
                .map(refinery::Migration::version)
                .max(),
            Some(VERSION)
        );
    }

    #[test]
    fn a_schema_that_is_ahead_will_do_and_one_that_is_behind_will_not() {
        assert!(require(VERSION + 1).is_ok());
        assert!(require(VERSION).is_ok());
        let behind = require(VERSION - 1).expect_err("refused").to_string();
        assert!(
            behind.contains(&format!("at version {}", VERSION - 1)),
            "{behind}"
        );
        assert!(
            behind.contains(&format!("needs version {VERSION}")),
            "{behind}"
        );
    }
}
