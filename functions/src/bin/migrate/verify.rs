//! Whether the functions can do their work on this database, as their role.

use shared::database::schema_version::CURRENT_VERSION;
use tokio_postgres::Client;

use crate::connection::{MigrationConnection, read_version};
use crate::error::MigrateError;
use crate::migration_settings::MigrationSettings;
use crate::smoke_test::{self, Outcome};
use crate::{catalog, roles, sequences, task_clocks};

/// What a verification found.
#[derive(Debug, Default)]
pub(crate) struct Verification {
    /// What keeps the functions from their work, or may do so: one line each.
    pub(crate) differences: Vec<String>,
    /// What an operator should know besides: one sentence each.
    pub(crate) notes: Vec<String>,
    /// Why the statements of the functions were not run, where they were not.
    pub(crate) untested: Option<String>,
}

/// Verifies a database, and leaves nothing behind in it. Sequences advance.
///
/// # Errors
/// [`MigrateError`] where it cannot be looked at.
pub(crate) async fn verify(settings: &MigrationSettings) -> Result<Verification, MigrateError> {
    let client = MigrationConnection::open(&settings.database).await?.client;
    let mut verification = verify_in_session(client, settings).await?;
    verification
        .differences
        .extend(verification.untested.take());
    Ok(verification)
}

/// Verifies a database in a session, which it closes.
///
/// The statements of the functions run only where nothing else was found: they would report it a second time.
///
/// # Errors
/// [`MigrateError`] where it cannot be looked at.
pub(crate) async fn verify_in_session(
    client: Client,
    settings: &MigrationSettings,
) -> Result<Verification, MigrateError> {
    let role = &settings.functions_role;
    let mut differences = catalog::differences(&client).await?;
    let has_expected_schema = differences.is_empty();
    let version = read_version(&client).await?;
    if version < CURRENT_VERSION {
        differences.push(format!(
            "schema version: found {version}; expected {CURRENT_VERSION} or later (run the migrations)"
        ));
    } else {
        differences.extend(roles::problems(&client, role).await?);
    }
    differences.extend(interference(&client, role).await?);
    let lagging = sequences::find_lagging(&client).await?;
    differences.extend(lagging.iter().map(sequences::Lag::describe));
    if has_expected_schema {
        let drift = task_clocks::find_drifted(&client).await?;
        differences.extend(drift.as_ref().map(task_clocks::Drift::describe));
    }
    let mut verification = Verification {
        differences,
        notes: notes(&client, settings).await?,
        untested: None,
    };
    if verification.differences.is_empty() {
        match smoke_test::run(client, settings).await? {
            Outcome::Passed => {}
            Outcome::Failed(difference) => verification.differences.push(difference),
            Outcome::NotRun(reason) => verification.untested = Some(reason),
        }
    }
    Ok(verification)
}

const INTERFERENCE: &str = include_str!("interference.sql");

/// Objects outside of the expected schema that hide, change or refuse rows of our tables, one line each.
async fn interference(client: &Client, role: &str) -> Result<Vec<String>, MigrateError> {
    let (relations, names) = catalog::objects();
    let rows = client
        .query(INTERFERENCE, &[&relations, &names, &role])
        .await
        .map_err(MigrateError::from_step(
            "looking for objects that interfere with the functions",
        ))?;
    let line = |row: &tokio_postgres::Row| {
        let (relation, object, description): (&str, &str, &str) =
            (row.get(0), row.get(1), row.get(2));
        format!("table {relation}, {object}: {description}")
    };
    Ok(rows.iter().map(line).collect())
}

/// What the application's role can do although no function needs it, and `migrate` could not change.
async fn notes(client: &Client, settings: &MigrationSettings) -> Result<Vec<String>, MigrateError> {
    let Some(role) = &settings.application_role else {
        return Ok(Vec::new());
    };
    let public = roles::public_privileges(client).await?.into_iter();
    let refused = public.filter(|privilege| !privilege.is_ours);
    Ok(refused
        .map(|privilege| {
            format!(
                "every role, {} included, may create objects that no function needs; as {}, run {}",
                role.name, privilege.owner, privilege.revoke
            )
        })
        .collect())
}
