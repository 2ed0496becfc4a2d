//! Brings the database's schema up to date: as a Lambda that every deployment invokes, with any event, and as a
//! program on the command line.
//!
//! On the command line, `--if-empty` applies the migrations only to a database that holds no table of ours, and
//! `--check-settings` only says whether the functions would accept the settings.

use std::process::ExitCode;

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};
use shared::database::schema::{self, Migrated, When};
use shared::settings::{self, DatabaseUrl, Settings};
use shared::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() => on_lambda().await,
        [] => on_command_line(When::Always).await,
        ["--if-empty"] => on_command_line(When::IfEmpty).await,
        ["--check-settings"] => check_settings(),
        _ => telemetry::fail(&["Usage: migrate [--if-empty | --check-settings]".to_owned()]),
    }
}

async fn on_lambda() -> ExitCode {
    let url = match settings::direct_database_from_env() {
        Ok(url) => url,
        Err(problems) => return telemetry::fail(&problems),
    };
    telemetry::log_database(&url);
    let url: &'static DatabaseUrl = Box::leak(Box::new(url));
    let answer = async |_event: LambdaEvent<Value>| match schema::migrate(url, When::Always).await {
        Ok(Migrated { applied, version }) => {
            Ok(json!({"applied": applied, "schema_version": version}))
        }
        Err(cause) => Err(lambda_runtime::Error::from(cause.to_string())),
    };
    match lambda_runtime::run(service_fn(answer)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => telemetry::fail(&[format!("the Lambda runtime failed: {error}")]),
    }
}

async fn on_command_line(when: When) -> ExitCode {
    let url = match settings::direct_database_from_env() {
        Ok(url) => url,
        Err(problems) => return telemetry::fail(&problems),
    };
    match schema::migrate(&url, when).await {
        Ok(migrated) => {
            println!("{}", report(&url, &migrated));
            ExitCode::SUCCESS
        }
        Err(cause) => telemetry::fail(&[cause.to_string()]),
    }
}

fn report(url: &DatabaseUrl, Migrated { applied, version }: &Migrated) -> String {
    let database = format!("{} on {}", url.database(), url.host());
    if !applied.is_empty() {
        format!(
            "Applied {} to {database}; the schema is at version {version}.",
            applied.join(", ")
        )
    } else if *version >= schema::VERSION {
        format!("Nothing to do: the schema of {database} is at version {version}.")
    } else {
        format!(
            "Left alone: {database} holds tables, its schema is at version {version}, and this build needs {}. Run \
             the migrations to change that.",
            schema::VERSION
        )
    }
}

fn check_settings() -> ExitCode {
    match Settings::from_env() {
        Ok(_) => ExitCode::SUCCESS,
        Err(problems) => telemetry::fail(&problems),
    }
}
