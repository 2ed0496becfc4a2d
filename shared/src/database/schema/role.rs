//! The role that the functions work as. It owns nothing, and may do no more than their statements need.

use secrecy::ExposeSecret;
use tokio_postgres::Client;

use super::failed;
use super::verify::TABLES;
use crate::error::Cause;
use crate::settings::ApplicationRole;

/// What was granted to the application's role.
#[derive(Debug, Default)]
pub struct Grants {
    /// Whether the role was created.
    pub created: bool,
    /// The privileges that it lacked, as the statements that gave them.
    pub granted: Vec<String>,
}

impl Grants {
    /// Whether the role lacked nothing.
    pub fn is_empty(&self) -> bool {
        !self.created && self.granted.is_empty()
    }
}

const EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";

// Neon takes a password only in plain text; the connection is encrypted, and no error repeats a statement.
const CREATE: &str = "SELECT CASE WHEN $2::text IS NULL THEN format('CREATE ROLE %I LOGIN', $1::text)
                                  ELSE format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text) END";

const LACKING: &str = "
    WITH role AS (
        SELECT $1::text AS name
    ), relation AS (
        SELECT attrelid AS oid,
               max(pg_get_serial_sequence(quote_ident(name), attname))::regclass AS sequence
        FROM unnest($2::text[]) AS name
        JOIN pg_attribute ON attrelid = to_regclass(quote_ident(name)) AND attnum > 0 AND NOT attisdropped
        GROUP BY attrelid
    )
    SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), name)
    FROM role
    WHERE NOT has_database_privilege(name, current_database(), 'CONNECT')
    UNION ALL
    SELECT format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), name)
    FROM role
    WHERE NOT has_schema_privilege(name, current_schema(), 'USAGE')
    UNION ALL
    SELECT format('GRANT %s ON TABLE %s TO %I', string_agg(privilege, ', '), oid::regclass, name)
    FROM role, relation, unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS privilege
    WHERE NOT has_table_privilege(name, oid, privilege)
    GROUP BY oid, name
    UNION ALL
    SELECT format('GRANT USAGE ON SEQUENCE %s TO %I', sequence, name)
    FROM role, relation
    WHERE sequence IS NOT NULL AND NOT has_sequence_privilege(name, sequence, 'USAGE')
    UNION ALL
    SELECT format('GRANT SELECT ON TABLE refinery_schema_history TO %I', name)
    FROM role
    WHERE NOT has_table_privilege(name, 'refinery_schema_history', 'SELECT')";

/// Creates the role, where there is none of its name, and grants it what it lacks, all or nothing. A role that exists
/// keeps its password and all else that it has.
pub(super) async fn grant(client: &mut Client, role: &ApplicationRole) -> Result<Grants, Cause> {
    let cause = failed("granting the application's role its privileges");
    let transaction = client.transaction().await.map_err(&cause)?;
    let exists: bool = transaction
        .query_one(EXISTS, &[&role.name])
        .await
        .map_err(&cause)?
        .get(0);
    if !exists {
        let password = role.password.as_ref().map(ExposeSecret::expose_secret);
        let create = transaction
            .query_one(CREATE, &[&role.name, &password])
            .await
            .map_err(&cause)?;
        transaction
            .batch_execute(create.get(0))
            .await
            .map_err(failed("creating the application's role"))?;
    }
    let tables = TABLES.map(|(table, _)| table);
    let lacking = transaction
        .query(LACKING, &[&role.name, &tables.as_slice()])
        .await
        .map_err(&cause)?;
    let granted: Vec<String> = lacking.iter().map(|row| row.get(0)).collect();
    transaction
        .batch_execute(&granted.join(";"))
        .await
        .map_err(&cause)?;
    transaction.commit().await.map_err(&cause)?;
    Ok(Grants {
        created: !exists,
        granted,
    })
}
