//! The role that the functions work as. It owns nothing, and gets only the privileges that their statements need.

use secrecy::ExposeSecret;
use tokio_postgres::{Client, GenericClient};

use crate::catalog::{functions, tables, views};
use crate::error::MigrateError;
use crate::migration_settings::ApplicationRole;
use crate::role_settings;

/// What was granted to the application's role, and taken from all roles.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    /// Whether the role was created.
    pub(crate) created: bool,
    /// The statements that granted what the role lacked, and revoked what no role should have.
    pub(crate) statements: Vec<String>,
}

impl Grants {
    /// Whether nothing had to be done.
    pub(crate) fn is_empty(&self) -> bool {
        !self.created && self.statements.is_empty()
    }
}

const ROLE_EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";

// Neon accepts a password only in plain text. The connection is encrypted, and no error repeats a statement.
const CREATE_ROLE: &str = "
    SELECT CASE WHEN $2::text IS NULL THEN format('CREATE ROLE %I LOGIN', $1::text)
                ELSE format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)
           END";

const MISSING_GRANTS: &str = include_str!("missing_grants.sql");

const PUBLIC_PRIVILEGES: &str = include_str!("public_privileges.sql");

const ROLE_PROBLEMS: &str = include_str!("role_problems.sql");

// Before PostgreSQL 16 every member may work as a role.
const MAY_WORK_AS: &str = "
    SELECT CASE WHEN current_setting('server_version_num')::integer >= 160000
                THEN pg_has_role(session_user, $1::text, 'SET')
                ELSE pg_has_role(session_user, $1::text, 'MEMBER')
           END";

const ALLOW_TO_WORK_AS: &str = "SELECT format('GRANT %I TO %I', $1::text, session_user)";

/// Creates the role, where there is none with its name, and grants it what it lacks, all or nothing. An existing role keeps
/// its password and everything else that it has. What lets every role create objects is revoked from PUBLIC, where the
/// session's role may do that.
pub(crate) async fn grant(
    client: &mut Client,
    role: &ApplicationRole,
) -> Result<Grants, MigrateError> {
    let error = MigrateError::from_step("granting the application's role its privileges");
    let transaction = client.transaction().await.map_err(&error)?;
    let exists = exists(&transaction, &role.name).await?;
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
    let mut statements = missing_grants(&transaction, &role.name).await?;
    let public = public_privileges(&transaction).await?;
    let revocable = public.into_iter().filter(|public| public.is_ours);
    statements.extend(revocable.map(|public| public.revoke));
    transaction
        .batch_execute(&statements.join(";"))
        .await
        .map_err(&error)?;
    if !exists {
        // For `verify`, which runs the statements of the functions as their role.
        allow_to_work_as(&transaction, &role.name).await?;
    }
    transaction.commit().await.map_err(&error)?;
    Ok(Grants {
        created: !exists,
        statements,
    })
}

/// Whether there is a role with this name.
pub(crate) async fn exists(client: &impl GenericClient, name: &str) -> Result<bool, MigrateError> {
    let row = client.query_one(ROLE_EXISTS, &[&name]).await;
    Ok(row
        .map_err(MigrateError::from_step("looking for the role"))?
        .get(0))
}

/// The statements that grant a role what it lacks of what the functions need.
pub(crate) async fn missing_grants(
    client: &impl GenericClient,
    name: &str,
) -> Result<Vec<String>, MigrateError> {
    let missing = client
        .query(MISSING_GRANTS, &[&name, &tables(), &views(), &functions()])
        .await
        .map_err(MigrateError::from_step("reading the role's privileges"))?;
    Ok(missing.iter().map(|row| row.get(0)).collect())
}

/// A privilege of PUBLIC that lets every role create objects.
pub(crate) struct PublicPrivilege {
    /// The statement that revokes it.
    pub(crate) revoke: String,
    /// The role that may revoke it.
    pub(crate) owner: String,
    /// Whether the session's role may revoke it.
    pub(crate) is_ours: bool,
}

/// The privileges of PUBLIC that let every role create objects.
pub(crate) async fn public_privileges(
    client: &impl GenericClient,
) -> Result<Vec<PublicPrivilege>, MigrateError> {
    let rows = client
        .query(PUBLIC_PRIVILEGES, &[])
        .await
        .map_err(MigrateError::from_step("reading the privileges of PUBLIC"))?;
    Ok(rows
        .iter()
        .map(|row| PublicPrivilege {
            revoke: row.get(0),
            owner: row.get(1),
            is_ours: row.get(2),
        })
        .collect())
}

/// Why the functions could not work as this role, one line for each reason.
pub(crate) async fn problems(client: &Client, name: &str) -> Result<Vec<String>, MigrateError> {
    if !exists(client, name).await? {
        return Ok(vec![format!(
            "role {name}: missing (migrate creates it, where APPLICATION_ROLE names it)"
        )]);
    }
    let rows = client
        .query(ROLE_PROBLEMS, &[&name])
        .await
        .map_err(MigrateError::from_step("reading the role"))?;
    let mut problems: Vec<_> = rows
        .iter()
        .map(|row| {
            let (found, expected): (&str, &str) = (row.get(0), row.get(1));
            format!("role {name}: found {found}; expected {expected}")
        })
        .collect();
    for (setting, value) in role_settings::read(client, Some(name)).await? {
        let is_expected = match setting.as_str() {
            "default_transaction_read_only" => is_off(&value),
            "role" => value == name || value.eq_ignore_ascii_case("none"),
            "session_replication_role" => value.eq_ignore_ascii_case("origin"),
            _ => true,
        };
        if !is_expected {
            problems.push(format!(
                "role {name}, setting {setting}: found {value}; expected the default (ALTER ROLE … RESET, or ALTER \
                 DATABASE … RESET)"
            ));
        }
    }
    for grant in missing_grants(client, name).await? {
        problems.push(format!(
            "role {name}: lacks a privilege; expected {grant} (migrate grants it, where APPLICATION_ROLE names the role)"
        ));
    }
    Ok(problems)
}

/// Whether a boolean setting is off. PostgreSQL accepts every unique prefix of these words.
fn is_off(value: &str) -> bool {
    let value = value.to_lowercase();
    value == "0" || value.starts_with(['f', 'n']) || value.starts_with("of")
}

/// Lets the session's role work as another one, where that is not so yet and the session's role may change it. The session
/// has to be in a transaction.
pub(crate) async fn allow_to_work_as(
    client: &impl GenericClient,
    name: &str,
) -> Result<(), MigrateError> {
    let error = MigrateError::from_step("working as the application's role");
    let row = client.query_one(MAY_WORK_AS, &[&name]).await;
    if row.map_err(&error)?.get(0) {
        return Ok(());
    }
    let row = client.query_one(ALLOW_TO_WORK_AS, &[&name]).await;
    let grant: String = row.map_err(&error)?.get(0);
    // Where it is refused, `verify` says so.
    try_in_savepoint(client, &grant).await.map_err(&error)?.ok();
    Ok(())
}

/// Runs statements within a transaction that goes on where they fail. The inner error is theirs.
pub(crate) async fn try_in_savepoint(
    client: &impl GenericClient,
    statements: &str,
) -> Result<Result<(), tokio_postgres::Error>, tokio_postgres::Error> {
    client.batch_execute("SAVEPOINT attempt").await?;
    let result = client.batch_execute(statements).await;
    let end = match result {
        Ok(()) => "RELEASE SAVEPOINT attempt",
        Err(_) => "ROLLBACK TO SAVEPOINT attempt",
    };
    client.batch_execute(end).await?;
    Ok(result)
}
