//! Brings the database's schema up to date: as a Lambda, with any event, as a custom resource of CloudFormation in every
//! deployment, and as a program on the command line.
//!
//! On the command line, `--if-empty` applies the migrations only to a database that holds no table of ours, `--verify`
//! changes nothing and names every difference between the schema and what this build expects, and `--check-settings`
//! only says whether the functions would accept the settings.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use shared::database::schema::{self, Grants, Migrated};
use shared::settings::{self, ApplicationRole, MigrationSettings, Settings};
use shared::telemetry;
use tracing::{error, info, warn};

use custom_resource::Event;

mod custom_resource;

/// What is left of the function's time for the answer.
const RESERVE: Duration = Duration::from_secs(20);

/// How long a run on the command line may take: as long as it needs, but for one that nothing will end.
const BY_HAND: Duration = Duration::from_hours(24);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::init(env!("CARGO_BIN_NAME"));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if arguments == ["--check-settings"] {
        return match Settings::from_env() {
            Ok(_) => ExitCode::SUCCESS,
            Err(problems) => telemetry::fail(&problems),
        };
    }
    let settings = match MigrationSettings::from_env() {
        Ok(settings) => MigrationSettings {
            database: settings.database.of_program(env!("CARGO_BIN_NAME")),
            ..settings
        },
        Err(problems) => return telemetry::fail(&problems),
    };
    match arguments[..] {
        [] if settings::is_on_lambda() => on_lambda(&settings).await,
        [] => migrate(&settings).await,
        ["--if-empty"] => migrate_if_empty(&settings).await,
        ["--verify"] => verify(&settings).await,
        _ => telemetry::fail(&[
            "Usage: migrate [--if-empty | --verify | --check-settings]".to_owned()
        ]),
    }
}

async fn on_lambda(settings: &MigrationSettings) -> ExitCode {
    telemetry::log_database(&settings.database);
    shared::serve_events(async |event, time_left: Duration| {
        let time = time_left.saturating_sub(RESERVE);
        let Some(event) = Event::read(&event) else {
            return answer(settings, time).await;
        };
        let result = if event.is_delete() {
            Ok(Value::Null)
        } else {
            answer(settings, time).await
        };
        event.answer(&result).await;
        result
    })
    .await
}

async fn answer(settings: &MigrationSettings, time: Duration) -> Result<Value, String> {
    let migrated = schema::migrate(settings, time)
        .await
        .map_err(|cause| cause.to_string())?;
    for warning in &migrated.warnings {
        warn!("{warning}");
    }
    for difference in &migrated.differences {
        error!("{difference}");
    }
    info!(applied = ?migrated.applied, grants = ?migrated.grants, version = migrated.version, "migrated");
    match migrated.differences.len() {
        0 => Ok(json!({"applied": migrated.applied, "schema_version": migrated.version})),
        count => Err(differ(count)),
    }
}

async fn migrate(settings: &MigrationSettings) -> ExitCode {
    let Migrated {
        applied,
        grants,
        version,
        warnings,
        differences,
    } = match schema::migrate(settings, BY_HAND).await {
        Ok(migrated) => migrated,
        Err(cause) => return telemetry::fail(&[cause.to_string()]),
    };
    let database = name_of(settings);
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
        report_grants(role, &grants);
    }
    report_differences(&differences)
}

fn report_grants(role: &ApplicationRole, grants: &Grants) {
    let name = &role.name;
    match (grants.created, &role.password) {
        (true, Some(_)) => println!("Created the role {name}, with the password in DATABASE_URL."),
        (true, None) => println!(
            "Created the role {name}, without a password. Give it one: `./dev psql`, then \\password {name}"
        ),
        (false, _) => {}
    }
    for statement in &grants.granted {
        println!("{statement};");
    }
}

async fn migrate_if_empty(settings: &MigrationSettings) -> ExitCode {
    match schema::version_in_use(settings).await {
        Ok(None) => migrate(settings).await,
        Ok(Some(version)) if version >= schema::VERSION => {
            println!(
                "The schema of {} is at version {version}.",
                name_of(settings)
            );
            ExitCode::SUCCESS
        }
        Ok(Some(version)) => {
            println!(
                "Left alone: {} holds tables, its schema is at version {version}, and this build needs {}. Run the \
                 migrations to change that.",
                name_of(settings),
                schema::VERSION
            );
            ExitCode::SUCCESS
        }
        Err(cause) => telemetry::fail(&[cause.to_string()]),
    }
}

async fn verify(settings: &MigrationSettings) -> ExitCode {
    match schema::differences(settings).await {
        Ok(differences) if differences.is_empty() => {
            println!(
                "The schema of {} is as this build expects it.",
                name_of(settings)
            );
            ExitCode::SUCCESS
        }
        Ok(differences) => report_differences(&differences),
        Err(cause) => telemetry::fail(&[cause.to_string()]),
    }
}

fn report_differences(differences: &[String]) -> ExitCode {
    if differences.is_empty() {
        return ExitCode::SUCCESS;
    }
    for difference in differences {
        println!("{difference}");
    }
    telemetry::fail(&[differ(differences.len())])
}

fn differ(count: usize) -> String {
    format!("the schema is not as this build expects it: {count} difference(s), named above")
}

fn name_of(settings: &MigrationSettings) -> String {
    format!(
        "{} on {}",
        settings.database.database(),
        settings.database.host()
    )
}
