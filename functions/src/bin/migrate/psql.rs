//! `--psql PROGRAM [ARGUMENTS]`: psql on the database of the migrations, as their role, for `./dev psql`.
//!
//! libpq reads a connection string in another way than the functions do: with a password that holds an unencoded `/`, it
//! would connect to another host. So it gets the parts, in environment variables: every user of a machine can read a command
//! line.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use shared::Cause;
use shared::database::DatabaseUrl;
use tokio_postgres::config::ChannelBinding;

/// Variables that would lead psql elsewhere, or that hold secrets which it does not need.
const REMOVED_VARIABLES: [&str; 10] = [
    "PGSERVICE",
    "PGHOSTADDR",
    "PGOPTIONS",
    "PGPASSFILE",
    "DATABASE_URL",
    "DATABASE_URL_UNPOOLED",
    "SECRET_KEY",
    "SECRET_KEY_PREVIOUS",
    "SETTINGS_JSON",
    "OWNER_SETTINGS_JSON",
];

/// Replaces this process by psql.
///
/// # Errors
/// Where the program cannot be started.
pub(crate) fn exec(
    database: &DatabaseUrl,
    program: &str,
    arguments: &[&str],
) -> Result<Infallible, Cause> {
    let config = database.driver_config();
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let channel_binding = match config.get_channel_binding() {
        ChannelBinding::Disable => "disable",
        ChannelBinding::Require => "require",
        _ => "prefer",
    };
    let mut psql = Command::new(program);
    psql.args(arguments);
    for name in REMOVED_VARIABLES {
        psql.env_remove(name);
    }
    psql.env("PGHOST", database.host())
        .env("PGPORT", port.to_string())
        .env("PGUSER", database.role())
        .env(
            "PGPASSWORD",
            OsStr::from_bytes(config.get_password().unwrap_or_default()),
        )
        .env("PGDATABASE", database.database())
        .env("PGSSLMODE", "verify-full")
        .env("PGCHANNELBINDING", channel_binding);
    if let Some(options) = config.get_options() {
        psql.env("PGOPTIONS", options);
    }
    Err(Cause::from_error("starting psql", psql.exec()))
}
