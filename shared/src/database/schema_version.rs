//! Whether the database's schema is one that this build can work with.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::connect_error::ConnectError;
use crate::cause::Cause;

/// The schema version that this build needs: the number of the newest migration in `sql/`, which the build script found.
pub const CURRENT_VERSION: i32 = match i32::from_str_radix(env!("SCHEMA_VERSION"), 10) {
    Ok(version) => version,
    Err(_) => panic!("the build script sets a number"),
};

const SELECT_VERSION: &str =
    "SELECT coalesce(max(version), 0)::integer FROM public.refinery_schema_history";

/// The version of the newest migration that was applied; 0 where none was.
///
/// # Errors
/// Those of the driver.
pub async fn read(client: &Client) -> Result<i32, tokio_postgres::Error> {
    match client.query_typed_one(SELECT_VERSION, &[]).await {
        Ok(row) => Ok(row.get(0)),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Checks on a new connection, in one round trip, that the schema is not behind this build. Returns the schema's version.
pub(super) async fn check_connection(client: &Client) -> Result<i32, ConnectError> {
    let version = read(client).await.map_err(ConnectError::from_driver)?;
    require_current(version).map_err(ConnectError::Permanent)
}

/// Returns the version if this build can work with it, and otherwise the cause.
pub(super) fn require_current(version: i32) -> Result<i32, Cause> {
    if version >= CURRENT_VERSION {
        return Ok(version);
    }
    Err(Cause::new(if version == 0 {
        "no migration was ever applied to this database: check the database's name in DATABASE_URL, or run the migrations"
            .to_owned()
    } else {
        format!(
            "the schema is at version {version}, and this build needs version {CURRENT_VERSION} or later: run the \
             migrations"
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_may_be_ahead_but_not_behind() {
        assert!(require_current(CURRENT_VERSION + 1).is_ok());
        assert!(require_current(CURRENT_VERSION).is_ok());
        let behind = require_current(CURRENT_VERSION - 1).expect_err("refused");
        let behind = behind.to_string();
        assert!(
            behind.contains(&format!("at version {}", CURRENT_VERSION - 1)),
            "{behind}"
        );
        assert!(
            behind.contains(&format!("needs version {CURRENT_VERSION}")),
            "{behind}"
        );
    }
}
