//! The role that the functions work as. It owns nothing, and gets only the privileges that their statements need.

use secrecy::ExposeSecret;
use tokio_postgres::Client;

use crate::error::MigrateError;
use crate::migration_settings::ApplicationRole;
use crate::verify::{functions, tables, views};

/// What was granted to the application's role.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    /// Whether the role was created.
    pub(crate) created: bool,
    /// The statements that granted what the role lacked.
    pub(crate) granted: Vec<String>,
}

impl Grants {
    /// Whether nothing had to be granted.
    pub(crate) fn is_empty(&self) -> bool {
        !self.created && self.granted.is_empty()
    }
}

const ROLE_EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";

// Neon accepts a password only in plain text. The connection is encrypted, and no error repeats a statement.
const CREATE_ROLE: &str = "
    SELECT CASE WHEN $2::text IS NULL THEN format('CREATE ROLE %I LOGIN', $1::text)
                ELSE format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)
           END";

const MISSING_GRANTS: &str = include_str!("missing_grants.sql");

/// Creates the role, where there is none with its name, and grants it what it lacks, all or nothing. An existing role keeps
/// its password and everything else that it has.
pub(crate) async fn grant(
    client: &mut Client,
    role: &ApplicationRole,
) -> Result<Grants, MigrateError> {
    let error = MigrateError::from_step("granting the application's role its privileges");
    let transaction = client.transaction().await.map_err(&error)?;
    let exists: bool = transaction
        .query_one(ROLE_EXISTS, &[&role.name])
        .await
        .map_err(&error)?
        .get(0);
    if !exists {
        let password = role.password.as_ref().map(ExposeSecret::expose_secret);
        let create = transaction
            .query_one(CREATE_ROLE, &[&role.name, &password])
            .await
            .map_err(&error)?;
        transaction
            .batch_execute(create.get(0))
            .await
            .map_err(MigrateError::from_step("creating the application's role"))?;
    }
    let missing = transaction
        .query(
            MISSING_GRANTS,
            &[&role.name, &tables(), &views(), &functions()],
        )
        .await
        .map_err(&error)?;
    let granted: Vec<String> = missing.iter().map(|row| row.get(0)).collect();
    transaction
        .batch_execute(&granted.join(";"))
        .await
        .map_err(&error)?;
    transaction.commit().await.map_err(&error)?;
    Ok(Grants {
        created: !exists,
        granted,
    })
}
