//! What is in the way of the migrations, found before anything is changed.

use tokio_postgres::Client;

use crate::catalog;
use crate::connection::read_version;
use crate::error::MigrateError;

/// The state of the server and of the database that keeps any migration from running.
const STATE: &str = "
    SELECT reason
    FROM (VALUES
        (pg_is_in_recovery(),
         'the server is a read replica: connect to the primary compute'),
        (current_setting('default_transaction_read_only')::boolean,
         'default_transaction_read_only is on for this role, this database or the server: switch it off'),
        (current_setting('server_encoding') <> 'UTF8',
         format('database encoding: found %s; expected UTF8, which can hold every text that a client sends: create a database \
                 that has it', current_setting('server_encoding'))),
        (to_regnamespace('public') IS NULL,
         'there is no schema public: create it'),
        (NOT has_schema_privilege(to_regnamespace('public'), 'CREATE'),
         format('the role %s may not create objects in the schema public: connect as the owner of the database', current_user))
    ) AS state (holds, reason)
    WHERE holds";

/// The migrations of another program that are in the table of ours. `$1` and `$2` are the numbers and names of ours.
const FOREIGN_HISTORY: &str = "
    SELECT format('V%s__%s', history.version, history.name)
    FROM public.refinery_schema_history AS history
    JOIN unnest($1::integer[], $2::text[]) AS ours (version, name) USING (version)
    WHERE history.name <> ours.name
    ORDER BY history.version";

const OBSTACLES: &str = include_str!("preflight.sql");

/// Checks that the migrations can run on this database. Changes nothing.
///
/// # Errors
/// [`MigrateError::Obstructed`] with everything that is in the way.
pub(crate) async fn check(client: &Client, migrations: &[(i32, &str)]) -> Result<(), MigrateError> {
    let error = MigrateError::from_step("looking for what is in the way of the migrations");
    require_none(strings(client.query(STATE, &[]).await.map_err(&error)?))?;
    if history_exists(client).await? {
        let (numbers, names): (Vec<i32>, Vec<&str>) = migrations.iter().copied().unzip();
        let foreign = client.query(FOREIGN_HISTORY, &[&numbers, &names]).await;
        let foreign = strings(foreign.map_err(&error)?);
        if !foreign.is_empty() {
            return require_none(vec![format!(
                "the table public.refinery_schema_history holds the migrations of another program ({}): give this service \
                 a database of its own",
                foreign.join(", ")
            )]);
        }
    }
    if read_version(client).await? > 0 {
        return Ok(());
    }
    let (relations, names) = catalog::objects();
    let obstacles = client.query(OBSTACLES, &[&relations, &names]).await;
    require_none(strings(obstacles.map_err(&error)?))
}

/// Whether any run of the migrations has created their history.
pub(crate) async fn history_exists(client: &Client) -> Result<bool, MigrateError> {
    let exists = "SELECT to_regclass('public.refinery_schema_history') IS NOT NULL";
    let row = client.query_one(exists, &[]).await;
    Ok(row
        .map_err(MigrateError::from_step(
            "looking for the history of migrations",
        ))?
        .get(0))
}

fn strings(rows: Vec<tokio_postgres::Row>) -> Vec<String> {
    rows.into_iter().map(|row| row.get(0)).collect()
}

fn require_none(obstacles: Vec<String>) -> Result<(), MigrateError> {
    if obstacles.is_empty() {
        Ok(())
    } else {
        Err(MigrateError::Obstructed(obstacles))
    }
}
