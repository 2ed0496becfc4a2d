//! The schema: the migrations in `sql/`, and what they have come to.

use refinery::{Report, Runner};
use tokio::time::timeout;
use tokio_postgres::Client;
use tracing::debug;

use super::{Database, Error, connector, deadlines};
use crate::error::Cause;
use crate::settings::DatabaseUrl;

mod embedded {
    //! The files of `sql/`, compiled in.
    refinery::embed_migrations!("../sql");
}

/// The version of the schema that this build needs: that of the newest migration.
pub const VERSION: i32 = 1;

/// Held while migrations run, so that two runs do not meet. Any number that is the same in every release will do.
const LOCK: i64 = 0x746f_646f_5f6d_6967;

/// When the migrations are to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Whatever the database holds.
    Always,
    /// Only to a database that holds no table of ours.
    IfEmpty,
}

/// What a run of the migrations found and did.
#[derive(Debug)]
pub struct Migrated {
    /// The migrations that were applied, in order.
    pub applied: Vec<String>,
    /// The schema's version afterwards, 0 where no migration has ever been applied.
    pub version: i32,
}

/// Brings a database's schema up to date. Each migration is one transaction.
///
/// A second run at the same time waits for the first, and then finds nothing to do.
///
/// # Errors
/// A cause in words, without a secret.
pub async fn migrate(url: &DatabaseUrl, when: When) -> Result<Migrated, Cause> {
    let mut client = connect(url).await?;
    lock(&client).await?;
    let applied = if when == When::Always || is_empty(&client).await? {
        apply(&mut client).await?
    } else {
        Vec::new()
    };
    let version = version(&client).await?;
    // The lock ends with the session.
    Ok(Migrated { applied, version })
}

async fn connect(url: &DatabaseUrl) -> Result<Client, Cause> {
    let tls = connector::tls(url).map_err(|error| Cause::from_error("TLS", &error))?;
    let config = connector::driver_config(url);
    let (client, connection) = timeout(deadlines::ACQUIRE, config.connect(tls))
        .await
        .map_err(|_| Cause::new(format!("could not connect in {:?}", deadlines::ACQUIRE)))?
        .map_err(|error| Cause::from_error("could not connect", &error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%error, "the connection ended");
        }
    });
    Ok(client)
}

async fn lock(client: &Client) -> Result<(), Cause> {
    match timeout(
        deadlines::MIGRATION_LOCK,
        client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]),
    )
    .await
    {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Cause::from_error("taking the migration lock", &error)),
        Err(_) => Err(Cause::new(format!(
            "another run of the migrations has been at work for {:?}; try again when it is done",
            deadlines::MIGRATION_LOCK
        ))),
    }
}

async fn is_empty(client: &Client) -> Result<bool, Cause> {
    let tables = "SELECT to_regclass('\"user\"') IS NULL
                     AND to_regclass('task') IS NULL
                     AND to_regclass('session') IS NULL
                     AND to_regclass('user_sessions') IS NULL";
    let row = client.query_one(tables, &[]).await;
    row.map(|row| row.get(0))
        .map_err(|error| Cause::from_error("looking for tables", &error))
}

fn runner() -> Runner {
    embedded::migrations::runner()
}

async fn apply(client: &mut Client) -> Result<Vec<String>, Cause> {
    let report: Report = runner()
        .run_async(client)
        .await
        .map_err(|error| Cause::from_error("a migration failed", &error))?;
    Ok(report
        .applied_migrations()
        .iter()
        .map(ToString::to_string)
        .collect())
}

const HISTORY: &str = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
const NEWEST: &str = "SELECT coalesce(max(version), 0)::integer FROM refinery_schema_history";

async fn version(client: &Client) -> Result<i32, Cause> {
    let context = |error| Cause::from_error("reading the schema's version", &error);
    if client
        .query_one(HISTORY, &[])
        .await
        .map_err(context)?
        .get(0)
    {
        Ok(client.query_one(NEWEST, &[]).await.map_err(context)?.get(0))
    } else {
        Ok(0)
    }
}

/// Sees that the database answers and that its schema is at least the one this build needs; answers its version.
///
/// # Errors
/// [`Error::Unavailable`] otherwise.
pub async fn check(database: &Database) -> Result<i32, Error> {
    let version = database.only_row(NEWEST, &[], |row| row.get(0)).await?;
    if version < VERSION {
        return Err(Error::Unavailable(Cause::new(format!(
            "the schema is at version {version} and this build needs {VERSION}; run the migrations"
        ))));
    }
    Ok(version)
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
}
