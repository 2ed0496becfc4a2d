//! Brings the database's schema up to date: as a Lambda function, for any event; as a custom resource of CloudFormation, in
//! every deployment; and as a program on the command line.
//!
//! On the command line, `--if-empty` applies the migrations only to a database that holds no table of ours, `--verify`
//! reports all that keeps the functions from working on this database and changes nothing, `--print-catalog` prints
//! the catalog that `sql/catalog.txt` holds, `--check-settings` only checks whether the functions would accept the settings,
//! and `--psql` becomes psql on the same database.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use shared::config_errors::ConfigErrors;
use shared::database::log_ignored_parameters;
use shared::database::schema_version::CURRENT_VERSION;
use shared::settings::{self, Settings};
use shared::telemetry;
use tracing::{error, info, warn};

use connection::MigrationConnection;
use custom_resource::{Event, RequestType};
use error::MigrateError;
use migration_settings::{ApplicationRole, MigrationSettings};
use migrations::{Migrated, migrate, version_in_use};
use roles::Grants;

mod catalog;
mod connection;
mod custom_resource;
mod error;
mod migration_settings;
mod migrations;
mod preflight;
mod psql;
mod role_settings;
mod roles;
mod sequences;
mod smoke_test;
mod task_clocks;
mod verify;

/// How much of the function's time is left for the answer.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(20);

/// A run on the command line. It is effectively unlimited; the limit only ends a run that hangs.
const CLI_TIMEOUT: Duration = Duration::from_hours(24);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::init(env!("CARGO_BIN_NAME"));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if arguments == ["--check-settings"] {
        return match Settings::from_env() {
            Ok(_) => ExitCode::SUCCESS,
            Err(errors) => telemetry::fail(&errors),
        };
    }
    if arguments.is_empty() && settings::is_on_lambda() {
        return serve().await;
    }
    let settings = match MigrationSettings::from_env() {
        Ok(settings) => settings,
        Err(errors) => return telemetry::fail(&errors),
    };
    let done = match arguments[..] {
        [] => migrate_on_command_line(&settings).await,
        ["--if-empty"] => migrate_if_empty(&settings).await,
        ["--verify"] => verify_on_command_line(&settings).await,
        ["--print-catalog"] => print_catalog(&settings).await,
        ["--psql", program, ref arguments @ ..] => {
            psql::exec(&settings.database, program, arguments)
                .map(drop)
                .map_err(Into::into)
        }
        _ => {
            return telemetry::fail(
                &"Usage: migrate [--if-empty | --verify | --print-catalog | --check-settings | --psql PROGRAM [ARGUMENTS]]",
            );
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => telemetry::fail(&error),
    }
}

/// Serves events, even with settings that cannot be used: CloudFormation waits for the answer to each of its events.
async fn serve() -> ExitCode {
    let settings = MigrationSettings::from_env();
    match &settings {
        Ok(MigrationSettings { database: url, .. }) => {
            log_ignored_parameters(url);
            info!(host = url.host(), database = url.database(), role = url.role(), route = %url.route(), "starting");
        }
        Err(errors) => {
            let _ = telemetry::fail(errors);
        }
    }
    shared::serve_events(async |event, time_left: Duration| {
        let time = time_left.saturating_sub(SHUTDOWN_MARGIN);
        let Some(event) = Event::from_json(&event) else {
            return migrate_and_log(settings.as_ref().map_err(Clone::clone)?, time).await;
        };
        let work = AssertUnwindSafe(answer(&event, &settings, time));
        let result = work.catch_unwind().await;
        let result = result.unwrap_or(Err(MigrateError::Panicked));
        event.respond(result.as_ref().map(|_| ())).await;
        result
    })
    .await
}

/// The result of an event of CloudFormation. The data does not belong to the stack, so its deletion always succeeds.
async fn answer(
    event: &Event,
    settings: &Result<MigrationSettings, ConfigErrors>,
    time: Duration,
) -> Result<Value, MigrateError> {
    match event.kind() {
        RequestType::Delete => Ok(Value::Null),
        RequestType::Create | RequestType::Update => migrate_and_log(usable(settings)?, time).await,
        RequestType::Unknown => Err(MigrateError::UnknownRequest),
    }
}

/// The settings of `migrate`, if all functions can use theirs too: their settings come from the same secrets, and nobody
/// would see before their first request that they cannot.
fn usable(
    settings: &Result<MigrationSettings, ConfigErrors>,
) -> Result<&MigrationSettings, ConfigErrors> {
    let mut errors = ConfigErrors::default();
    let settings = errors.collect(settings.as_ref().map_err(Clone::clone));
    errors.collect(Settings::from_env());
    errors.into_result(settings)
}

async fn migrate_and_log(
    settings: &MigrationSettings,
    time: Duration,
) -> Result<Value, MigrateError> {
    let migrated = migrate(settings, time).await?;
    for warning in &migrated.warnings {
        warn!("{warning}");
    }
    for difference in &migrated.differences {
        error!("{difference}");
    }
    info!(applied = ?migrated.applied, grants = ?migrated.grants, version = migrated.version, "migrated");
    require_none(&migrated.differences)?;
    Ok(json!({"applied": migrated.applied, "schema_version": migrated.version}))
}

async fn migrate_on_command_line(settings: &MigrationSettings) -> Result<(), MigrateError> {
    let Migrated {
        applied,
        grants,
        version,
        warnings,
        differences,
    } = migrate(settings, CLI_TIMEOUT).await?;
    let database = database_name(settings);
    for warning in warnings {
        println!("Warning: {warning}.");
    }
    if applied.is_empty() && grants.is_empty() {
        println!("Nothing to do: the schema of {database} is at version {version}.");
    }
    if !applied.is_empty() {
        println!(
            "Applied {} to {database}; the schema is at version {version}.",
            applied.join(", ")
        );
    }
    if let Some(role) = &settings.application_role {
        print_grants(role, &grants);
    }
    print_differences(&differences)
}

fn print_grants(role: &ApplicationRole, grants: &Grants) {
    let name = &role.name;
    match (grants.created, &role.password) {
        (true, Some(_)) => println!("Created the role {name}, with the password in DATABASE_URL."),
        (true, None) => println!(
            "Created the role {name}, without a password. Set one: `./dev psql`, then \\password {name}"
        ),
        (false, _) => {}
    }
    for statement in &grants.statements {
        println!("{statement};");
    }
}

async fn migrate_if_empty(settings: &MigrationSettings) -> Result<(), MigrateError> {
    let database = database_name(settings);
    match version_in_use(settings).await? {
        None => migrate_on_command_line(settings).await?,
        Some(version) if version >= CURRENT_VERSION => {
            println!("The schema of {database} is at version {version}.");
        }
        Some(version) => println!(
            "Left alone: {database} holds tables, its schema is at version {version}, and this build needs \
             {CURRENT_VERSION}. Run the migrations to change that."
        ),
    }
    Ok(())
}

async fn verify_on_command_line(settings: &MigrationSettings) -> Result<(), MigrateError> {
    let verification = verify::verify(settings).await?;
    for note in verification.notes {
        println!("Note: {note}.");
    }
    print_differences(&verification.differences)?;
    println!(
        "The schema of {} is as this build expects it.",
        database_name(settings)
    );
    Ok(())
}

async fn print_catalog(settings: &MigrationSettings) -> Result<(), MigrateError> {
    let connection = MigrationConnection::open(&settings.database).await?;
    print!("{}", catalog::print(&connection.client).await?);
    Ok(())
}

fn print_differences(differences: &[String]) -> Result<(), MigrateError> {
    for difference in differences {
        println!("{difference}");
    }
    require_none(differences)
}

fn require_none(differences: &[String]) -> Result<(), MigrateError> {
    match differences.len() {
        0 => Ok(()),
        count => Err(MigrateError::Differs(count)),
    }
}

fn database_name(settings: &MigrationSettings) -> String {
    format!(
        "{} on {}",
        settings.database.database(),
        settings.database.host()
    )
}
