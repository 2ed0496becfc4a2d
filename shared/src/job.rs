//! What the main of a function without a route calls: one that a schedule or a deployment sets to work.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use lambda_runtime::{LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::Value;
use tracing::error;

use crate::database::{self, Database};
use crate::settings::{self, Settings};
use crate::telemetry;

/// Serves a job on the database, until Lambda ends the process: checks the settings, of which it needs no more than
/// `DATABASE_URL`, and connects when the job first asks.
///
/// Any event sets it to work; see [`serve_events`].
pub async fn serve_job<T: Serialize, J>(job: J) -> ExitCode
where
    J: AsyncFn(&'static Database, Duration) -> Result<T, database::Error>,
{
    let program = telemetry::program_of::<J>();
    telemetry::init(program);
    let url = match Settings::database_from_env() {
        Ok(url) => url.of_program(program),
        Err(problems) => return telemetry::fail(&problems),
    };
    if let Err(problem) = settings::require_lambda() {
        return telemetry::fail(&[problem]);
    }
    telemetry::warn_of_parameters(&url);
    // It lives as long as the process.
    let database: &'static Database = Box::leak(Box::new(Database::new(url, 1)));
    serve_events(async |_event, time_left| job(database, time_left).await).await
}

/// Answers events until Lambda ends the process. Each sets the job to work, which is told how much time Lambda leaves it.
/// What it answers is the function's result, and its error the function's failure.
pub async fn serve_events<T: Serialize, E: Display>(
    job: impl AsyncFn(Value, Duration) -> Result<T, E>,
) -> ExitCode {
    let answer = async |event: LambdaEvent<Value>| {
        let deadline = UNIX_EPOCH + Duration::from_millis(event.context.deadline);
        // An error is a deadline that is still to come.
        let time_left = deadline.elapsed().err().map(|ahead| ahead.duration());
        let answer = job(event.payload, time_left.unwrap_or_default()).await;
        answer.map_err(|cause| {
            error!(request_id = event.context.request_id, %cause, "failed");
            lambda_runtime::Error::from(cause.to_string())
        })
    };
    telemetry::runtime_ended(lambda_runtime::run(service_fn(answer)).await)
}
