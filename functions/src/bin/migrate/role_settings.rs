//! The settings that a role has in this database: those of `ALTER ROLE … SET` and `ALTER DATABASE … SET`.

use tokio_postgres::Client;

use crate::error::MigrateError;

/// The later ones override the earlier ones. Where `$1` is NULL, the role is the session's own.
const SELECT_SETTINGS: &str = "
    SELECT split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1)
    FROM pg_db_role_setting
    CROSS JOIN unnest(setconfig) AS setting
    WHERE setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = coalesce($1::text, session_user)))
      AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    ORDER BY setrole <> 0, setdatabase <> 0";

/// The names and values of a role's settings, or of those of the session's own role.
///
/// # Errors
/// Those of the database.
pub(crate) async fn read(
    client: &Client,
    role: Option<&str>,
) -> Result<Vec<(String, String)>, MigrateError> {
    let rows = client
        .query(SELECT_SETTINGS, &[&role])
        .await
        .map_err(MigrateError::from_step("reading the role's settings"))?;
    let mut settings: Vec<(String, String)> = Vec::new();
    for row in rows {
        let name: String = row.get(0);
        settings.retain(|(earlier, _)| *earlier != name);
        settings.push((name, row.get(1)));
    }
    Ok(settings)
}
